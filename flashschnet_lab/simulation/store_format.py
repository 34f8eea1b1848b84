"""What a trajectory store looks like on disk, for both generations of the zarr library.

A store is a Zarr group in format 2, which zarr 2.18 (Python 3.10) and zarr 3 both read and write,
so that a trajectory made on one machine opens on any other:

    trajectory.zarr/
      positions          [frames, replicas, beads, 3]  float32 angstrom, or int32 times `scale`
      potential_energy   [frames, replicas]            float64 kcal/mol
      kinetic_energy     [frames, replicas]            float64 kcal/mol
      temperature        [frames, replicas]            float64 K
      time               [frames]                      float64 ps
      step               [frames]                      int64, written last
      protein/                                         the molecule: residues, beads, start

and where replicas are restrained, which makes it a store of version 2:

      restraint_energy   [frames, replicas]              float64 kcal/mol, no part of the potential
      restrained         [frames, replicas, restraints]  float64, in the units of the coordinates

A frame exists when its step is there. `step` is written after everything else and is filled with
`NO_STEP`, so whatever a crash leaves behind, the frames that count are complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein, Residue, make_protein

FORMAT = "flashschnet-trajectory"
FORMAT_VERSION = 2
"""2 has what restraints hold; a store without them is written as 1, which older versions read."""
NO_STEP = -1

UNITS = {
    "positions": "angstrom",
    "potential_energy": "kcal/mol",
    "kinetic_energy": "kcal/mol",
    "temperature": "K",
    "time": "ps",
    "step": "1",
}
"""The per-frame arrays and their units, in the order in which they are written."""

OF_RESTRAINTS = ("restraint_energy", "restrained")
"""The per-frame arrays of a store of restrained replicas alone; they are written first."""

CHUNK_BYTES = 64 * 1024
"""Replicas share a chunk until it has about this size uncompressed.

