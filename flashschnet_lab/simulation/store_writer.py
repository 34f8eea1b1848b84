"""Trajectories on disk, written as they grow and safe after a crash; `store` reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.simulation import store_format


class Frame(Protocol):
    """What a frame must have to be stored; numpy arrays, R replicas."""

    @property
    def step(self) -> int:
        """Steps since the start of the simulation."""

    @property
    def time_ps(self) -> float:
        """Simulated time in ps."""

    @property
    def positions(self) -> np.ndarray:
        """[R, beads, 3] in angstrom."""

    @property
    def potential_energy(self) -> np.ndarray:
        """[R] in kcal/mol."""

    @property
    def kinetic_energy(self) -> np.ndarray:
        """[R] in kcal/mol."""

    @property
    def temperature(self) -> np.ndarray:
        """[R], the instantaneous temperature in K."""

    @property
    def restraint_energy(self) -> np.ndarray | None:
        """[R] in kcal/mol; None without restraints."""

    @property
    def restrained(self) -> np.ndarray | None:
        """[R, restraints], the restrained coordinates; None likewise."""


class TrajectoryWriter:
    """Appends frames to a trajectory store, one chunk of frames at a time.

    Make one with `create` or `resume` and use it as a context manager. A process that dies loses
    the frames since the last chunk or `flush`, and no others.

    Attributes:
        path: the folder of the store.
        frames: frames appended so far, those of an earlier run included.
        last_step: the step of the last frame, or -1 when there is none.
    """

    def __init__(self, path: Path, group: Any) -> None:
        """Continue the open store `group`, whose arrays all have the same number of frames."""
        self.path = path
        self._arrays = {name: group[name] for name in store_format.frame_arrays(group)}
        stored = self._arrays["positions"]
        self._scale: float | None = stored.attrs.get("scale")
        self._restraints = store_format.restrained_columns(group)
        self._buffer = {
            name: np.empty((stored.chunks[0], *array.shape[1:]), dtype=array.dtype)
            for name, array in self._arrays.items()
        }
        self.frames = int(stored.shape[0])
        self._written = self.frames
        self._failed = False
        # A chunk that is not full is written again as a whole when more frames come.
        self._chunk_start = self.frames - self.frames % stored.chunks[0]
        for name, array in self._arrays.items():
            self._buffer[name][: self.frames - self._chunk_start] = array[self._chunk_start :]
        self.last_step = int(self._arrays["step"][-1]) if self.frames else store_format.NO_STEP

    @classmethod
    def create(
        cls,
        path: str | Path,
        protein: Protein,
        replicas: int,
        *,
        quantise: float | None = None,
        frames_per_chunk: int = 64,
        attributes: Mapping[str, Any] | None = None,
        restrained: Sequence[str] = (),
    ) -> TrajectoryWriter:
        """Start a new trajectory.

        Args:
            path: a folder that does not exist yet, by custom `trajectory.zarr` in the run folder.
            protein: the molecule; it is stored whole, so that the trajectory explains itself.
            replicas: how many copies of it each frame holds.
            quantise: None keeps float32; a resolution in angstrom (0.001 say) rounds to it.
            frames_per_chunk: frames that are written together and that a crash can cost.
            attributes: what else is worth knowing of the run; anything that JSON can hold.
            restrained: what to call the restrained coordinates of each frame, with their units.

        Raises:
            UserError: `path` exists, or cannot be written.
        """
        path = Path(path)
        if path.exists():
            raise UserError(
                f"{path} exists and is not overwritten; choose another folder, continue that run, "
                "or delete it."
            )
        if quantise is not None and not quantise > 0:
            raise UserError(f"a resolution of {quantise:g} A is not positive; try 0.001.")
        about = {
            "format": store_format.FORMAT,
            "format_version": store_format.FORMAT_VERSION if restrained else 1,
            "package_version": _package_version(),
            "run": dict(attributes or {}),
        }
        with store_format.disk_errors(f"cannot create the trajectory {path}", "Write elsewhere."):
            group = store_format.create_group(path)
            store_format.create_frame_arrays(
                group, replicas, protein.beads, frames_per_chunk, quantise, restrained
            )
            store_format.write_protein(group, protein)
            group.attrs.update(about)
        return cls(path, group)

    @classmethod
    def resume(cls, path: str | Path, step: int) -> TrajectoryWriter:
        """Go on with the trajectory at `path` from a checkpoint taken at `step`.

        Frames after `step` are cut off, since the continued run makes them again.

        Raises:
            UserError: there is no trajectory at `path`.
        """
        path = Path(path)
        group = store_format.open_group(path, writable=True)
        kept = int(np.searchsorted(store_format.complete_steps(group), step, side="right"))
        with store_format.disk_errors(f"cannot continue the trajectory {path}", "Free some space."):
            # The chunk on the edge keeps what it holds beyond it: without the fill value there, a
            # crash while the array grows again could bring back steps of frames that are gone.
            group["step"][kept:] = store_format.NO_STEP
            for name in reversed(store_format.frame_arrays(group)):
                group[name].resize((kept, *group[name].shape[1:]))
        return cls(path, group)

    def append(self, frame: Frame) -> None:
        """Take one frame; every `frames_per_chunk` of them are written.

        Raises:
            UserError: the disk is full or failed; the message says what is safe. Or the frame has
                other restraints than the store.
            ValueError: the frame does not come after the one before.
        """
        if frame.step <= self.last_step:
            raise ValueError(f"frame of step {frame.step} after that of step {self.last_step}")
        self._check_restraints(frame)
        row = self.frames - self._chunk_start
        self._buffer["positions"][row] = store_format.to_stored(frame.positions, self._scale)
        self._buffer["potential_energy"][row] = frame.potential_energy
        self._buffer["kinetic_energy"][row] = frame.kinetic_energy
        self._buffer["temperature"][row] = frame.temperature
        self._buffer["time"][row] = frame.time_ps
        self._buffer["step"][row] = frame.step
        if self._restraints:
            self._buffer["restraint_energy"][row] = frame.restraint_energy
            self._buffer["restrained"][row] = frame.restrained
        self.frames += 1
        self.last_step = frame.step
        if row + 1 == len(self._buffer["step"]):
            self.flush()
            self._chunk_start = self.frames

    def flush(self) -> None:
        """Write the frames that are not on disk yet; call it before a checkpoint.

        Raises:
            UserError: the disk is full or failed; the message says what is safe.
        """
        if self._written == self.frames:
            return
        start, end = self._chunk_start, self.frames
        try:
            with store_format.disk_errors(
                f"cannot write the trajectory {self.path}",
                f"Its first {self._written} frames are safe; free some space and continue the run.",
            ):
                for name, array in self._arrays.items():  # step is last and makes the frames count
                    array.resize((end, *array.shape[1:]))
                    array[start:end] = self._buffer[name][: end - start]
        except UserError:
            self._failed = True
            raise
        self._written = end

    def _check_restraints(self, frame: Frame) -> None:
        values = getattr(frame, "restrained", None)  # frames of other makers may lack it
        count = 0 if values is None else values.shape[1]
        if self._restraints is not None and count != self._restraints:
            raise UserError(
                f"frames of {self.path} have {self._restraints} restrained coordinates, not "
                f"{count}; start a new run to go on under other restraints"
            )

    def close(self) -> None:
        """Write what is left. A store whose disk has failed is left as it is."""
        if not self._failed:
            self.flush()

    def __enter__(self) -> TrajectoryWriter:
        """Return the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, whatever happened: the frames before an error are as good as any."""
        self.close()


def _package_version() -> str:
    try:
        return version("flashschnet-lab")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
