"""Which row of a network's embedding a bead takes, said by names: the map of an imported model.

Models number the amino acids as they like, and a wrong numbering gives wrong energies without any
error. So a model that brings its own numbering says it here, by residue, and a residue that it does
not name has no row.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.proteins.residues import CA_ONLY


@dataclass(frozen=True)
class BeadRows:
    """Rows of an embedding by name.

    Attributes:
        residues: residue name to the row of the bead that carries the amino acid: the CB (glycine:
            the CA), or the only bead. Modified amino acids may be named, "NLE"; protonation states
            are the amino acid itself.
        backbone: "N", "CA", "C", "O" to the row of such a bead where it carries no amino acid.
    """

    residues: dict[str, int]
    backbone: dict[str, int] = field(default_factory=dict)

    def of(self, protein: Protein, model: str) -> np.ndarray:
        """Return the row of every bead, [beads] int64.

        Args:
            protein: whose beads they are.
            model: what to call the model in an error.

        Raises:
            UserError: a bead without a row.
        """
        rows = np.empty(protein.beads, dtype=np.int64)
        for bead, (name, index) in enumerate(
            zip(protein.bead_names, protein.residue_of_bead.tolist(), strict=True)
        ):
            residue = protein.residues[index]
            own = residue.own_name or residue.name
            if name == _carrier(residue.name, protein.mapping):
                row = self.residues.get(own)
            else:
                own, row = name, self.backbone.get(name)
            if row is None:
                raise UserError(_no_row(own, residue.name, protein.label(bead), protein, model))
            rows[bead] = row
        return rows

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Return plain JSON values."""
        return {"residues": dict(self.residues), "backbone": dict(self.backbone)}

    @staticmethod
    def from_dict(values: dict) -> BeadRows:
        """Inverse of `to_dict`.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: the values are something else.
        """
        parts = {name: values[name] for name in ("residues", "backbone")}
        for rows in parts.values():
            if not all(type(row) is int and row >= 0 for row in rows.values()):
                raise ValueError(f"rows of an embedding must be whole numbers from 0, not {rows}")
        return BeadRows(**parts)

    def highest(self) -> int:
        """Return the highest row."""
        return max([*self.residues.values(), *self.backbone.values()], default=-1)


def _carrier(residue: str, mapping: str) -> str:
    """Return the name of the bead that carries the amino acid."""
    return "CA" if mapping == CA_ONLY or residue == "GLY" else "CB"


def _no_row(own: str, standard: str, label: str, protein: Protein, model: str) -> str:
    """Return the message for a bead without a row."""
    message = f"model {model!r} has no row for {own} ({label} of {protein.name})"
    if own not in (standard, *protein.bead_names):
        return f"{message}; if {standard} may stand for it, say so: --rename {own}={standard}"
    return f"{message}: it was not trained on it; take another model or another protein"
