"""Trajectories on disk, read piece by piece; `store_writer` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.simulation import store_format
from flashschnet_lab.units import ANGSTROM_PER_NANOMETRE

if TYPE_CHECKING:
    import mdtraj

    from flashschnet_lab.simulation.restraint import Restraint

ALL_FRAMES = ALL_REPLICAS = slice(None)


@dataclass(frozen=True)
class Trajectory:
    """A trajectory on disk. What is asked for is read when it is asked for, chunk by chunk.

    Attributes:
        path: the folder of the store.
        protein: the molecule.
        replicas: copies of it in every frame.
        steps: [frames] int64, the step of every complete frame.
        attributes: what the run noted about itself.
        package_version: the flashschnet-lab that wrote it.
    """

    path: Path
    protein: Protein
    replicas: int
    steps: np.ndarray
    attributes: Mapping[str, Any]
    package_version: str
    _group: Any = field(repr=False)

    @property
    def frames(self) -> int:
        """The number of complete frames."""
        return len(self.steps)

    @property
    def beads(self) -> int:
        """Beads of one replica."""
        return self.protein.beads

    @property
    def times_ps(self) -> np.ndarray:
        """[frames] simulated time in ps."""
        return self._read("time")

    @property
    def potential_energy(self) -> np.ndarray:
        """[frames, replicas] in kcal/mol."""
        return self._read("potential_energy")

    @property
    def kinetic_energy(self) -> np.ndarray:
        """[frames, replicas] in kcal/mol."""
        return self._read("kinetic_energy")

    @property
    def temperature(self) -> np.ndarray:
        """[frames, replicas] instantaneous temperature in K."""
        return self._read("temperature")

    @property
    def restraints(self) -> tuple[Restraint, ...]:
        """What held the replicas when the run began."""
        from flashschnet_lab.simulation.restraint import restraint_from_dict

        return tuple(restraint_from_dict(r) for r in self.attributes.get("restraints", ()))

    @property
    def restraint_energy(self) -> np.ndarray:
        """[frames, replicas] of the restraints, no part of the potential, kcal/mol; 0 without any.

        Raises:
            UserError: an older version wrote the run, without what its restraints held.
        """
        if self._restrained_columns == 0:
            return np.zeros((self.frames, self.replicas))
        return self._read("restraint_energy")

    @property
    def restrained(self) -> np.ndarray:
        """[frames, replicas, restraints] of every restrained coordinate, each in its unit.

        Raises:
            UserError: as `restraint_energy`.
        """
        if self._restrained_columns == 0:
            return np.zeros((self.frames, self.replicas, 0))
        return self._read("restrained")

    @property
    def knows_restrained(self) -> bool:
        """Whether there is `restrained`: not where an older version ran restrained replicas."""
        return store_format.restrained_columns(self._group) is not None

    @property
    def _restrained_columns(self) -> int:
        columns = store_format.restrained_columns(self._group)
        if columns is None:
            raise UserError(
                f"{self.path} is of flashschnet-lab {self.package_version}, which did not store "
                "what restraints held; compute it from positions and `restraints`"
            )
        return columns

    def positions(self, frames: slice = ALL_FRAMES, replica: int = 0) -> np.ndarray:
        """Return positions of one replica, [frames, beads, 3] float32 in angstrom.

        Raises:
            UserError: there is no such replica, or `frames` runs backwards.
        """
        self._check(replica)
        stored = self._group["positions"]
        chosen = stored[self.frame_slice(frames), replica]  # [frames, beads, 3]
        return store_format.from_stored(chosen, stored.attrs.get("scale"))

    def block(self, frames: slice = ALL_FRAMES, replicas: slice = ALL_REPLICAS) -> np.ndarray:
        """Return positions of some replicas, [frames, replicas, beads, 3] float32 in angstrom.

        Replicas that share a chunk are decompressed once, not once for each of them.

        Raises:
            UserError: `frames` runs backwards.
        """
        stored = self._group["positions"]
        chosen = stored[self.frame_slice(frames), replicas]  # [frames, replicas, beads, 3]
        return store_format.from_stored(chosen, stored.attrs.get("scale"))

    @property
    def chunk(self) -> tuple[int, int]:
        """Frames and replicas that are compressed together."""
        frames, replicas = self._group["positions"].chunks[:2]
        return int(frames), int(replicas)

    def to_mdtraj(self, replica: int = 0, frames: slice = ALL_FRAMES) -> mdtraj.Trajectory:
        """Return one replica as an mdtraj trajectory, in nm and ps.

        Raises:
            UserError: there is no such replica, or `frames` runs backwards.
        """
        import mdtraj

        from flashschnet_lab.proteins.mdtraj_io import to_mdtraj_topology

        return mdtraj.Trajectory(
            self.positions(frames, replica) / ANGSTROM_PER_NANOMETRE,
            to_mdtraj_topology(self.protein),
            time=self.times_ps[self.frame_slice(frames)],
        )

    def frame_slice(self, frames: slice) -> slice:
        """Return `frames` with start, stop and step filled in for this trajectory.

        Raises:
            UserError: it runs backwards.
        """
        start, stop, stride = frames.indices(self.frames)
        if stride < 0:
            raise UserError(f"a trajectory is read forwards; frames cannot have step {stride}.")
        return slice(start, max(start, stop), stride)

    def _read(self, name: str) -> np.ndarray:
        return np.asarray(self._group[name][: self.frames])

    def _check(self, replica: int) -> None:
        if not 0 <= replica < self.replicas:
            raise UserError(
                f"there is no replica {replica} in {self.path}; it has 0 to {self.replicas - 1}."
            )


def open_trajectory(path: str | Path) -> Trajectory:
    """Open a trajectory for reading; a run that is still going is seen as it is now.

    Args:
        path: the store, or a run folder that has it as `trajectory.zarr`.

    Raises:
        UserError: there is no trajectory at `path`, or none that this version reads.
    """
    path = Path(path)
    if (path / "trajectory.zarr").is_dir():
        path = path / "trajectory.zarr"
    group = store_format.open_group(path)
    return Trajectory(
        path=path,
        protein=store_format.read_protein_group(group),
        replicas=int(group["positions"].shape[1]),
        steps=store_format.complete_steps(group),
        attributes=dict(group.attrs["run"]),
        package_version=group.attrs["package_version"],
        _group=group,
    )
