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

from flashschnet_kernels.neighbors.tiles import COLUMNS, Tiles

STEPS: tl.constexpr = tl.constexpr(6)


@dataclass(frozen=True)
class Sums:
    """Where a kernel leaves its sums: partial ones, or twice the result itself (atomic).

    Attributes:
        rows: [row blocks, splits, rows, padded width], or [beads, width].
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
    rows = like.new_empty(blocks, splits, tiles.layout.rows, padded)
    shape = (blocks, tiles.most_tiles, COLUMNS, padded)
    return Sums(rows, like.new_empty(shape, dtype=columns))


def reduce_partials(sums: Sums, tiles: Tiles, splits: int, width: int) -> Tensor:
    """Return [beads, width]: the partial sums of every bead, added in a fixed order."""
    layout = tiles.layout
    result = sums.rows.new_empty(layout.beads, width)
    if layout.row_blocks:
        reduce_kernel[(layout.row_blocks, layout.rows // COLUMNS)](
            sums.rows,
            sums.columns,
            result,
            layout.first_bead,
            layout.molecule_end,
            layout.molecule_block,
            layout.molecule_blocks,
            tiles.slot,
            width,
            tiles.most_tiles,
            layout.candidates,
            splits,
            ROWS=layout.rows,
            TILE=COLUMNS,
            WIDTH=sums.rows.shape[-1],
            num_warps=4,
        )
    return result


@triton.jit
def reduce_kernel(
    row_sums,  # [row blocks, splits, ROWS, WIDTH]
    column_sums,  # [row blocks, most_tiles, TILE, WIDTH]
    result,  # [beads, width]
    first_bead,
    molecule_end,
    molecule_block,
    molecule_blocks,
    slot,  # [row blocks, candidates]
    width,
    most_tiles,
    candidates,
    splits,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Write the sum of all partial sums of TILE beads; grid (row blocks, ROWS // TILE).

    First the sums of the block's own tiles, then those of the blocks before it, always in this
    order: the same bits every run.
    """
    row, part = tl.program_id(0), tl.program_id(1)
    per_block: tl.constexpr = ROWS // TILE
    bead, w = part * TILE + tl.arange(0, TILE), tl.arange(0, WIDTH)
    start, blocks = tl.load(molecule_block + row), tl.load(molecule_blocks + row)
    total = tl.zeros([TILE, WIDTH], tl.float32)
    for split in range(0, splits):
        at = (row.to(tl.int64) * splits + split) * (ROWS * WIDTH)
        total += tl.load(row_sums + at + bead[:, None] * WIDTH + w[None, :])
    own = tl.arange(0, TILE)[:, None] * WIDTH + w[None, :]
    # Several steps at a time: their loads wait for each other otherwise.
    for several in range(0, blocks // 2 + 1, STEPS):
        for one in tl.static_range(STEPS):
            step = several + one
            owner = start + (row - start - step + STEPS * blocks) % blocks
            line = owner.to(tl.int64) * most_tiles
            at = slot + owner.to(tl.int64) * candidates + step * per_block + part
            place = tl.load(at, mask=2 * step <= blocks, other=-1)
            size = tl.where(place >= 0, TILE * WIDTH, 0)
            at = (line + place) * (TILE * WIDTH)
            total += tl.load(column_sums + at + own, mask=own < size, other=0.0)
    i = tl.load(first_bead + row) + bead
    keep = (i < tl.load(molecule_end + row))[:, None] & (w < width)[None, :]
    tl.store(result + i.to(tl.int64)[:, None] * width + w[None, :], total, mask=keep)
