"""The proteins that come with the package: reference and starting conformations.

One JSON file each in `data/proteins`: residues, the reference conformation, and starting
conformations at 300 K. All were computed by this project (see `data/README.md`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
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
    path = data_folder() / "proteins" / f"{name.lower()}.json"
    if not path.is_file():
        raise UserError(f"no protein {name!r} comes with it; there are {', '.join(embedded_names())}")
    return read_embedded(path)


def read_embedded(path: Path) -> EmbeddedProtein:
    """Read one file of the library."""
    values = json.loads(path.read_text(encoding="utf-8"))
    residues = [Residue(name, number, "", chain, segment)
                for name, number, chain, segment in values["residues"]]
    protein = make_protein(
        values["name"], values["mapping"], residues, np.array(values["reference"])
    )
    return EmbeddedProtein(protein, np.array(values["starts"]), values["title"])


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
        "residues": [[r.name, r.number, r.chain, r.segment] for r in protein.residues],
        "reference": np.round(protein.positions, 3).tolist(),
        "starts": np.round(np.asarray(starts, dtype=np.float64), 3).tolist(),
    }
    lines = [f' "{key}": {json.dumps(value)}' for key, value in values.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
