"""The parameters of the classical priors, by term and bead types, and their JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.proteins.topology import CA_SEPARATION, excluded_pairs, repelling_pairs

FOURIER_ORDERS = 3
"""Highest multiple of a dihedral angle in the Fourier series of our own tables."""

WIDTHS = {"bonds": 2, "angles": 2}
"""Parameters per term of each family; a dihedral has 1 + 2 * orders, the same in one table."""

FAMILIES = ("bonds", "angles", "dihedrals", "repulsion")
TYPES = ("bead_types", "per_bead")

Key = tuple[str, tuple[int, ...]]
"""Term name and bead types, in either direction; no types at all means any."""


@dataclass(frozen=True)
class PriorRules:
    """Which terms of a molecule a table speaks of, and how it calls the beads.

    Attributes:
        families: the families of terms that there are. A family that is not named is no part of the
            energy; of one that is named every term must be in the table.
        types: "bead_types", or "per_bead" for a table of one molecule, whose "types" are the
            numbers of the beads.
        ca_separation: C-alpha only: beads of one segment repel from so many residues apart.

    Raises:
        ValueError: an unknown family or kind of types.
    """

    families: tuple[str, ...] = FAMILIES
    types: str = "bead_types"
    ca_separation: int = CA_SEPARATION

    def __post_init__(self) -> None:
        if unknown := set(self.families) - set(FAMILIES):
            raise ValueError(f"families {unknown} are unknown; known: {', '.join(FAMILIES)}")
        if self.types not in TYPES:
            raise ValueError(f"types {self.types!r} are unknown; known: {', '.join(TYPES)}")
        if self.ca_separation < 1:
            raise ValueError(f"ca_separation must be at least 1, not {self.ca_separation}")

    def bead_types(self, protein: Protein) -> np.ndarray:
        """Return what the table calls each bead, [beads] int64."""
        return np.arange(protein.beads) if self.types == "per_bead" else protein.bead_types

    def terms(self, family: str, protein: Protein) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return the terms of one bonded family, [terms, beads of one] int64, and their names."""
        topology, name = protein.topology, family.removesuffix("s")
        index: np.ndarray = getattr(topology, family)
        names: tuple[str, ...] = getattr(topology, f"{name}_terms")
        return (index, names) if family in self.families else (index[:0], ())

    def repulsion(self, protein: Protein) -> np.ndarray:
        """Return the pairs of beads that repel each other, [pairs, 2] int64 with i < j, sorted."""
        if "repulsion" not in self.families:
            return protein.topology.repulsion[:0]
        if self.ca_separation == CA_SEPARATION:
            return protein.topology.repulsion
        return repelling_pairs(*_chain(protein), protein.mapping, self.ca_separation)

    def counts(self, protein: Protein) -> dict[str, int]:
        """Return how many terms of each family a molecule has."""
        bonded = {family: len(self.terms(family, protein)[0]) for family in FAMILIES[:3]}
        return bonded | {"repulsion": len(self.repulsion(protein))}

    def excluded(self, protein: Protein) -> np.ndarray:
        """Return the pairs of beads that do not repel each other, [pairs, 2] int64."""
        return excluded_pairs(*_chain(protein), protein.mapping, self.ca_separation)


def _chain(protein: Protein) -> tuple[list[str], list[int]]:
    residues = protein.residues
    return [residue.name for residue in residues], [residue.segment for residue in residues]


