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
from flashschnet_kernels.priors.layout import Kind, KindTerms, PriorsLayout, lay_out
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

    def __init__(self, table: PriorTable, proteins: Sequence[Protein]) -> None:
        super().__init__()
        batch = Batch(tuple(p.beads for p in proteins))
        self._rules = table.rules
        self._different = list({id(p): p for p in proteins}.values())
        place = {id(p): number for number, p in enumerate(self._different)}
        self.batch = batch
        self._kind_of = tuple(place[id(p)] for p in proteins)
        self._sigma = torch.from_numpy(np.array(table.sigma, dtype=np.float64))
        if "repulsion" not in table.rules.families:  # kernels visit all pairs
            self._sigma = torch.zeros_like(self._sigma)
        # The pairs of all replicas are many: they are listed when the reference first needs them.
        self._pairs: tuple[Tensor, Tensor] | None = None
        self._layout: PriorsLayout | None = None
        self._resolved = [_resolve(table, p) for p in self._different]
        per_molecule = [self._resolved[kind] for kind in self._kind_of]
        self.counts = {f: [len(r[f][0]) for r in per_molecule] for f in BONDED}
        repulsion = [len(table.rules.repulsion(p)) for p in self._different]
        self.counts["repulsion"] = [repulsion[kind] for kind in self._kind_of]
        for family in BONDED:
            index = batch.lay_out([torch.from_numpy(r[family][0]) for r in per_molecule])
            values = np.concatenate([r[family][1] for r in per_molecule])
            self.register_buffer(f"{family}_index", index, persistent=False)
            self.register_buffer(f"{family}_values", torch.from_numpy(values), persistent=False)

    def forward(self, positions: Tensor, implementation: str = "reference") -> dict[str, Tensor]:
        """Return the energy of each family, [molecules] float64 in kcal/mol, differentiable.

        Args:
            positions: [beads, 3] in angstrom.
            implementation: of the operator, as in a `KernelPlan`. With "triton" the repulsion is
                one kernel; families apart are otherwise the reference's.
        """
        if implementation != "triton":
            return {
                family: sum_per_molecule(values, self.counts[family])
                for family, values in self.per_term(positions).items()
            }
        from flashschnet_kernels.priors import triton

        energies = {
            family: sum_per_molecule(values, self.counts[family])
            for family, values in self._bonded_terms(positions).items()
        }
        return energies | {"repulsion": triton.repulsion(positions, self._layout_for(positions))}

    def evaluate(
        self,
        positions: Tensor,
        implementation: str,
        energy: Tensor | None = None,
        gradient: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the beads' shares of the energy [beads] and its gradient [beads, 3], no autograd.

        Args:
            positions: [beads, 3] in angstrom.
            implementation: "triton", "cpu" or "reference"; all molecules and families at once.
            energy: kcal/mol, dtype of the positions; what it holds is added to, in place.
            gradient: kcal/mol/A; the same. Both or neither.
        """
        if implementation == "reference":
            return self._evaluate_reference(positions, energy, gradient)
        evaluate: Any
        if implementation == "triton":
            from flashschnet_kernels.priors.triton import evaluate
        else:
            from flashschnet_kernels.priors.cpu import evaluate
        x = positions.detach().contiguous()
        add = energy is not None and gradient is not None
        if energy is None or gradient is None:
            energy, gradient = x.new_empty(len(x)), torch.empty_like(x)
        evaluate(x, self._layout_for(x), energy, gradient, add)
        return energy, gradient

    def _evaluate_reference(
        self, positions: Tensor, energy: Tensor | None, gradient: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """As `evaluate`; every bead of a term has the same share of it."""
        with torch.enable_grad():
            x = positions.detach().requires_grad_()
            families = self.per_term(x)
            total = torch.stack([values.double().sum() for values in families.values()]).sum()
            (slope,) = torch.autograd.grad(total, x)
        share = x.new_zeros(len(x), requires_grad=False)
        for family, values in families.items():
            index = self._pairs_of(x)[0] if family == "repulsion" else self._index(family)
            for members in index.unbind(1):
                share = share.index_add(0, members, values.detach() / index.shape[1])
        if energy is None or gradient is None:
            return share, slope
        return energy.add_(share), gradient.add_(slope)

    def _layout_for(self, positions: Tensor) -> PriorsLayout:
        """Return the tables of the kernels, made once for a dtype and device."""
        kept = self._layout
        if (
            kept is None
            or kept.sigma6.dtype != positions.dtype
            or kept.sigma6.device != positions.device
        ):
            kinds = [
                Kind(
                    types=torch.from_numpy(self._rules.bead_types(protein)),
                    excluded=torch.from_numpy(self._rules.excluded(protein)),
                    terms={
                        family: KindTerms(*(torch.from_numpy(part) for part in found[family][:2]))
                        for family in BONDED
                    },
                )
                for protein, found in zip(self._different, self._resolved, strict=True)
            ]
            kept = lay_out(
                self.batch.sizes,
                self._kind_of,
                kinds,
                self._sigma.nan_to_num(0.0),
                positions.dtype,
                positions.device,
            )
            self._layout = kept
        return kept

    def term_names(self, family: str) -> list[str]:
        """Return the name of every term of a family, in the order of `per_term`."""
        if family == "repulsion":
            return ["non_bonded"] * sum(self.counts[family])
        return [name for kind in self._kind_of for name in self._resolved[kind][family][2]]

    def per_term(self, positions: Tensor) -> dict[str, Tensor]:
        """Return the energy of every single term of each family, [terms]."""
        pairs, sigma = self._pairs_of(positions)
        return self._bonded_terms(positions) | {
            "repulsion": terms.repulsion(positions, pairs, sigma)
        }

    def _pairs_of(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the repelling pairs [pairs, 2] of the batch and their ranges [pairs]."""
        kept = self._pairs
        if kept is None or kept[1].dtype != positions.dtype or kept[1].device != positions.device:
            pairs = [torch.from_numpy(self._rules.repulsion(p)) for p in self._different]
            types = [torch.from_numpy(self._rules.bead_types(p)) for p in self._different]
            ranges = [
                self._sigma[own[of[:, 0]], own[of[:, 1]]]
                for of, own in zip(pairs, types, strict=True)
            ]
            kept = (
                self.batch.lay_out([pairs[kind] for kind in self._kind_of]).to(positions.device),
                torch.cat([ranges[kind] for kind in self._kind_of]).to(positions),
            )
            self._pairs = kept
        return kept

    def _index(self, family: str) -> Tensor:
        index: Tensor = getattr(self, f"{family}_index")
        return index

    def _bonded_terms(self, positions: Tensor) -> dict[str, Tensor]:
        index = {f: self._index(f) for f in BONDED}
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
    resolved: dict[str, tuple[np.ndarray, np.ndarray, Sequence[str]]] = {}
    for family in BONDED:
        index, names = table.rules.terms(family, protein)
        resolved[family] = (index, table.rows(family, protein, index, names), names)
    _check_ranges(table, protein)
    return resolved


def _check_ranges(table: PriorTable, protein: Protein) -> None:
    """Refuse a protein with a repelling pair that the table has no range for."""
    if "repulsion" not in table.rules.families:
        return
    types = table.rules.bead_types(protein)
    present = np.unique(types)
    if np.all(table.sigma[np.ix_(present, present)] > 0.0):
        return
    pairs = table.rules.repulsion(protein)
    sigma = table.sigma[types[pairs[:, 0]], types[pairs[:, 1]]]
    if not np.all(sigma > 0.0):
        i, j = pairs[int(np.argmin(sigma))]
        raise UserError(
            f"the prior has no repulsion range for {protein.label(int(i))} with "
            f"{protein.label(int(j))}; use a prior table that covers {protein.mapping} proteins"
        )
