"""A stored run whose replicas traded temperatures, read by temperature, piece by piece.

In the store a column is a replica, one molecule over time, at changing temperatures. What is asked
for here is a rung: one temperature, at which one molecule after another was. Ladders that ran side
by side stay apart; each has every rung once.

    run = open_tempered("runs/chignolin-001")
    run.positions(run.rung_of(300.0), ladder=0)      [frames, beads, 3]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.exchange import RECORD
from flashschnet_lab.simulation.exchange_record import Exchanges, read_exchanges
from flashschnet_lab.simulation.store import ALL_FRAMES, Trajectory, open_trajectory
from flashschnet_lab.units import ANGSTROM_PER_NANOMETRE

if TYPE_CHECKING:
    import mdtraj

FRAMES_AT_ONCE = 256
"""Read of the store before the next are looked at."""


@dataclass(frozen=True)
class TemperedTrajectory:
    """A trajectory and the record of its trades.

    Attributes:
        trajectory: by replica.
        exchanges: who had which temperature when.
        frames: whose temperature is known. Of a run that goes on or was killed, the store may hold
            a few more than the record, which is written with every checkpoint.
    """

    trajectory: Trajectory
    exchanges: Exchanges
    frames: int

    @property
    def steps(self) -> np.ndarray:
        """[frames] int64."""
        return self.trajectory.steps[: self.frames]

    @property
    def times_ps(self) -> np.ndarray:
        """[frames] simulated time in ps."""
        return self.trajectory.times_ps[: self.frames]

    @property
    def temperatures(self) -> np.ndarray:
        """[frames, replicas] at which each frame of each replica was made, kelvin."""
        return self.exchanges.temperatures_at(self.steps)

    @property
    def potential_energy(self) -> np.ndarray:
        """[frames, rungs, ladders] in kcal/mol."""
        return self.by_temperature(self.trajectory.potential_energy[: self.frames])

    def by_temperature(self, values: np.ndarray) -> np.ndarray:
        """Sort values [frames, replicas, ...] into [frames, rungs, ladders, ...]."""
        return self.exchanges.demultiplex(values, self.steps)

    def rung_of(self, temperature: float) -> int:
        """Return the rung of a temperature in kelvin, to half a kelvin.

        Raises:
            UserError: the ladder has no such rung; the message lists its temperatures.
        """
        apart = np.abs(np.array(self.exchanges.ladder) - temperature)
        if apart.min() > 0.5:
            known = ", ".join(f"{t:g}" for t in self.exchanges.ladder)
            raise UserError(
                f"{self.trajectory.path.parent} has no rung at {temperature:g} K; its ladder is "
                f"{known} K"
            )
        return int(apart.argmin())

    def replicas_at(self, rung: int, ladder: int = 0, frames: slice = ALL_FRAMES) -> np.ndarray:
        """Return which replica was on a rung in each frame, [frames] int64.

        Raises:
            UserError: there is no such rung or ladder.
        """
        rungs = len(self.exchanges.ladder)
        if not (0 <= rung < rungs and 0 <= ladder < self.exchanges.ladders):
            raise UserError(
                f"there is no rung {rung} of ladder {ladder} in {self.trajectory.path}; it has "
                f"{rungs} rungs of {self.exchanges.ladders} ladders, counted from 0"
            )
        first = ladder * rungs
        of_ladder = self.exchanges.rungs_at(self.steps[frames])[:, first : first + rungs]
        return first + (of_ladder == rung).argmax(1)

    def positions(self, rung: int, ladder: int = 0, frames: slice = ALL_FRAMES) -> np.ndarray:
        """Return the positions seen at a temperature, [frames, beads, 3] float32 in angstrom.

        Raises:
            UserError: there is no such rung or ladder, or `frames` runs backwards.
        """
        chosen = self.frame_slice(frames)
        holder = self.replicas_at(rung, ladder, chosen)
        found = np.empty((len(holder), self.trajectory.beads, 3), dtype=np.float32)
        for begin in range(0, len(holder), FRAMES_AT_ONCE):
            rows = slice(begin, min(begin + FRAMES_AT_ONCE, len(holder)))
            first = chosen.start + begin * chosen.step
            stored = slice(first, first + (rows.stop - begin - 1) * chosen.step + 1, chosen.step)
            for replica in np.unique(holder[rows]):
                here = holder[rows] == replica
                found[rows][here] = self.trajectory.positions(stored, int(replica))[here]
        return found

    def to_mdtraj(
        self, rung: int, ladder: int = 0, frames: slice = ALL_FRAMES
    ) -> mdtraj.Trajectory:
        """Return what was seen at a temperature as an mdtraj trajectory, in nm and ps.

        Raises:
            UserError: there is no such rung or ladder, or `frames` runs backwards.
        """
        import mdtraj

        from flashschnet_lab.proteins.mdtraj_io import to_mdtraj_topology

        return mdtraj.Trajectory(
            self.positions(rung, ladder, frames) / ANGSTROM_PER_NANOMETRE,
            to_mdtraj_topology(self.trajectory.protein),
            time=self.times_ps[self.frame_slice(frames)],
        )

    def frame_slice(self, frames: slice) -> slice:
        """Return `frames` with start, stop and step filled in, of the frames that are known."""
        filled = self.trajectory.frame_slice(slice(*frames.indices(self.frames)))
        return slice(filled.start, min(filled.stop, self.frames), filled.step)


def is_tempered(folder: str | Path) -> bool:
    """Return whether the replicas of a run folder traded temperatures."""
    return (Path(folder) / RECORD).is_file()


def open_tempered(folder: str | Path) -> TemperedTrajectory:
    """Open the run folder of a tempering; one that is still going is seen as it is now.

    Raises:
        UserError: no run folder, or one whose replicas kept their temperatures.
    """
    folder = Path(folder)
    trajectory = open_trajectory(folder)
    if not is_tempered(folder):
        raise UserError(f"the replicas of {folder} kept their temperatures: it has no {RECORD}")
    exchanges = read_exchanges(folder / RECORD)
    # A frame at the step of an attempt was made before it; those beyond the next one are unknown.
    last = exchanges.every * (exchanges.first + exchanges.attempts + 1)
    known = int(np.searchsorted(trajectory.steps, last, side="right"))
    return TemperedTrajectory(trajectory, exchanges, known)
