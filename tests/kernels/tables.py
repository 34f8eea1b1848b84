"""Tables of random filter networks, and what is to come out of them by definition."""

from __future__ import annotations

import torch
from torch import Tensor

from flashschnet_kernels.filter_table.knots import Knots
from flashschnet_kernels.filter_table.reference import expand, expand_with_slopes
from flashschnet_kernels.filter_table.table import FilterTable, build_table
from flashschnet_kernels.message_passing import reference
from tests.kernels.cases import CUTOFF, Case

BLOCKS = 2


def table_of(
    case: Case,
    kind: str = "exp_normal",
    form: str = "cubic",
    pieces: int = 150,
    stretch: float = 3.0 / CUTOFF,
    blocks: int = BLOCKS,
) -> FilterTable:
    """Return a table of random filter networks with the widths of a case."""
    networks = [case.filter_network(kind, torch.float64, seed=7 + n) for n in range(blocks)]
    return build_table(networks, Knots(pieces, stretch, CUTOFF), form)


def by_definition(
    case: Case, table: FilterTable, dtype: torch.dtype, block: int
) -> tuple[Tensor, ...]:
    """Return messages, dE/dh and dE/dx for random features and a random dE/dm."""
    x = case.positions.to(dtype, copy=True).requires_grad_()
    h = case.random(case.beads, dtype, seed=1).clone().requires_grad_()
    i, j = case.pairs
    filters = expand((x[j] - x[i]).norm(dim=1), table, block)
    messages = reference.pass_messages(h, filters, case.pairs)
    gradients = torch.autograd.grad(messages, (h, x), case.random(case.beads, dtype, seed=2))
    return messages.detach(), *gradients


def sizes_of_terms(case: Case, table: FilterTable, block: int) -> tuple[float, float, float]:
    """Return the sizes of what messages, dE/dh and dE/dx add up, where terms cancel."""
    x = case.positions
    h, g = (case.random(case.beads, torch.float64, seed=seed).abs() for seed in (1, 2))
    i, j = case.pairs
    r_ij = (x[j] - x[i]).norm(dim=1)
    filters, slopes = (part.abs() for part in expand_with_slopes(r_ij, table, block))
    pull = (slopes * (h[i] * g[j] + h[j] * g[i])).sum(1)  # [pairs]
    pulls = torch.zeros(case.beads, dtype=torch.float64).index_add(0, i, pull)
    sums = (
        reference.pass_messages(h, filters, case.pairs),
        reference.pass_messages(g, filters, case.pairs),
        pulls.index_add(0, j, pull),
    )
    return tuple(float(part.max()) if part.numel() else 0.0 for part in sums)  # type: ignore
