"""The classical priors of a batch of molecules: bonds, angles, dihedrals, repulsion.

A network that learns forces has seen no broken bond and no overlap, because none was sampled. The
priors forbid them, and the network learns what is left (Charron et al., Nature Chemistry 17, 1284
(2025)).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flashschnet_kernels.priors import reference as terms
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.batch import Batch, sum_per_molecule
from flashschnet_lab.potentials.prior_table import PriorTable
from flashschnet_lab.proteins.protein import Protein

BONDED = ("bonds", "angles", "dihedrals")
FAMILIES = (*BONDED, "repulsion")


class Priors(nn.Module):
    """k (r - r0)^2 + k (cos t - cos0)^2 + Fourier dihedrals + (sigma / r)^6, summed per molecule.

    Args:
        table: parameters by term and bead types.
        proteins: the molecules of the batch, in order; a replica is the same protein again.

    Raises:
        UserError: a term without parameters.
    """

    repulsion_index: Tensor
    repulsion_values: Tensor

    def __init__(self, table: PriorTable, proteins: Sequence[Protein]) -> None:
        super().__init__()
        batch = Batch(tuple(p.beads for p in proteins))
        different = list({id(p): p for p in proteins})
        self.batch = batch
        self._kinds = tuple(different.index(id(p)) for p in proteins)
        self._layout: Any = None
        resolved = {id(p): _resolve(table, p) for p in proteins}
        per_molecule = [resolved[id(p)] for p in proteins]
        self.counts = {f: [len(r[f][0]) for r in per_molecule] for f in FAMILIES}
        self._names = [{f: r[f][2] for f in FAMILIES} for r in per_molecule]
        for family in FAMILIES:
            index = batch.lay_out([torch.from_numpy(r[family][0]) for r in per_molecule])
            values = np.concatenate([r[family][1] for r in per_molecule])
            self.register_buffer(f"{family}_index", index, persistent=False)
            self.register_buffer(f"{family}_values", torch.from_numpy(values), persistent=False)

    def forward(self, positions: Tensor, implementation: str = "reference") -> dict[str, Tensor]:
        """Return the energy of each family, [molecules] float64 in kcal/mol, from [beads, 3].

        Args:
            positions: [beads, 3] in angstrom.
            implementation: of the operator, as in a `KernelPlan`.
        """
        if implementation == "triton":
            return self._fused(positions)
        return {
            family: sum_per_molecule(values, self.counts[family])
            for family, values in self.per_term(positions).items()
        }

    def _fused(self, positions: Tensor) -> dict[str, Tensor]:
        """Repulsion in one kernel, the few bonded terms as ever."""
        from flashschnet_kernels.priors import triton

        if self._layout is None or self._layout.ranges.device != positions.device:
            matrices = tuple(m.to(positions) for m in self._sigma_matrices())
            self._layout = triton.lay_out(self.batch.sizes, self._kinds, matrices)
        energies = {
            family: sum_per_molecule(values, self.counts[family])
            for family, values in self._bonded_terms(positions).items()
        }
        return energies | {"repulsion": triton.repulsion(positions, self._layout)}

    def _sigma_matrices(self) -> list[Tensor]:
        """Return sigma between all beads of each different molecule, zero where none repels."""
        matrices = []
        for kind in range(len(set(self._kinds))):
            molecule = self._kinds.index(kind)
            beads = self.batch.sizes[molecule]
            first = sum(self.counts["repulsion"][:molecule])
            rows = slice(first, first + self.counts["repulsion"][molecule])
            pairs = self.repulsion_index[rows] - self.batch.offsets()[molecule]
            matrix = self.repulsion_values.new_zeros(beads, beads)
            matrix[pairs[:, 0], pairs[:, 1]] = self.repulsion_values[rows, 0]
            matrices.append(matrix + matrix.T)
        return matrices

    def term_names(self, family: str) -> list[str]:
        """Return the name of every term of a family, in the order of `per_term`."""
        return [name for names in self._names for name in names[family]]

    def per_term(self, positions: Tensor) -> dict[str, Tensor]:
        """Return the energy of every single term of each family, [terms]."""
        sigma = self.repulsion_values[:, 0]
        return self._bonded_terms(positions) | {
            "repulsion": terms.repulsion(positions, self.repulsion_index, sigma)
        }

    def _bonded_terms(self, positions: Tensor) -> dict[str, Tensor]:
        index = {f: getattr(self, f"{f}_index") for f in BONDED}
        bonds, angles, dihedrals = (getattr(self, f"{f}_values") for f in BONDED)
        orders = (dihedrals.shape[1] - 1) // 2
        return {
            "bonds": terms.harmonic_bonds(positions, index["bonds"], bonds[:, 0], bonds[:, 1]),
            "angles": terms.cosine_angles(positions, index["angles"], angles[:, 0], angles[:, 1]),
            "dihedrals": terms.fourier_dihedrals(
                positions,
                index["dihedrals"],
                dihedrals[:, 0],
                dihedrals[:, 1 : 1 + orders],
                dihedrals[:, 1 + orders :],
            ),
        }


def _resolve(
    table: PriorTable, protein: Protein
) -> dict[str, tuple[np.ndarray, np.ndarray, Sequence[str]]]:
    """Return, per family, bead indices, parameters and term names of one molecule."""
    topology = protein.topology
    bonded = {
        "bonds": (topology.bonds, topology.bond_terms),
        "angles": (topology.angles, topology.angle_terms),
        "dihedrals": (topology.dihedrals, topology.dihedral_terms),
    }
    resolved: dict[str, tuple[np.ndarray, np.ndarray, Sequence[str]]] = {
        family: (index, table.rows(family, protein, index, names), names)
        for family, (index, names) in bonded.items()
    }
    pairs = topology.repulsion
    sigma = table.sigma[protein.bead_types[pairs[:, 0]], protein.bead_types[pairs[:, 1]]]
    if not np.all(sigma > 0.0):
        i, j = pairs[int(np.argmin(sigma))]
        raise UserError(
            f"the prior has no repulsion range for {protein.label(int(i))} with "
            f"{protein.label(int(j))}; use a prior table that covers {protein.mapping} proteins"
        )
    resolved["repulsion"] = (pairs, sigma[:, None], ["non_bonded"] * len(pairs))
    return resolved