@dataclass(frozen=True, eq=False)
class PriorTable:
    """Prior parameters for every kind of term.

    Attributes:
        bonds: (term, types) to (k in kcal/mol/A^2, r0 in A).
        angles: (term, types) to (k in kcal/mol, cos0), the apex in the middle.
        dihedrals: (term, types) to (v0, k1 for n = 1..orders, k2 for n = 1..orders) in kcal/mol,
            seven numbers for three orders.
        sigma: [types, types] symmetric, range of the repulsion in A; 0 where a pair is unknown.
        provenance: where the numbers come from, for people.
        rules: which terms of a molecule the table speaks of.
    """

    bonds: dict[Key, tuple[float, ...]]
    angles: dict[Key, tuple[float, ...]]
    dihedrals: dict[Key, tuple[float, ...]]
    sigma: np.ndarray
    provenance: dict[str, object] = field(default_factory=dict)
    rules: PriorRules = PriorRules()

    def to_json(self) -> str:
        """Return the table as JSON text, one term per line."""
        families = {
            name: [[term, list(types), list(values)] for (term, types), values in rows.items()]
            for name, rows in self._families().items()
        }
        lines = [f' "provenance": {json.dumps(self.provenance)},']
        if self.rules != PriorRules():
            lines.append(f' "rules": {json.dumps(asdict(self.rules))},')
        for name, rows in families.items():
            body = ",\n  ".join(json.dumps(row) for row in rows)
            lines.append(f' "{name}": [\n  {body}\n ],')
        sigma = ",\n  ".join(json.dumps(row) for row in self.sigma.tolist())
        return "{\n" + "\n".join(lines) + f'\n "sigma": [\n  {sigma}\n ]\n}}\n'

    @staticmethod
    def from_json(text: str) -> PriorTable:
        """Inverse of `to_json`.

        Raises:
            ValueError, KeyError, TypeError: the text is something else.
        """
        values = json.loads(text)

        def rows(family: str) -> dict[Key, tuple[float, ...]]:
            width = WIDTHS.get(family) or _dihedral_width(values[family])
            for term, _, row in values[family]:
                if len(row) != width:
                    raise ValueError(f"{term} needs {width} numbers, not {len(row)}")
            return {(term, tuple(types)): tuple(row) for term, types, row in values[family]}

        return PriorTable(
            rows("bonds"),
            rows("angles"),
            rows("dihedrals"),
            np.array(values["sigma"], dtype=np.float64),
            values["provenance"],
            _rules(values.get("rules", {})),
        )

    def _families(self) -> dict[str, dict[Key, tuple[float, ...]]]:
        return {"bonds": self.bonds, "angles": self.angles, "dihedrals": self.dihedrals}

    def rows(
        self, family: str, protein: Protein, indices: np.ndarray, terms: Sequence[str]
    ) -> np.ndarray:
        """Return the parameters [rows, values] of one family's terms of a protein.

        Raises:
            UserError: a combination of bead types that the table lacks. (A missing row must never
                become a silent zero.)
        """
        table, bead_types = self._families()[family], self.rules.bead_types(protein)
        width = WIDTHS.get(family) or len(next(iter(table.values()), range(1 + 2 * FOURIER_ORDERS)))
        found = np.zeros((len(terms), width))
        for row, (term, beads) in enumerate(zip(terms, indices, strict=True)):
            types = tuple(int(t) for t in bead_types[beads])
            keys = ((term, types), (term, types[::-1]), (term, ()))
            values = next((table[key] for key in keys if key in table), None)
            if values is None:
                where = ", ".join(protein.label(int(bead)) for bead in beads)
                raise UserError(
                    f"the prior has no {family} parameters for term {term} with bead types {types} "
                    f"({where}); use a prior table that covers {protein.mapping} proteins"
                )
            found[row] = values
        return found


def _dihedral_width(rows: Sequence) -> int:
    """Return the numbers of a dihedral: those of the first one, 1 + 2 * orders."""
    width = len(rows[0][2]) if rows else 1 + 2 * FOURIER_ORDERS
    if width < 3 or width % 2 == 0:
        raise ValueError(f"dihedrals need 1 + 2 * orders numbers, not {width}")
    return width


def _rules(values: dict) -> PriorRules:
    families = tuple(values.get("families", FAMILIES))
    return PriorRules(**{**values, "families": families})


def load_prior_table(path: Path) -> PriorTable:
    """Read a prior table.

    Raises:
        UserError: the file is missing or is not a prior table.
    """
    if not path.is_file():
        raise UserError(f"no prior table at {path}")
    try:
        return PriorTable.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a prior table ({error})") from error
