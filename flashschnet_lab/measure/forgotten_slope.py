"""A force field with a well-known bug, to see what it does: the envelope's derivative forgotten.

A fused radial basis computes its own derivative. With rbf_f(r) = C(r) g_f(r) the product rule has
two terms, C' g_f + C g_f'. Whoever treats the envelope C as a constant loses the first one.
Energies stay right, so no comparison of energies finds the bug; forces are no longer their
gradient.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from flashschnet_kernels.message_passing import reference
from flashschnet_kernels.plan import REFERENCE, KernelPlan
from flashschnet_kernels.radial_basis.reference import cosine_envelope, filter_envelope
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.schnet import InteractionBlock, SchNet
from flashschnet_lab.system import System


class ForgetfulSchNet(nn.Module):
    """A SchNet whose energy is right and whose forces lack all terms with C'(r).

    Args:
        network: the right one; its weights are shared.
    """

    def __init__(self, network: SchNet) -> None:
        super().__init__()
        self.right = network
        self.shape = network.shape

    def forward(
        self,
        bead_types: Tensor,
        positions: Tensor,
        neighbors: Tensor,
        plan: KernelPlan = REFERENCE,
        table: None = None,
    ) -> Tensor:
        """Return the energy of every bead, [beads]; arguments as for `SchNet`, plan reference."""
        i, j = neighbors
        r_ij = (positions.index_select(0, j) - positions.index_select(0, i)).norm(dim=1)  # [pairs]
        radial_basis: Any = self.right.radial_basis
        numbers = radial_basis.numbers()
        # Here they become constants: that of the basis, and that on the filter.
        inner = cosine_envelope(r_ij, numbers.cutoff).detach()
        forgotten = filter_envelope(r_ij, numbers.lower, numbers.cutoff).detach()
        u = r_ij
        if numbers.kind == "exp_normal":
            u = torch.exp(numbers.alpha * (numbers.lower - r_ij))
        z = u[:, None] - numbers.centres  # [pairs, functions]
        rbf = inner[:, None] * torch.exp(-numbers.widths * z * z)

        def convolve(block: InteractionBlock, h: Tensor) -> Tensor:
            return reference.pass_messages(h, block.filters(rbf, forgotten), neighbors)

        x = self.right.embedding(bead_types)
        for block in self.right.blocks:
            x = block(x, convolve)
        energy: Tensor = self.right.output(x).squeeze(1)
        return energy


def forget_envelope_slope(system: System) -> System:
    """Return a system with the same energy, whose network forgets the envelope's derivative.

    It can be evaluated and simulated under the plan `reference`.

    Raises:
        UserError: the model has no network.
    """
    network = system.model.network
    if network is None:
        raise UserError(f"model {system.model.name} has no network that could forget a derivative")
    forgetful: Any = ForgetfulSchNet(copy.deepcopy(network))
    return replace(system, model=replace(system.model, network=forgetful))
