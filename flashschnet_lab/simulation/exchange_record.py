"""What parallel tempering leaves behind: which replica had which temperature, and when.

Statistics are functions of this record alone, so that they can be asked for at any time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from flashschnet_lab.errors import UserError


@dataclass(frozen=True)
class Exchanges:
    """The rungs of all replicas over time.

    A rung is a place in the ladder of temperatures, 0 the coldest. Replicas are laid out ladder by
    ladder: with L rungs, the replicas 0 to L - 1 trade among themselves, L to 2 L - 1 too, and so
    on. Attempt n is made at step n * every, between the rungs i and i + 1 with i - n even.

    Attributes:
        ladder: [rungs] temperatures in kelvin, rising.
        every: steps between attempts.
        seed: of the trades.
        first: number of the last attempt before the record begins; 0 from the start.
        rungs: [attempts + 1, replicas] int64, at the start and after each attempt.
        energies: [attempts, replicas] float64, potential energy at each attempt, kcal/mol.
    """

    ladder: tuple[float, ...]
    every: int
    seed: int
    first: int
    rungs: np.ndarray
    energies: np.ndarray

    @property
    def attempts(self) -> int:
        """Attempts in the record."""
        return len(self.energies)

    @property
    def ladders(self) -> int:
        """Ladders that run side by side, each with one replica per rung."""
        return self.rungs.shape[1] // len(self.ladder)

    @property
    def steps(self) -> np.ndarray:
        """Steps at which attempts were made, [attempts] int64."""
        return self.every * (self.first + 1 + np.arange(self.attempts))

    def rungs_at(self, steps: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the rung of every replica while it made a step, [steps, replicas] int64.

        A frame at a step where an attempt is due was made before it: at the old temperature.

        Args:
            steps: numbers of steps since the start of the simulation.
        """
        before = (np.asarray(steps, dtype=np.int64) - 1) // self.every - self.first
        return self.rungs[np.clip(before, 0, self.attempts)]

    def temperatures_at(self, steps: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the temperature of every replica while it made a step, [steps, replicas], K."""
        return np.array(self.ladder)[self.rungs_at(steps)]

    def demultiplex(self, values: np.ndarray, steps: Sequence[int] | np.ndarray) -> np.ndarray:
        """Sort what was stored by replica into what was seen at each temperature.

        Args:
            values: [frames, replicas, ...], anything that frames have: energies, positions, RMSD.
            steps: [frames] the steps of these frames.

        Returns:
            [frames, rungs, ladders, ...] the same values, by rung.

        Raises:
            UserError: values that do not belong to these steps and replicas.
        """
        values, rungs = np.asarray(values), self.rungs_at(steps)
        if values.shape[:2] != rungs.shape:
            raise UserError(
                f"values {values.shape} must be [frames, replicas, ...] for {rungs.shape[0]} steps "
                f"and {rungs.shape[1]} replicas"
            )
        frame = np.arange(len(rungs))[:, None]
        # A stable order keeps the ladders of a rung in their order.
        by_rung = values[frame, np.argsort(rungs, axis=1, kind="stable")]
        return by_rung.reshape(len(rungs), len(self.ladder), self.ladders, *values.shape[2:])

    def until(self, step: int) -> Exchanges:
        """Return the record of the attempts up to and with a step."""
        kept = min(max(0, step // self.every - self.first), self.attempts)
        return replace(self, rungs=self.rungs[: kept + 1], energies=self.energies[:kept])


def acceptance(exchanges: Exchanges) -> np.ndarray:
    """Return the share of accepted attempts between each rung and the next, [rungs - 1].

    Not a number where none was made yet.
    """
    before, after = exchanges.rungs[:-1], exchanges.rungs[1:]  # [attempts, replicas]
    number = exchanges.first + 1 + np.arange(exchanges.attempts)
    shares = np.full(len(exchanges.ladder) - 1, np.nan)
    for rung in range(len(shares)):
        tried = (number - rung) % 2 == 0
        if tried.any():
            rose = (before[tried] == rung) & (after[tried] == rung + 1)
            shares[rung] = rose.sum() / (tried.sum() * exchanges.ladders)
    return shares


def round_trips(exchanges: Exchanges) -> np.ndarray:
    """Return how often each replica came back to the coldest rung from the hottest, [replicas].

    A trip begins at the coldest rung. Acceptance says that neighbours trade, round trips say that
    replicas get through: only they carry what was found in the heat down to the cold.
    """
    top = len(exchanges.ladder) - 1
    replicas = exchanges.rungs.shape[1]
    trips = np.zeros(replicas, dtype=np.int64)
    climbing = np.zeros(replicas, dtype=bool)
    falling = np.zeros(replicas, dtype=bool)
    for rungs in exchanges.rungs:
        trips += falling & (rungs == 0)
        falling = (falling & (rungs != 0)) | (climbing & (rungs == top))
        climbing = (climbing & (rungs != top)) | (rungs == 0)
    return trips


def write_exchanges(exchanges: Exchanges, path: Path) -> None:
    """Write a record as one npz file, atomically.

    Raises:
        UserError: the file cannot be written.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            np.savez(
                file,
                ladder=np.array(exchanges.ladder),
                every=exchanges.every,
                seed=np.uint64(exchanges.seed),
                first=exchanges.first,
                rungs=exchanges.rungs,
                energies=exchanges.energies,
            )
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"the record {path} could not be written ({error.strerror}); free some space or choose "
            "another folder"
        ) from error


def read_exchanges(path: Path) -> Exchanges:
    """Return the record of a file that `write_exchanges` wrote.

    Raises:
        UserError: the file is missing or is no such record.
    """
    if not path.is_file():
        raise UserError(f"no record of exchanges at {path}")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Exchanges(
                ladder=tuple(stored["ladder"].tolist()),
                every=int(stored["every"]),
                seed=int(stored["seed"]),
                first=int(stored["first"]),
                rungs=stored["rungs"],
                energies=stored["energies"],
            )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is not a record of exchanges ({error})") from error
