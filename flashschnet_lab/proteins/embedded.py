"""The proteins that come with the package: reference and starting conformations.

One JSON file each in `data/proteins`: residues, the reference conformation, and starting
conformations at 300 K. All were computed by this project (see `data/README.md`).
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.paths import data_folder
from flashschnet_lab.proteins.protein import Protein, Residue, make_protein

FORMAT = 1


@dataclass(frozen=True, eq=False)
class EmbeddedProtein:
    """A protein of the library.

    Attributes:
        protein: at its reference conformation.
        starts: [conformations, beads, 3] in angstrom, sampled at 300 K.
        title: one line for people.
    """

    protein: Protein
    starts: np.ndarray
    title: str


def embedded_names() -> list[str]:
    """Return the names of the proteins that come with the package."""
    return sorted(path.stem for path in (data_folder() / "proteins").glob("*.json"))


def embedded_protein(name: str) -> EmbeddedProtein:
    """Return a protein of the library by name, in any case.

    Raises:
        UserError: no such protein, with the names that there are.
    """
    names = embedded_names()
    if name.lower() not in names:
        raise UserError(f"no protein {name!r} comes with the package; there are {', '.join(names)}")
    return read_embedded(data_folder() / "proteins" / f"{name.lower()}.json")


def embedded_like(fingerprint: str) -> EmbeddedProtein | None:
    """Return the protein of the library with a fingerprint, or None."""
    for name in embedded_names():
        embedded = embedded_protein(name)
        if embedded.protein.fingerprint() == fingerprint:
            return embedded
    return None


def read_embedded(path: Path) -> EmbeddedProtein:
    """Read one file of the library."""
    values = json.loads(path.read_text(encoding="utf-8"))
    if values["format"] != FORMAT:
        raise UserError(f"{path} has format {values['format']}; this version reads {FORMAT}")
    residues = [Residue(*residue) for residue in values["residues"]]
    protein = make_protein(
        values["name"], values["mapping"], residues, np.array(values["reference"])
    )
    starts = np.array(values["starts"], dtype=np.float64).reshape(-1, protein.beads, 3)
    return EmbeddedProtein(protein, starts, values["title"])


def write_embedded(
    path: Path, protein: Protein, starts: np.ndarray, title: str, origin: dict[str, object]
) -> None:
    """Write a file of the library: `protein.positions` is the reference; 0.001 A kept."""
    values = {
        "format": FORMAT,
        "name": protein.name,
        "title": title,
        "mapping": protein.mapping,
        "origin": origin,
        "residues": [_row(residue) for residue in protein.residues],
        "reference": np.round(protein.positions, 3).tolist(),
        "starts": np.round(np.asarray(starts, dtype=np.float64), 3).tolist(),
    }
    lines = [f' "{key}": {json.dumps(value)}' for key, value in values.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _row(residue: Residue) -> list:
    """Return a residue as the file has it: a name of its own only where there is one."""
    *row, own_name = astuple(residue)
    return [*row, own_name] if own_name else row
