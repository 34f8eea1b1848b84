"""Where in a table the pairs of all tiles are: once per step, for all blocks and channels.

`pull` turns dE/ds, summed over the blocks of the network, into dE/dx: positions are touched once
per step.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

from flashschnet_kernels.filter_table.knots import Knots
from flashschnet_kernels.launching import FMA
from flashschnet_kernels.message_passing.tile_geometry import load_beads
from flashschnet_kernels.message_passing.tile_sums import partial_sums, reduce_partials
from flashschnet_kernels.neighbors.tiles import COLUMNS, ROWS, Tiles

SPLITS = 2
WARPS = 2
PADDED = 4
"""x, y, z and a word of padding."""


def coordinates(positions: Tensor, tiles: Tiles, knots: Knots) -> Tensor:
    """Return the coordinate s of every pair, [row blocks, most_tiles, ROWS, COLUMNS].

    Args:
        positions: [beads, 3] float32, contiguous, angstrom.
        tiles: tiles with a pair within the cutoff at these positions.
        knots: of the table.

    What is no pair of neighbours gets s = pieces, the piece that is zero. Entries of tiles that are
    not there hold anything.
    """
    layout = tiles.layout
    s = positions.new_empty(*tiles.column.shape, ROWS, COLUMNS)
    if layout.row_blocks:
        coordinate_kernel[(layout.row_blocks, SPLITS)](
            positions,
            layout.first_bead,
            layout.molecule_end,
            tiles.count,
            tiles.column,
            s,
            knots.scale,
            knots.stretch * math.log2(math.e),
            knots.cutoff,
            float(knots.pieces),
            tiles.most_tiles,
            ROWS=ROWS,
            COLUMNS=COLUMNS,
            EVEN=knots.stretch == 0.0,
            num_warps=WARPS,
            **FMA,
        )
    return s


def pull(positions: Tensor, slopes: Tensor, tiles: Tiles, knots: Knots) -> Tensor:
    """Return dE/dx [beads, 3] from dE/ds [slices, row blocks, most_tiles, ROWS, COLUMNS].

    The sum over slices is dE/ds. Deterministic.
    """
    layout = tiles.layout
    sums = partial_sums(positions, tiles, SPLITS, PADDED, atomic=False)
    if layout.row_blocks:
        pull_kernel[(layout.row_blocks, SPLITS)](
            positions,
            layout.first_bead,
            layout.molecule_end,
            tiles.count,
            tiles.column,
            slopes,
            sums.rows,
            sums.columns,
            knots.scale * (knots.stretch or 1.0),
            knots.stretch * math.log2(math.e),
            knots.cutoff,
            slopes.shape[0],
            slopes[0].numel(),
            tiles.most_tiles,
            ROWS=ROWS,
            COLUMNS=COLUMNS,
            EVEN=knots.stretch == 0.0,
            num_warps=WARPS,
            **FMA,
        )
    return reduce_partials(sums, tiles, SPLITS, 3)


@triton.jit
def pairs_of_tile(positions, x_i, y_i, z_i, i, j, first, end, cutoff):
    """Return x_j - x_i, y, z, their square and which pairs count, [ROWS, COLUMNS] each.

    A pair of beads of the molecule within the cutoff counts; of the row block's own beads, which
    meet twice, with i < j.
    """
    x_j, y_j, z_j = load_beads(positions, j, j < end)
    dx = x_j[None, :] - x_i[:, None]
    dy = y_j[None, :] - y_i[:, None]
    dz = z_j[None, :] - z_i[:, None]
    squared = dx * dx + dy * dy + dz * dz
    valid = (i[:, None] < j[None, :]) | (j[None, :] < first)
    valid = valid & (i < end)[:, None] & (j < end)[None, :] & (squared < cutoff * cutoff)
    return dx, dy, dz, squared, valid


@triton.jit
def coordinate_kernel(
    positions,  # [beads, 3]
    first_bead,
    molecule_end,
    count,
    column,
    s_at,  # [row blocks, most_tiles, ROWS, COLUMNS]
    scale,
    stretch,
    cutoff,
    beyond,
    most_tiles,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    EVEN: tl.constexpr,
):
    """Write s(r) of the pairs of one row block; grid (row blocks, splits). `stretch` in base 2.

    A pair i < j of beads within the cutoff is valid; others get `beyond`. Coincident beads get the
    first piece, and in `pull_kernel` a force that is not a number: guards name them.
    """
    row = tl.program_id(0)
    end = tl.load(molecule_end + row)
    first = tl.load(first_bead + row)
    i = first + tl.arange(0, ROWS)
    x_i, y_i, z_i = load_beads(positions, i, i < end)
    line = row.to(tl.int64) * most_tiles
    own = tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    for place in range(tl.program_id(1), tl.load(count + row), tl.num_programs(1)):
        j = tl.load(column + line + place) + tl.arange(0, COLUMNS)
        _, _, _, squared, valid = pairs_of_tile(
            positions, x_i, y_i, z_i, i, j, first, end, cutoff
        )  # [ROWS, COLUMNS]
        u = tl.sqrt(squared)
        if not EVEN:
            u = 1.0 - tl.exp2(-stretch * u)
        s = tl.minimum(scale * u - 0.5, beyond - 0.5)
        tl.store(s_at + (line + place) * (ROWS * COLUMNS) + own, tl.where(valid, s, beyond))


@triton.jit
def pull_kernel(
    positions,
    first_bead,
    molecule_end,
    count,
    column,
    slope_at,  # [slices, row blocks, most_tiles, ROWS, COLUMNS], dE/ds
    row_sums,  # [row blocks, splits, ROWS, 4]
    column_sums,  # [row blocks, most_tiles, COLUMNS, 4]
    scale,
    stretch,
    cutoff,
    slices,
    pairs,
    most_tiles,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    EVEN: tl.constexpr,
):
    """Write dE/dx = sum_j dE/ds s'(r_ij) (x_i - x_j) / r_ij as partial sums.

    `scale` is s'(0). Grid (row blocks, splits). Accumulates in float32. Deterministic.
    """
    row = tl.program_id(0)
    end = tl.load(molecule_end + row)
    first = tl.load(first_bead + row)
    i = first + tl.arange(0, ROWS)
    x_i, y_i, z_i = load_beads(positions, i, i < end)
    pull_x = tl.zeros([ROWS], tl.float32)
    pull_y = tl.zeros([ROWS], tl.float32)
    pull_z = tl.zeros([ROWS], tl.float32)
    line = row.to(tl.int64) * most_tiles
    own = tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    for place in range(tl.program_id(1), tl.load(count + row), tl.num_programs(1)):
        j = tl.load(column + line + place) + tl.arange(0, COLUMNS)
        dx, dy, dz, squared, valid = pairs_of_tile(
            positions, x_i, y_i, z_i, i, j, first, end, cutoff
        )  # [ROWS, COLUMNS]
        slope = tl.zeros([ROWS, COLUMNS], tl.float32)
        at = slope_at + (line + place) * (ROWS * COLUMNS) + own
        for _ in range(0, slices):
            slope += tl.load(at)
            at += pairs
        r = tl.sqrt(tl.where(valid, squared, 1.0))
        bend = scale / r
        if not EVEN:
            bend = bend * tl.exp2(-stretch * r)
        over_r = tl.where(valid, slope * bend, 0.0)
        dx, dy, dz = over_r * dx, over_r * dy, over_r * dz
        pull_x -= tl.sum(dx, axis=1)
        pull_y -= tl.sum(dy, axis=1)
        pull_z -= tl.sum(dz, axis=1)
        at = column_sums + ((line + place) * COLUMNS + tl.arange(0, COLUMNS)) * 4
        tl.store(at, tl.sum(dx, axis=0))
        tl.store(at + 1, tl.sum(dy, axis=0))
        tl.store(at + 2, tl.sum(dz, axis=0))
    block = row.to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    at = row_sums + (block * ROWS + tl.arange(0, ROWS)) * 4
    tl.store(at, pull_x)
    tl.store(at + 1, pull_y)
    tl.store(at + 2, pull_z)
