"""How wrong a table of filters makes the forces of a network, in float64.

The energy is a function of the filters W of all pairs, so dE/dr is the sum over blocks and channels
of dE/dW dW/dr. That takes one pass through the blocks for each table, and none through the filter
networks, whose values and slopes are computed once.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flashschnet_kernels.filter_table.reference import expand_with_slopes
from flashschnet_kernels.filter_table.table import FilterTable, exact_filters
from flashschnet_kernels.message_passing.filter_network import FilterNetwork
from flashschnet_kernels.message_passing.reference import pass_messages
from flashschnet_kernels.neighbors.reference import pairs_within
from flashschnet_lab.potentials.schnet import SchNet

SAMPLED_PAIRS = 2048
"""Pairs of a conformation that an estimate looks at: the closest half of them, and others."""


@dataclass(frozen=True, eq=False)
class Conformation:
    """Where beads are, for judging.

    Attributes:
        name: for people, "1enh, folded".
        positions: [beads, 3] float64, angstrom.
        bead_types: [beads] int64, rows of the network's embedding.
    """

    name: str
    positions: Tensor
    bead_types: Tensor


class TableJudge:
    """The exact forces of a network on some conformations, and how far tables are from them.

    Args:
        network: in float32, not quantised; it stays as it is.
        conformations: each is judged by itself, and the worst counts. A few hundred beads take
            about a second.

    Raises:
        ValueError: no conformation with a pair of beads within the cutoff.
    """

    def __init__(self, network: SchNet, conformations: Sequence[Conformation]) -> None:
        self.network = network
        frozen = copy.deepcopy(network).cpu().double().requires_grad_(False)
        self._witnesses = [witness for c in conformations if (witness := _Witness(frozen, c)).pairs]
        if not self._witnesses:
            raise ValueError("a table is judged on conformations with pairs within the cutoff")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the conformations, those of one name once."""
        return tuple(dict.fromkeys(witness.name for witness in self._witnesses))

    @property
    def shortest(self) -> float:
        """Smallest distance of two beads, in angstrom."""
        return min(witness.shortest for witness in self._witnesses)

    def error(self, table: FilterTable) -> float:
        """Return |F_table - F| / |F| of the network alone, of the worst conformation."""
        return max(witness.error(table) for witness in self._witnesses)

    def estimate(self, table: FilterTable) -> float:
        """Return about what `error` returns, in a twentieth of the time."""
        return max(witness.estimate(table) for witness in self._witnesses)


class _Witness:
    """One conformation: its pairs, its exact forces, and dE/dW of some of its pairs."""

    def __init__(self, network: SchNet, conformation: Conformation) -> None:
        self.name = conformation.name
        self._network, self._types = network, conformation.bead_types
        x = conformation.positions.double()
        self._links = pairs_within(x, (len(x),), network.shape.cutoff)  # [2, pairs]
        apart = x[self._links[1]] - x[self._links[0]]
        self._r = apart.norm(dim=1)  # [pairs]
        self._unit = apart / self._r[:, None]
        exact = [_with_slopes(weights, self._r) for weights in filter_networks(network)]
        pulls = self._filter_gradients([filters for filters, _ in exact])
        dE_dr = _contract(pulls, [slopes for _, slopes in exact])
        self._forces = self._to_beads(dE_dr)
        self._norm = max(float(self._forces.norm()), 1e-30)
        sample, self._weights = _sample(self._r)
        self._sample = self._r[sample]
        self._sampled_pulls = [pull[sample] for pull in pulls]
        self._sampled_dE_dr = dE_dr[sample]

    @property
    def pairs(self) -> int:
        return len(self._r)

    @property
    def shortest(self) -> float:
        return float(self._r.min())

    def error(self, table: FilterTable) -> float:
        read = [expand_with_slopes(self._r, table, block) for block in range(table.blocks)]
        pulls = self._filter_gradients([filters for filters, _ in read])
        forces = self._to_beads(_contract(pulls, [slopes for _, slopes in read]))
        return float((forces - self._forces).norm()) / self._norm

    def estimate(self, table: FilterTable) -> float:
        """To first order only slopes matter, and the errors of two pairs are independent."""
        read = [expand_with_slopes(self._sample, table, block) for block in range(table.blocks)]
        wrong = _contract(self._sampled_pulls, [slopes for _, slopes in read])
        square = float((self._weights * (wrong - self._sampled_dE_dr).square()).sum())
        return (2.0 * square) ** 0.5 / self._norm  # every pair pulls at two beads

    def _filter_gradients(self, filters: list[Tensor]) -> list[Tensor]:
        """Return dE/dW of every block, [pairs, channels] each."""
        leaves = [w.detach().requires_grad_() for w in filters]
        left = iter(leaves)
        with torch.enable_grad():
            x = self._network.embedding(self._types)
            for block in self._network.blocks:
                x = block(x, lambda _, h: pass_messages(h, next(left), self._links))
            energy = self._network.output(x).sum()
            return list(torch.autograd.grad(energy, leaves))

    def _to_beads(self, dE_dr: Tensor) -> Tensor:  # noqa: N803
        """Return the forces [beads, 3]."""
        pull = dE_dr[:, None] * self._unit
        forces = torch.zeros(len(self._types), 3, dtype=torch.float64)
        return forces.index_add(0, self._links[0], pull).index_add(0, self._links[1], -pull)


def _sample(r: Tensor) -> tuple[Tensor, Tensor]:
    """Return some pairs, all of the closest among them, and how many pairs each stands for."""
    closest = torch.argsort(r, stable=True)
    near, rest = closest[: SAMPLED_PAIRS // 2], closest[SAMPLED_PAIRS // 2 :]
    every = max(1, -(-len(rest) // (SAMPLED_PAIRS // 2)))
    far = rest[every // 2 :: every]
    weights = torch.ones(len(near) + len(far), dtype=torch.float64)
    weights[len(near) :] = len(rest) / max(1, len(far))
    return torch.cat([near, far]), weights


def filter_networks(network: SchNet) -> list[FilterNetwork]:
    """Return the weights of the filter networks of all blocks."""
    basis = network.radial_basis.numbers()
    found = []
    for block in network.blocks:
        layers: Any = block.filter_network
        first, second = layers[0], layers[2]
        network_of_block = FilterNetwork(
            first.weight, first.bias, second.weight, basis, second.bias
        )
        found.append(network_of_block)
    return found


def _with_slopes(network: FilterNetwork, r: Tensor) -> tuple[Tensor, Tensor]:
    """Return the exact filters and their slopes by the distance, [pairs, channels] each."""
    found = torch.func.jvp(exact_filters(network), (r,), (torch.ones_like(r),))
    return found[0], found[1]


def _contract(pulls: list[Tensor], slopes: list[Tensor]) -> Tensor:
    """Return dE/dr of every pair."""
    total = torch.zeros(len(pulls[0]), dtype=torch.float64)
    for pull, slope in zip(pulls, slopes, strict=True):
        total += (pull * slope).sum(1)
    return total
