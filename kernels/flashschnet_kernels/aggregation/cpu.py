"""Between beads and edges by compressed rows, compiled for the CPU by Numba."""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from flashschnet_kernels.aggregation.checks import check_inputs
from flashschnet_kernels.edges import Edges
from flashschnet_kernels.first_order import first_order
from flashschnet_kernels.numba_math import match_torch_threads


def gather(features: Tensor, edges: Edges) -> Tensor:
    """Return the features of the sender of every edge, [beads, channels] to [edges, channels].

    float32 or float64, on the CPU. The gradient is a sum over the edges from each bead, in the
    order of its row: same bits on any number of threads. First derivative.

    Raises:
        TypeError: another dtype or device.
        ValueError: the number of beads of `features` and `edges` differ.
    """
    _check_dtype(features)
    check_inputs(features, edges.beads, "features", "beads")
    return _Gather.apply(features, edges)


def aggregate(values: Tensor, edges: Edges) -> Tensor:
    """Return out[i] = sum of values[e] over the edges e that i receives.

    [edges, channels] to [beads, channels], float32 or float64, on the CPU. Added in the order of
    the row: same bits on any number of threads. First derivative.

    Raises:
        TypeError: another dtype or device.
        ValueError: the number of edges of `values` and `edges` differ.
    """
    _check_dtype(values)
    check_inputs(values, edges.receiver.shape[0], "values", "edges")
    return _Aggregate.apply(values, edges)


def _check_dtype(rows: Tensor) -> None:
    if rows.dtype not in (torch.float32, torch.float64) or rows.device.type != "cpu":
        raise TypeError(
            f"aggregation on the CPU takes float32 or float64 on the CPU, not {rows.dtype} on "
            f"{rows.device}"
        )


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, edges: Edges) -> Tensor:
        ctx.edges = edges
        # A copy of rows is what PyTorch already does at the speed of memory.
        return features.index_select(0, edges.sender)

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _sum(gradient, ctx.edges.row_start, ctx.edges.reverse), None


class _Aggregate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, edges: Edges) -> Tensor:
        ctx.edges = edges
        return _sum(values, edges.row_start, None)

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(0, ctx.edges.receiver), None


def _sum(values: Tensor, row_start: Tensor, order: Tensor | None) -> Tensor:
    out = values.new_empty(row_start.shape[0] - 1, values.shape[1])
    match_torch_threads()
    if order is None:
        _sum_rows(*_arrays(values, row_start, out))
    else:
        _sum_rows_in_order(*_arrays(values, row_start, order, out))
    return out


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    # One layout, so that a kernel is compiled once per dtype.
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


@njit(parallel=True, cache=True)
def _sum_rows(values, row_start, out):
    """Write out[i] = sum of values[e] over the row of i, one after the other; threads over i."""
    for i in prange(out.shape[0]):
        total = out[i]
        total[:] = out.dtype.type(0.0)
        for e in range(row_start[i], row_start[i + 1]):
            for c in range(total.shape[0]):
                total[c] += values[e, c]


@njit(parallel=True, cache=True)
def _sum_rows_in_order(values, row_start, order, out):
    """Write out[i] = sum of values[order[e]] over the row of i; threads over i."""
    for i in prange(out.shape[0]):
        total = out[i]
        total[:] = out.dtype.type(0.0)
        for e in range(row_start[i], row_start[i + 1]):
            row = order[e]
            for c in range(total.shape[0]):
                total[c] += values[row, c]
