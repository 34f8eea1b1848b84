"""Between beads and edges by compressed rows, on a GPU: no atomics, same bits every run."""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from flashschnet_kernels.aggregation.checks import check_inputs
from flashschnet_kernels.ahead_of_time import Specialisation
from flashschnet_kernels.edges import Edges
from flashschnet_kernels.first_order import first_order
from flashschnet_kernels.launching import FMA

ROWS = 16  # edges that a program of a gather copies
TILE = 16  # edges that a program of a sum adds at once
MOST_CHANNELS = 128  # per program
WARPS = 4


def gather(features: Tensor, edges: Edges) -> Tensor:
    """Return the features of the sender of every edge, [beads, channels] to [edges, channels].

    float64, float32, float16 or bfloat16. The gradient is a sum over the edges from each bead, in
    the order of its row. First derivative.

    Raises:
        ValueError: the number of beads of `features` and `edges` differ.
    """
    check_inputs(features, edges.beads, "features", "beads")
    return _Gather.apply(features, edges)


def aggregate(values: Tensor, edges: Edges) -> Tensor:
    """Return out[i] = sum of values[e] over the edges e that i receives.

    [edges, channels] to [beads, channels]; float64, float32, or float16 and bfloat16, which are
    added in float32 and rounded once. First derivative.

    Raises:
        ValueError: the number of edges of `values` and `edges` differ.
    """
    check_inputs(values, edges.receiver.shape[0], "values", "edges")
    return _Aggregate.apply(values, edges)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, edges: Edges) -> Tensor:
        ctx.edges = edges
        return _launch_gather(features, edges.sender)

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _launch_sum(gradient, ctx.edges.row_start, ctx.edges.reverse), None


class _Aggregate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, edges: Edges) -> Tensor:
        ctx.edges = edges
        return _launch_sum(values, edges.row_start, None)

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _launch_gather(gradient, ctx.edges.receiver), None


def _launch_gather(features: Tensor, index: Tensor) -> Tensor:
    features, index = features.contiguous(), index.contiguous()
    count, channels = index.shape[0], features.shape[1]
    out = features.new_empty(count, channels)
    if out.numel():
        block = _channel_block(channels)
        grid = (triton.cdiv(count, ROWS), triton.cdiv(channels, block))
        _gather_rows[grid](
            features, index, out, count, channels, ROWS, block, num_warps=WARPS, **FMA
        )
    return out


def _launch_sum(values: Tensor, row_start: Tensor, order: Tensor | None) -> Tensor:
    values, row_start = values.contiguous(), row_start.contiguous()
    order = None if order is None else order.contiguous()
    beads, channels = row_start.shape[0] - 1, values.shape[1]
    out = values.new_empty(beads, channels)
    if out.numel():
        block = _channel_block(channels)
        grid = (beads, triton.cdiv(channels, block))
        _sum_rows[grid](
            values, row_start, order, out, channels, TILE, block, num_warps=WARPS, **FMA
        )
    return out


def _channel_block(channels: int) -> int:
    return min(triton.next_power_of_2(channels), MOST_CHANNELS)


@triton.jit(do_not_specialize=["count"])
def _gather_rows(
    features,
    index,
    out,
    count,
    channels,
    rows: tl.constexpr,
    channel_block: tl.constexpr,
):
    """Write out[e] = features[index[e]], [count, channels] in the dtype of the features.

    features [beads, channels]; index [count] int32 or int64. Grid: blocks of `rows` edges, blocks
    of channels. A copy: exact.
    """
    e = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)
    c = tl.program_id(1) * channel_block + tl.arange(0, channel_block)
    inside = e < count
    known = inside[:, None] & (c < channels)[None, :]
    bead = tl.load(index + e, mask=inside, other=0).to(tl.int64)
    value = tl.load(features + bead[:, None] * channels + c[None, :], mask=known, other=0.0)
    tl.store(out + e[:, None] * channels + c[None, :], value, mask=known)


@triton.jit
def _sum_rows(
    values,
    row_start,
    order,
    out,
    channels,
    tile: tl.constexpr,
    channel_block: tl.constexpr,
):
    """Write out[i] = sum of values[order[e]] over the row of i, [beads, channels].

    values [edges, channels]; row_start [beads + 1] and order [edges] int32 or int64; `order` None
    adds the rows as they lie. Grid: beads, blocks of channels. Adds in float32, or in float64 for
    float64 values, lane by lane in the order of the row, then the `tile` lanes: the bits depend on
    the row alone, not on what else is in the batch.
    """
    i = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * channel_block + tl.arange(0, channel_block)
    lane = tl.arange(0, tile)
    accumulator: tl.constexpr = tl.float64 if values.dtype.element_ty == tl.float64 else tl.float32
    total = tl.zeros((tile, channel_block), dtype=accumulator)
    start = tl.load(row_start + i).to(tl.int64)
    end = tl.load(row_start + i + 1).to(tl.int64)
    for first in range(start, end, tile):
        e = first + lane
        inside = e < end
        row = e
        if order is not None:
            row = tl.load(order + e, mask=inside, other=0).to(tl.int64)
        at = values + row[:, None] * channels + c[None, :]
        known = inside[:, None] & (c < channels)[None, :]
        total += tl.load(at, mask=known, other=0.0).to(accumulator)
    tl.store(out + i * channels + c, tl.sum(total, axis=0), mask=c < channels)


def specialisations() -> list[Specialisation]:
    """Return the variants that a simulation launches, for 128 channels."""
    sizes = {"channel_block": 128}
    found = []
    for real in ("*fp32", "*fp16", "*bf16"):
        types = {"count": "i32", "channels": "i32", "features": real, "values": real, "out": real}
        found.append(_variant(_gather_rows, types, {"rows": ROWS, **sizes}))
        found.append(_variant(_sum_rows, types, {"tile": TILE, **sizes, "order": None}))
        found.append(_variant(_sum_rows, types, {"tile": TILE, **sizes}))
    return found


def _variant(kernel: Any, types: dict[str, str], constants: dict[str, Any]) -> Specialisation:
    names = [name for name in kernel.arg_names if name not in constants]
    signature = {name: types.get(name, "*i32") for name in names}
    return Specialisation(kernel, signature, constants, num_warps=WARPS)
