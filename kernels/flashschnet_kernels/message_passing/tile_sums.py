"""Sums over tiles: what programs leave per tile is added up per bead, in a fixed order.

This is the segment reduction of flash aggregation, with a tile where an edge list has an edge:
nothing is contended, and a partial sum already holds as many pairs as a tile has rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from flashschnet_kernels.launching import FMA
from flashschnet_kernels.neighbors.tiles import COLUMNS, ROWS, Tiles

STEPS: tl.constexpr = tl.constexpr(6)


@dataclass(frozen=True)
class Sums:
    """Where a kernel leaves its sums: partial ones, or twice the result itself (atomic).

    Attributes:
        rows: [row blocks, splits, ROWS, padded width], or [beads, width].
        columns: [row blocks, most_tiles, COLUMNS, padded width], or [beads, width].
    """

    rows: Tensor
    columns: Tensor


def partial_sums(
    like: Tensor,
    tiles: Tiles,
    splits: int,
    padded: int,
    atomic: bool,
    columns: torch.dtype | None = None,
) -> Sums:
    """Return room for the sums of a kernel.

    Args:
        like: [beads, width], what is summed per bead.
        tiles: of the batch.
        splits: programs per row block.
        padded: width of a partial sum.
        atomic: return a result of zeros to add to instead.
        columns: dtype of the column sums, that of `like` by default.
    """
    if atomic:
        result = torch.zeros_like(like)
        return Sums(result, result)
    blocks = tiles.layout.row_blocks
    rows = like.new_empty(blocks, splits, ROWS, padded)
    shape = (blocks, tiles.most_tiles, COLUMNS, padded)
    return Sums(rows, like.new_empty(shape, dtype=columns))


def column_sum_bytes(tiles: Tiles, width: int, number_bytes: int) -> int:
    """Return the bytes of the column sums of a batch."""
    return tiles.layout.row_blocks * tiles.most_tiles * COLUMNS * width * number_bytes


def reduce_partials(sums: Sums, tiles: Tiles, splits: int, width: int) -> Tensor:
    """Return [beads, width]: the partial sums of every bead, added in a fixed order."""
    layout = tiles.layout
    result = sums.rows.new_empty(layout.beads, width)
    if layout.row_blocks:
        reduce_kernel[(layout.row_blocks,)](
            sums.rows,
            sums.columns,
            result,
            layout.first_bead,
            layout.molecule_end,
            tiles.incoming_count,
            tiles.incoming,
            width,
            layout.candidates,
            splits,
            ROWS=ROWS,
            WIDTH=sums.rows.shape[-1],
            num_warps=4,
            **FMA,
        )
    return result


@triton.jit
def reduce_kernel(
    row_sums,  # [row blocks, splits, ROWS, WIDTH]
    column_sums,  # [row blocks * most_tiles, ROWS, WIDTH]
    result,  # [beads, width]
    first_bead,
    molecule_end,
    incoming_count,
    incoming,  # [row blocks, candidates]
    width,
    candidates,
    splits,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Write the sum of all partial sums of ROWS beads; grid (row blocks,).

    First the sums of the block's own tiles, then those of the blocks before it, always in this
    order: the same bits every run.
    """
    row = tl.program_id(0)
    bead, w = tl.arange(0, ROWS), tl.arange(0, WIDTH)
    own = bead[:, None] * WIDTH + w[None, :]
    total = tl.zeros([ROWS, WIDTH], tl.float32)
    for split in range(0, splits):
        total += tl.load(row_sums + (row.to(tl.int64) * splits + split) * (ROWS * WIDTH) + own)
    tiles = tl.load(incoming_count + row)
    line = row.to(tl.int64) * candidates
    # Several tiles at a time: their loads wait for each other otherwise.
    for several in range(0, tiles, STEPS):
        for one in tl.static_range(STEPS):
            there = several + one < tiles
            tile = tl.load(incoming + line + several + one, mask=there, other=0).to(tl.int64)
            size = tl.where(there, ROWS * WIDTH, 0)
            total += tl.load(column_sums + tile * (ROWS * WIDTH) + own, mask=own < size, other=0.0)
    i = tl.load(first_bead + row) + bead
    keep = (i < tl.load(molecule_end + row))[:, None] & (w < width)[None, :]
    tl.store(result + i.to(tl.int64)[:, None] * width + w[None, :], total, mask=keep)
