"""The force field of a batch of molecules: priors + network (or teacher), energies and forces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.potentials.batch import Batch, sum_per_molecule
from flashschnet_lab.potentials.convolution import Neighbors
from flashschnet_lab.potentials.fused_network import Evaluate, differentiable, fused_network
from flashschnet_lab.potentials.neighborhood import NeighborFinder, neighbor_finder
from flashschnet_lab.potentials.priors import Priors
from flashschnet_lab.potentials.schnet import SchNet
from flashschnet_lab.potentials.structure_based import StructureBased

if TYPE_CHECKING:
    from flashschnet_kernels.filter_table.table import FilterTable


@dataclass(frozen=True)
class Evaluation:
    """Energies and the forces that are their exact negative gradient.

    Attributes:
        energy: [molecules] float64, kcal/mol.
        forces: shape and dtype of the positions, kcal/mol/A; those of a `bias` come on top.
    """

    energy: Tensor
    forces: Tensor


class ForceField(nn.Module):
    """Energies per molecule and forces of a batch.

    Args:
        batch: the layout of the molecules.
        priors: classical terms, or None.
        network: SchNet, or None.
        bead_types: [beads] int64, rows of the network's embedding (needed with a network).
        contacts: structure-based energy, or None.
        plan: which implementation of each operator runs.
        deterministic: on a GPU, sum in an order that never changes (slower). A CPU always does.
        table: of the network's filters, for a plan that reads one.

    Attributes:
        bias: positions [beads, 3] to an energy per molecule that is no part of the potential: its
            forces are added under every plan, its energy is not. None without.

    Raises:
        ValueError: nothing to sum, a network without the type of every bead, or no table for a
            plan that reads one.
    """

    bead_types: Tensor
    first_beads: Tensor

    def __init__(
        self,
        batch: Batch,
        priors: Priors | None = None,
        network: SchNet | None = None,
        bead_types: Tensor | None = None,
        contacts: StructureBased | None = None,
        plan: KernelPlan | None = None,
        deterministic: bool = False,
        table: FilterTable | None = None,
    ) -> None:
        super().__init__()
        if priors is None and network is None and contacts is None:
            raise ValueError("a force field needs priors, a network or contacts")
        if network is not None and (bead_types is None or len(bead_types) != batch.beads):
            raise ValueError(f"the network needs the types of all {batch.beads} beads")
        plan = plan or KernelPlan()
        if network is not None and plan.tabulated and table is None:
            raise ValueError(f"filters={plan.filters} needs a table of the network's filters")
        self.batch = batch
        self.priors = priors
        self.network = network
        self.contacts = contacts
        self.plan = plan
        self.deterministic = deterministic
        self.bias: Callable[[Tensor], Tensor] | None = None
        self._table = table
        self._finder: NeighborFinder | None = None
        self._evaluate: Evaluate | None = None
        self._evaluates_on: torch.device | None = None
        types = torch.zeros(0, dtype=torch.int64) if bead_types is None else bead_types
        self.register_buffer("bead_types", types, persistent=False)
        first_beads = torch.tensor(batch.offsets(), dtype=torch.int64)
        self.register_buffer("first_beads", first_beads, persistent=False)

    def terms(self, positions: Tensor) -> dict[str, Tensor]:
        """Return every part of the energy: name to [molecules] float64, kcal/mol.

        Args:
            positions: [beads, 3] or [molecules, beads of one, 3], angstrom.

        Raises:
            ValueError: positions of another number of beads.
        """
        x = positions.reshape(-1, 3)
        if x.shape[0] != self.batch.beads:
            raise ValueError(
                f"positions of {x.shape[0]} beads, but the force field was built for "
                f"{self.batch.molecules} molecules of {self.batch.beads} beads together"
            )
        parts: dict[str, Tensor] = {}
        if self.priors is not None:
            parts.update(self.priors(x, self.plan.priors))
        if self.contacts is not None:
            parts["contacts"] = self.contacts(x)
        if self.network is not None:
            parts["network"] = sum_per_molecule(self._network_energy(x), self.batch.sizes)
        return parts

    def gradient(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return energies [beads of all], only whose sums per molecule mean something, and dE/dx.

        The slope of the bias is part of dE/dx. What a plan has fused is evaluated without autograd.
        Nothing waits for the device.

        Args:
            positions: [beads, 3] or [molecules, beads of one, 3], angstrom.
        """
        x = positions.detach().reshape(-1, 3)
        energy, gradient = None, None
        if self.network is not None and self.plan.nodes != "reference":
            energy, gradient = self._fused(x)(x, self._neighbors(x))
        elif self.network is not None:
            energy, gradient = _differentiated(self._network_energy, x)
        if self.contacts is not None:
            own, pull = _differentiated(self.contacts, x)
            energy = torch.zeros_like(x[:, 0]) if energy is None else energy
            energy = energy.index_add(0, self.first_beads, own.to(energy.dtype))
            gradient = pull if gradient is None else gradient + pull
        if self.priors is not None:
            energy, gradient = self.priors.evaluate(x, self.plan.priors, energy, gradient)
        assert energy is not None and gradient is not None
        if self.bias is not None:
            gradient = gradient + _differentiated(self.bias, x)[1]
        return energy, gradient

    def _network_energy(self, x: Tensor) -> Tensor:
        """Return the energy of every bead [beads], differentiable."""
        assert self.network is not None
        neighbors = self._neighbors(x)
        if self.plan.nodes != "reference":
            return differentiable(x, neighbors, self._fused(x))
        if self._table is not None and self._table.coefficients.device != x.device:
            self._table = self._table.to(x.device)
        energy: Tensor = self.network(self.bead_types, x, neighbors, self.plan, self._table)
        return energy

    def _fused(self, x: Tensor) -> Evaluate:
        """Return the evaluation of the network where `x` is."""
        assert self.network is not None and self._table is not None
        if self._evaluate is None or self._evaluates_on != x.device:
            types, sizes = self.bead_types.to(x.device), self.batch.sizes
            self._evaluate = fused_network(self.network, self._table, types, sizes, self.plan)
            self._evaluates_on = x.device
        return self._evaluate

    def _neighbors(self, positions: Tensor) -> Neighbors:
        """Return the neighbours in the form that the plan reads."""
        assert self.network is not None
        if self._finder is None or self._finder.device != positions.device:
            cutoff = self.network.shape.cutoff
            self._finder = neighbor_finder(self.plan, self.batch.sizes, cutoff, positions.device)
        return self._finder.find(positions)

    def energy(self, positions: Tensor) -> Tensor:
        """Return the total energy [molecules] float64 in kcal/mol, differentiable."""
        return torch.stack(list(self.terms(positions).values())).sum(0)

    def forward(self, positions: Tensor) -> Evaluation:
        """Evaluate energies and forces at positions [beads, 3] or [molecules, beads of one, 3]."""
        if self.plan.nodes != "reference":
            bead_energy, gradient = self.gradient(positions)
            energy = sum_per_molecule(bead_energy, self.batch.sizes)
            return Evaluation(energy, -gradient.view(positions.shape))
        with torch.enable_grad(), _deterministic(self.deterministic and positions.is_cuda):
            x = positions.detach().requires_grad_()
            energy = self.energy(x)
            (gradient,) = torch.autograd.grad(energy.sum(), x)
            if self.bias is not None:
                push = _differentiated(self.bias, x.reshape(-1, 3))[1]
                gradient = gradient + push.view(gradient.shape)
        return Evaluation(energy.detach(), -gradient)


def _differentiated(energy_of: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return an energy and the gradient of its sum, by autograd."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        energy = energy_of(x)
        (gradient,) = torch.autograd.grad(energy.sum(), x)
    return energy.detach(), gradient


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    if not wanted or before:
        yield
        return
    settings: Any = torch.utils.deterministic
    fill = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    # Kernels write all that is read later; filling their results first would only cost time.
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        settings.fill_uninitialized_memory = fill
        torch.use_deterministic_algorithms(before)
