"""A trajectory as a file that every molecular viewer opens: XTC, DCD or PDB.

Of one replica, or of one temperature where replicas trade them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.store import ALL_FRAMES, open_trajectory
from flashschnet_lab.simulation.tempered import open_tempered
from flashschnet_lab.units import ANGSTROM_PER_NANOMETRE

if TYPE_CHECKING:
    import mdtraj

Read = Callable[[slice], "mdtraj.Trajectory"]
"""Frames of a trajectory, those of a slice with start, stop and step."""

FORMATS = (".xtc", ".dcd", ".pdb")
FRAMES_AT_ONCE = 1024
"""Frames in memory while exporting: 10 MB for 269 beads, however long the trajectory is."""


def export_replica(
    path: str | Path,
    replica: int,
    out_path: str | Path,
    *,
    frames: slice = ALL_FRAMES,
    align: bool = False,
    force: bool = False,
) -> tuple[Path, ...]:
    """Write one replica to `out_path` and return the files written.

    XTC and DCD hold coordinates only, so the first frame goes to a PDB file of the same name beside
    them, which viewers want as topology. XTC rounds to 0.01 A, PDB to 0.001 A (0.01 A farther than
    1000 A from the origin). A file appears when it is complete.

    Args:
        path: a run folder or a trajectory store.
        replica: which copy of the molecule, from 0.
        out_path: the file to write; its suffix is the format.
        frames: which frames, all by default.
        align: superpose every frame on the first one written. Without walls a molecule drifts and
            tumbles; aligned, one sees its shape change.
        force: overwrite files that exist.

    Raises:
        UserError: an unknown format, replica or folder, a file that exists, no frames, a disk that
            fails, or coordinates that the format cannot hold.
    """
    trajectory = open_trajectory(path)
    chosen = trajectory.frame_slice(frames)
    if not range(*chosen.indices(trajectory.frames)):
        raise UserError(
            f"no frames to export: {trajectory.path} has {trajectory.frames}, none of them chosen."
        )

    def read(piece: slice) -> mdtraj.Trajectory:
        return trajectory.to_mdtraj(replica, piece)

    return _export(read, chosen, Path(out_path), align, force)


def export_temperature(
    path: str | Path,
    temperature: float,
    out_path: str | Path,
    *,
    ladder: int = 0,
    frames: slice = ALL_FRAMES,
    align: bool = False,
    force: bool = False,
) -> tuple[Path, ...]:
    """Write what was seen at one temperature of a tempered run; all else as `export_replica`.

    Args:
        path: the run folder of a tempering.
        temperature: of a rung, kelvin.
        out_path: as for `export_replica`.
        ladder: which of those that ran side by side, from 0.
        frames: as for `export_replica`.
        align: likewise.
        force: likewise.

    Raises:
        UserError: as `export_replica`, or a run without such a rung.
    """
    run = open_tempered(path)
    rung, chosen = run.rung_of(temperature), run.frame_slice(frames)
    if not range(*chosen.indices(run.frames)):
        raise UserError(
            f"no frames to export: {run.trajectory.path} has {run.frames}, none of them chosen."
        )

    def read(piece: slice) -> mdtraj.Trajectory:
        return run.to_mdtraj(rung, ladder, piece)

    return _export(read, chosen, Path(out_path), align, force)


def _export(
    read: Read, chosen: slice, out_path: Path, align: bool, force: bool
) -> tuple[Path, ...]:
    """Write the chosen frames, at least one; arguments and errors as `export_replica`."""
    suffix = out_path.suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"cannot export to {out_path}: end its name in {', '.join(FORMATS)}.")
    if not out_path.parent.is_dir():
        raise UserError(f"the folder {out_path.parent} does not exist; create it first.")
    topology_path = out_path.with_suffix(".pdb")
    written = (out_path,) if suffix == ".pdb" else (out_path, topology_path)
    for file in written:
        if file.exists() and not force:
            raise UserError(f"{file} exists; choose another name or force overwriting it.")
    first = slice(chosen.start, chosen.start + 1, 1)
    try:
        if suffix != ".pdb":
            _write_file(topology_path, ".pdb", _pieces(read, first, align=False))
        _write_file(out_path, suffix, _pieces(read, chosen, align))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"cannot write {out_path}: {reason}.") from error
    return written


def _pieces(read: Read, frames: slice, align: bool) -> Iterator[mdtraj.Trajectory]:
    """Yield the chosen frames in order, at most FRAMES_AT_ONCE at a time."""
    reference = None
    for start in range(frames.start, frames.stop, FRAMES_AT_ONCE * frames.step):
        stop = min(start + FRAMES_AT_ONCE * frames.step, frames.stop)
        piece = read(slice(start, stop, frames.step))
        if align:
            reference = piece[0] if reference is None else reference
            piece.superpose(reference)
        yield piece


def _write_file(path: Path, suffix: str, pieces: Iterable[mdtraj.Trajectory]) -> None:
    """Write the pieces under a temporary name and rename the complete file."""
    partial = path.with_name(f".{path.name}.partial")
    write = {".xtc": _write_xtc, ".dcd": _write_dcd, ".pdb": _write_pdb}[suffix]
    try:
        write(partial, pieces)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_xtc(path: Path, pieces: Iterable[mdtraj.Trajectory]) -> None:
    from mdtraj.formats import XTCTrajectoryFile

    done = 0
    with XTCTrajectoryFile(str(path), "w") as file:
        for piece in pieces:
            numbers = np.arange(done, done + piece.n_frames, dtype=np.int32)
            no_box = np.zeros((piece.n_frames, 3, 3), dtype=np.float32)
            times = piece.time.astype(np.float32)
            file.write(piece.xyz, time=times, step=numbers, box=no_box)  # nm
            done += piece.n_frames


def _write_dcd(path: Path, pieces: Iterable[mdtraj.Trajectory]) -> None:
    from mdtraj.formats import DCDTrajectoryFile

    with DCDTrajectoryFile(str(path), "w") as file:
        for piece in pieces:
            file.write(piece.xyz * np.float32(ANGSTROM_PER_NANOMETRE))  # the format is in angstrom


def _write_pdb(path: Path, pieces: Iterable[mdtraj.Trajectory]) -> None:
    from mdtraj.formats import PDBTrajectoryFile

    model = 0
    try:
        with PDBTrajectoryFile(str(path), "w") as file:
            for piece in pieces:
                for positions in piece.xyz:
                    model += 1
                    in_angstrom = positions * np.float32(ANGSTROM_PER_NANOMETRE)
                    file.write(in_angstrom, piece.topology, modelIndex=model)
    except ValueError as error:  # not a number, or beyond the eight columns of a coordinate
        raise UserError(
            f"a PDB file cannot hold frame {model - 1} of the choice ({error}); leave it out."
        ) from error
