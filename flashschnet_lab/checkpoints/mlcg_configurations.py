"""mlcg's configurations (`*_configurations.pt`): bead types, positions, masses, lists of terms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from flashschnet_lab.checkpoints.pickle_machine import Instance
from flashschnet_lab.checkpoints.torch_file import read_torch_file
from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein, Residue, make_protein
from flashschnet_lab.proteins.residues import (
    BACKBONE_TYPES,
    CA_ONLY,
    FIVE_BEAD,
    RESIDUE_TYPES,
)
from flashschnet_lab.units import KCAL_PER_MOL

MOST_BEADS = 5000
"""All pairs of so many are 200 MB."""


@dataclass(frozen=True, eq=False)
class Configuration:
    """One molecule as mlcg has it.

    Attributes:
        name: of the molecule, or "".
        types: [beads] int64, in mlcg's numbering.
        positions: [beads, 3] float64, angstrom.
        masses: [beads] float64, dalton, or None.
        terms: name of a prior to the beads of its terms, [terms, beads of one] int64.
    """

    name: str
    types: np.ndarray
    positions: np.ndarray
    masses: np.ndarray | None
    terms: dict[str, np.ndarray]

    @property
    def mapping(self) -> str:
        """The mapping that the types are of."""
        return FIVE_BEAD if np.isin(self.types, list(BACKBONE_TYPES.values())).any() else CA_ONLY

    def protein(self) -> Protein:
        """Return the molecule as one chain.

        Raises:
            UserError: types that are no chain of this mapping in our order of beads.
        """
        names = {number: name for name, number in RESIDUE_TYPES.items()}
        residues = [
            Residue(names[t], number, "", "A", 0)
            for number, t in enumerate((t for t in self.types.tolist() if t in names), start=1)
        ]
        try:
            protein = make_protein(self.name or "molecule", self.mapping, residues, self.positions)
        except ValueError:
            protein = None
        if protein is None or not np.array_equal(protein.bead_types, self.types):
            raise UserError(
                f"the configuration {self.name!r} is no single chain of beads N, CA, CB, C, O (or "
                "CA alone) in mlcg's numbering, which is all that is supported"
            )
        return protein


def read_configurations(path: Path) -> list[Configuration]:
    """Return what a file of configurations holds; no code of it runs.

    Raises:
        UserError: it is no list of AtomicData.
    """
    found = configurations_of(read_torch_file(path))
    if not found:
        raise UserError(f"{path} is no list of mlcg's AtomicData")
    return found


def configurations_of(value: Any) -> list[Configuration]:
    """Return the configurations of a list of AtomicData, or none if it is something else."""
    values = value if isinstance(value, (list, tuple)) else [value]
    if not values or not all(isinstance(v, Instance) and v.is_a("AtomicData") for v in values):
        return []
    return [_configuration(_fields(v)) for v in values]


def _fields(data: Instance) -> dict[str, Any]:
    """Return the fields of an AtomicData: in its storage, or as attributes of older versions."""
    store = data.attributes.get("_store")
    fields = store.attributes.get("_mapping") if isinstance(store, Instance) else data.attributes
    return fields if isinstance(fields, dict) else {}


def _configuration(fields: dict[str, Any]) -> Configuration:
    types, positions = fields.get("atom_types"), fields.get("pos")
    if not isinstance(types, Tensor) or not isinstance(positions, Tensor):
        raise UserError("a configuration has no atom_types and pos, which every AtomicData has")
    masses, name, lists = fields.get("masses"), fields.get("name"), fields.get("neighbor_list")
    beads = len(types)
    if beads > MOST_BEADS:
        raise UserError(f"a configuration has {beads} beads; at most {MOST_BEADS} are supported")
    if types.ndim != 1 or positions.shape != (beads, 3):
        raise UserError("a configuration's atom_types and pos do not fit each other")
    terms = {}
    for key, value in (lists if isinstance(lists, dict) else {}).items():
        index = value.get("index_mapping") if isinstance(value, dict) else None
        if isinstance(index, Tensor) and index.ndim == 2:
            members = index.numpy().T.astype(np.int64)
            if members.size and not (0 <= members.min() and members.max() < beads):
                raise UserError(f"the list {key} of a configuration names beads that are not there")
            terms[str(key)] = members
    return Configuration(
        name=name if isinstance(name, str) else "",
        types=types.numpy().astype(np.int64),
        positions=positions.double().numpy(),
        masses=_masses(masses, beads),
        terms=terms,
    )


def _masses(values: Any, beads: int) -> np.ndarray | None:
    """Return masses in dalton; mlcg's unit, A^2/ps^2 of a kcal/mol, is 418.4 of them."""
    if not isinstance(values, Tensor) or values.shape != (beads,):
        return None
    masses: np.ndarray = values.double().numpy() * KCAL_PER_MOL
    return masses
