"""Between beads and edges, in plain PyTorch (the definition)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flashschnet_kernels.edges import Edges


def gather(features: Tensor, edges: Edges) -> Tensor:
    """Return the features of the sender of every edge, [beads, channels] to [edges, channels]."""
    return features.index_select(0, edges.sender)


def aggregate(values: Tensor, edges: Edges) -> Tensor:
    """Return out[i] = sum of values[e] over the edges e that i receives.

    [edges, channels] to [beads, channels], dtype of `values`; beads that receive nothing are zero.
    """
    return scatter_add(values, edges.receiver, edges.beads)


def scatter_add(values: Tensor, receiver: Tensor, beads: int) -> Tensor:
    """Return out[i] = sum of values[p] over all p with receiver[p] == i.

    Args:
        values: [pairs, features].
        receiver: [pairs] integer, bead that each row is summed into, in any order.
        beads: number of rows of the result; beads that receive nothing are zero.

    Returns:
        [beads, features], dtype of `values`. On a GPU the order of the additions, and so the last
        bits, may change from run to run.
    """
    result: Tensor = _ScatterAdd.apply(values, receiver, beads)
    return result


class _ScatterAdd(torch.autograd.Function):
    """index_add, without keeping the values until the backward as PyTorch's own does."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, receiver: Tensor, beads: int) -> Tensor:  # noqa: D102
        ctx.save_for_backward(receiver)
        return values.new_zeros(beads, values.shape[1]).index_add_(0, receiver, values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: D102
        (receiver,) = ctx.saved_tensors
        return gradient.index_select(0, receiver), None, None