One replica is what people read back, so each has chunks of its own as soon as these are worth a
file: 64 frames of 269 beads are 207 kB. Smaller molecules share, because 64 replicas of chignolin
would otherwise be 64 files of 38 kB for every 64 frames; reading one of two then costs nothing.
"""


@contextmanager
def disk_errors(what: str, remedy: str) -> Iterator[None]:
    """Turn a disk that is full, write-protected or broken into a `UserError`.

    Args:
        what: what could not be done, "cannot create the trajectory x".
        remedy: the sentence that follows the reason.
    """
    try:
        yield
    except (OSError, KeyError) as error:
        reason = error.__cause__ if isinstance(error, KeyError) else error  # zarr 2 hides some
        if not isinstance(reason, OSError):
            raise
        text = (reason.strerror or str(reason)).lower()
        raise UserError(f"{what}: {text}. {remedy}") from error


def create_group(path: Path) -> Any:
    """Create the folder `path` and in it an empty Zarr group."""
    import zarr

    path.mkdir(parents=True)
    version: dict[str, Any] = {"zarr_format": 2} if _zarr_major() >= 3 else {"zarr_version": 2}
    return zarr.open_group(str(path), mode="w-", **version)


def open_group(path: Path, writable: bool = False) -> Any:
    """Open the Zarr group of a trajectory.

    Raises:
        UserError: there is none at `path`, it is something else, or it is of a newer version.
    """
    import zarr

    if not path.exists():
        raise UserError(f"there is no trajectory at {path}; check the path of the run folder.")
    if not (path / ".zgroup").is_file():
        raise UserError(f"{path} is not a trajectory store; name a folder that a simulation wrote.")
    group = zarr.open_group(str(path), mode="r+" if writable else "r")
    if group.attrs.get("format") != FORMAT:
        raise UserError(f"{path} is a Zarr group but not a trajectory of flashschnet-lab.")
    version = group.attrs["format_version"]
    if version > FORMAT_VERSION:
        raise UserError(
            f"{path} has trajectory format {version}, newer than the {FORMAT_VERSION} that this "
            "installation reads; upgrade flashschnet-lab."
        )
    return group


def create_array(
    group: Any, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str, fill: float
) -> Any:
    """Create one compressed array in `group`.

    Zstandard after a byte shuffle: lossless, fast, and known to every version of zarr.
    """
    import numcodecs

    compressor = numcodecs.Blosc(cname="zstd", clevel=3, shuffle=numcodecs.Blosc.SHUFFLE)
    common = {"shape": shape, "chunks": chunks, "dtype": dtype, "fill_value": fill}
    if _zarr_major() >= 3:
        return group.create_array(name, compressors=compressor, **common)
    return group.create_dataset(name, compressor=compressor, **common)


def create_frame_arrays(
    group: Any,
    replicas: int,
    beads: int,
    frames_per_chunk: int,
    quantise: float | None,
    restrained: Sequence[str] = (),
) -> None:
    """Create the empty per-frame arrays.

    Args:
        group: of the store.
        replicas: in a frame.
        beads: of a replica.
        frames_per_chunk: that are compressed together.
        quantise: the resolution in angstrom, or None.
        restrained: labels of the restrained coordinates, with their units.
    """
    replica_bytes = frames_per_chunk * beads * 3 * 4
    replicas_per_chunk = min(replicas, max(1, round(CHUNK_BYTES / replica_bytes)))
    chunks = (frames_per_chunk, replicas_per_chunk, beads, 3)
    dtype = "<f4" if quantise is None else "<i4"
    positions = create_array(group, "positions", (0, replicas, beads, 3), chunks, dtype, 0)
    if quantise is not None:
        positions.attrs["scale"] = quantise
    for name in ("potential_energy", "kinetic_energy", "temperature"):
        chunks_2d = (frames_per_chunk, replicas)
        create_array(group, name, (0, replicas), chunks_2d, "<f8", float("nan"))
    create_array(group, "time", (0,), (frames_per_chunk,), "<f8", float("nan"))
    create_array(group, "step", (0,), (frames_per_chunk,), "<i8", NO_STEP)
    for name, unit in UNITS.items():
        group[name].attrs["unit"] = unit
    if restrained:
        chunks_2d, count = (frames_per_chunk, replicas), len(restrained)
        held = create_array(
            group, "restraint_energy", (0, replicas), chunks_2d, "<f8", float("nan")
        )
        held.attrs["unit"] = "kcal/mol"
        values = create_array(
            group, "restrained", (0, replicas, count), (*chunks_2d, count), "<f8", float("nan")
        )
        values.attrs["coordinates"] = list(restrained)


def frame_arrays(group: Any) -> tuple[str, ...]:
    """Return the names of the per-frame arrays of a store, in the order of writing."""
    return (*(name for name in OF_RESTRAINTS if name in group), *UNITS)


def restrained_columns(group: Any) -> int | None:
    """Return how many restrained coordinates a frame has; None in a store of before version 2.

    There were restraints, but what they held was not stored.
    """
    if "restrained" in group:
        return int(group["restrained"].shape[2])
    return None if group.attrs["run"].get("restraints") else 0


def complete_steps(group: Any) -> np.ndarray:
    """Return the steps of the frames that are complete, [frames] int64."""
    shortest = min(group[name].shape[0] for name in frame_arrays(group))
    steps = np.asarray(group["step"][:shortest])
    missing = np.flatnonzero(steps == NO_STEP)
    return steps[: missing[0]] if missing.size else steps


def to_stored(positions: np.ndarray, scale: float | None) -> np.ndarray:
    """Return positions in angstrom as they are stored: float32, or int32 multiples of `scale`.

    Raises:
        UserError: a coordinate is not finite or too large for the resolution.
    """
    if scale is None:
        return np.asarray(positions, dtype=np.float32)
    multiples = np.rint(np.asarray(positions, dtype=np.float64) / scale)
    largest = float(np.abs(multiples).max(initial=0.0))
    if not largest <= np.iinfo(np.int32).max:
        raise UserError(
            f"a coordinate of {largest * scale:.3g} A cannot be stored in steps of {scale:g} A; "
            "store the trajectory without quantising it."
        )
    return multiples.astype(np.int32)


def from_stored(stored: np.ndarray, scale: float | None) -> np.ndarray:
    """Return float32 positions in angstrom from what `to_stored` made."""
    if scale is None:
        return np.asarray(stored, dtype=np.float32)
    return (stored * float(scale)).astype(np.float32)


def write_protein(group: Any, protein: Protein) -> None:
    """Write `protein` to the group `protein/`.

    Residues, mapping and positions are what `read_protein_group` needs; bead names, types and
    masses are there for readers that know Zarr but not this package.
    """
    folder = group.create_group("protein")
    for name in ("positions", "bead_types", "masses"):
        values = getattr(protein, name)
        dtype = "<f8" if np.issubdtype(values.dtype, np.floating) else "<i8"
        create_array(folder, name, values.shape, values.shape, dtype, 0)[...] = values
    folder.attrs.update(
        {
            "name": protein.name,
            "mapping": protein.mapping,
            "residues": [
                {k: v for k, v in asdict(residue).items() if k != "own_name" or v}
                for residue in protein.residues
            ],
            "bead_names": list(protein.bead_names),
            "report": list(protein.report),
            "fingerprint": protein.fingerprint(),
        }
    )


def read_protein_group(group: Any) -> Protein:
    """Return the protein that `write_protein` wrote.

    Raises:
        UserError: this version of the package makes other beads of the same residues.
    """
    folder = group["protein"]
    about = folder.attrs
    residues = [Residue(**residue) for residue in about["residues"]]
    positions = np.asarray(folder["positions"][...])
    protein = make_protein(about["name"], about["mapping"], residues, positions, about["report"])
    if protein.fingerprint() != about["fingerprint"]:
        raise UserError(
            f"the beads of {about['name']} are not those of this flashschnet-lab; read the "
            f"trajectory with version {group.attrs['package_version']}, which wrote it."
        )
    return protein


def _zarr_major() -> int:
    import zarr

    return int(zarr.__version__.split(".")[0])
