"""The parameters of the classical priors, by term and bead types, and their JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein

FOURIER_ORDERS = 3
"""Highest multiple of a dihedral angle in the Fourier series."""

WIDTHS = {"bonds": 2, "angles": 2, "dihedrals": 1 + 2 * FOURIER_ORDERS}
"""Parameters per term of each family."""

Key = tuple[str, tuple[int, ...]]
"""Term name and bead types, in either direction; no types at all means any."""


@dataclass(frozen=True, eq=False)
class PriorTable:
    """Prior parameters for every kind of term.

    Attributes:
        bonds: (term, types) to (k in kcal/mol/A^2, r0 in A).
        angles: (term, types) to (k in kcal/mol, cos0), the apex in the middle.
        dihedrals: (term, types) to (v0, k1 for n = 1..3, k2 for n = 1..3), seven numbers, kcal/mol.
        sigma: [types, types] symmetric, range of the repulsion in A; 0 where a pair is unknown.
        provenance: where the numbers come from, for people.
    """

    bonds: dict[Key, tuple[float, ...]]
    angles: dict[Key, tuple[float, ...]]
    dihedrals: dict[Key, tuple[float, ...]]
    sigma: np.ndarray
    provenance: dict[str, object] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the table as JSON text, one term per line."""
        families = {
            name: [[term, list(types), list(values)] for (term, types), values in rows.items()]
            for name, rows in self._families().items()
        }
        lines = [f' "provenance": {json.dumps(self.provenance)},']
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
            for term, _, row in values[family]:
                if len(row) != WIDTHS[family]:
                    raise ValueError(f"{term} needs {WIDTHS[family]} numbers, not {len(row)}")
            return {(term, tuple(types)): tuple(row) for term, types, row in values[family]}

        return PriorTable(
            rows("bonds"),
            rows("angles"),
            rows("dihedrals"),
            np.array(values["sigma"], dtype=np.float64),
            values["provenance"],
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
        table = self._families()[family]
        found = np.zeros((len(terms), WIDTHS[family]))
        for row, (term, beads) in enumerate(zip(terms, indices, strict=True)):
            types = tuple(int(t) for t in protein.bead_types[beads])
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
