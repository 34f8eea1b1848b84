"""Distances and envelope of all pairs in tiles: once per step, for all blocks and functions.

The backward turns dE/dr, summed over the blocks of the network, into dE/dx: positions are touched
once per step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from flashschnet_kernels.envelope_triton import (
    filter_envelope,
    filter_envelope_slope,
    quarter_sine,
)
from flashschnet_kernels.first_order import first_order
from flashschnet_kernels.launching import FMA
from flashschnet_kernels.message_passing.tile_sums import Sums, partial_sums, reduce_partials
from flashschnet_kernels.neighbors.tiles import COLUMNS, ROWS, Tiles

SLOPE = 4
"""x, y, z and a word of padding."""


@dataclass(frozen=True)
class TilePairs:
    """What every pair of every tile needs, [row blocks, most_tiles, ROWS, COLUMNS] each.

    Entries of tiles that are not there hold anything; pairs in a tile that are not neighbours have
    an envelope of zero.

    Attributes:
        tiles: which tiles there are.
        r_ij: distances in angstrom, differentiable.
        envelope: C(r_ij), that on the filter.
        envelope_slope: C'(r_ij).
    """

    tiles: Tiles
    r_ij: Tensor
    envelope: Tensor
    envelope_slope: Tensor


def measure_tiles(
    positions: Tensor,
    tiles: Tiles,
    cutoff: float,
    lower: float = 0.0,
    *,
    atomic: bool = False,
) -> TilePairs:
    """Return distance, envelope and its slope of every pair in the tiles.

    Args:
        positions: [beads, 3] float32, angstrom; differentiable once.
        tiles: tiles with a pair within the cutoff at these positions.
        cutoff: in angstrom.
        lower: the lower cutoff in angstrom.
        atomic: add dE/dx atomically; otherwise in a fixed order.
    """
    r_ij, envelope, slope = _Geometry.apply(positions, tiles, cutoff, lower, atomic)
    return TilePairs(tiles, r_ij, envelope, slope)


class _Geometry(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, positions: Tensor, tiles: Tiles, cutoff: float, lower: float, atomic: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        positions = positions.contiguous()
        shape = (*tiles.column.shape, ROWS, COLUMNS)
        r_ij, envelope, slope = (positions.new_empty(shape) for _ in range(3))
        if tiles.layout.row_blocks:
            geometry_kernel[(tiles.layout.row_blocks, SPLITS)](
                positions,
                tiles.layout.first_bead,
                tiles.layout.molecule_end,
                tiles.count,
                tiles.column,
                r_ij,
                envelope,
                slope,
                cutoff,
                tiles.most_tiles,
                ROWS=ROWS,
                COLUMNS=COLUMNS,
                LOWER=lower,
                num_warps=2,
                **FMA,
            )
        ctx.save_for_backward(positions)
        ctx.tiles, ctx.atomic = tiles, atomic
        ctx.mark_non_differentiable(envelope, slope)
        return r_ij, envelope, slope

    @staticmethod
    @first_order
    def backward(ctx: Any, slope: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        (positions,) = ctx.saved_tensors
        tiles, atomic = ctx.tiles, ctx.atomic
        sums: Sums = partial_sums(positions, tiles, SPLITS, SLOPE, atomic)
        if tiles.layout.row_blocks:
            pull_kernel[(tiles.layout.row_blocks, SPLITS)](
                positions,
                tiles.layout.first_bead,
                tiles.layout.molecule_end,
                tiles.count,
                tiles.column,
                slope.contiguous(),
                sums.rows,
                sums.columns,
                tiles.most_tiles,
                ROWS=ROWS,
                COLUMNS=COLUMNS,
                ATOMIC=atomic,
                num_warps=2,
                **FMA,
            )
        gradient = sums.rows if atomic else reduce_partials(sums, tiles, SPLITS, 3)
        return gradient, None, None, None, None


SPLITS = 2


@triton.jit
def load_beads(positions, bead, inside):
    """Return x, y, z of a block of beads, zero outside."""
    address = positions + bead.to(tl.int64) * 3
    x = tl.load(address, mask=inside, other=0.0)
    y = tl.load(address + 1, mask=inside, other=0.0)
    z = tl.load(address + 2, mask=inside, other=0.0)
    return x, y, z


@triton.jit
def geometry_kernel(
    positions,  # [beads, 3]
    first_bead,
    molecule_end,
    count,
    column,
    r_at,  # [row blocks, most_tiles, ROWS, COLUMNS], and so the next two
    envelope_at,
    envelope_slope_at,
    cutoff,
    most_tiles,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    LOWER: tl.constexpr,
):
    """Write r, C(r), C'(r) of the pairs of one row block; grid (row blocks, splits).

    A pair i < j of beads between LOWER and the cutoff is valid. Others get C = C' = 0, and beyond
    the cutoff r = 1. Coincident beads get a force that is not a number: the guards of a simulation
    name them.
    """
    row = tl.program_id(0)
    end = tl.load(molecule_end + row)
    i = tl.load(first_bead + row) + tl.arange(0, ROWS)
    first = tl.load(first_bead + row)
    x_i, y_i, z_i = load_beads(positions, i, i < end)
    line = row.to(tl.int64) * most_tiles
    inverse = 1.0 / cutoff
    own = tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    for place in range(tl.program_id(1), tl.load(count + row), tl.num_programs(1)):
        j = tl.load(column + line + place) + tl.arange(0, COLUMNS)
        x_j, y_j, z_j = load_beads(positions, j, j < end)
        dx = x_j[None, :] - x_i[:, None]  # [ROWS, COLUMNS]
        dy = y_j[None, :] - y_i[:, None]
        dz = z_j[None, :] - z_i[:, None]
        squared = dx * dx + dy * dy + dz * dz
        # Within the row block's own beads a pair appears twice: keep i < j.
        valid = (i[:, None] < j[None, :]) | (j[None, :] < first)
        valid = valid & (i < end)[:, None] & (j < end)[None, :] & (squared < cutoff * cutoff)
        r = tl.sqrt(tl.where(valid, squared, 1.0))
        at = (line + place) * (ROWS * COLUMNS) + own
        tl.store(r_at + at, r)
        if LOWER > 0.0:  # zero outside by itself, and what is not valid has r = 1
            envelope = filter_envelope(r, LOWER, cutoff)
            slope = filter_envelope_slope(r, LOWER, cutoff)
        else:
            s = quarter_sine(tl.maximum(cutoff - r, 0.0) * inverse)
            c = quarter_sine(tl.minimum(r * inverse, 1.0))
            envelope = s * s
            slope = (-3.141592653589793 * inverse) * s * c
        tl.store(envelope_at + at, tl.where(valid, envelope, 0.0))
        tl.store(envelope_slope_at + at, tl.where(valid, slope, 0.0))


@triton.jit
def pull_kernel(
    positions,
    first_bead,
    molecule_end,
    count,
    column,
    slope_at,  # [row blocks, most_tiles, ROWS, COLUMNS], dE/dr
    row_sums,  # [row blocks, splits, ROWS, 4], or [beads, 3] if ATOMIC
    column_sums,  # [row blocks, most_tiles, COLUMNS, 4], or the same [beads, 3]
    most_tiles,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ATOMIC: tl.constexpr,
):
    """Write dE/dx = sum_j dE/dr_ij (x_i - x_j) / r_ij as partial sums; grid (row blocks, splits).

    Accumulates in float32. Deterministic unless ATOMIC. First-order.
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
        x_j, y_j, z_j = load_beads(positions, j, j < end)
        dx = x_j[None, :] - x_i[:, None]  # [ROWS, COLUMNS]
        dy = y_j[None, :] - y_i[:, None]
        dz = z_j[None, :] - z_i[:, None]
        squared = dx * dx + dy * dy + dz * dz
        pair = (i[:, None] < j[None, :]) | (j[None, :] < first)
        pair = pair & (i < end)[:, None] & (j < end)[None, :]
        slope = tl.load(slope_at + (line + place) * (ROWS * COLUMNS) + own)
        over_r = tl.where(pair, slope * (1.0 / tl.sqrt(tl.where(pair, squared, 1.0))), 0.0)
        dx, dy, dz = over_r * dx, over_r * dy, over_r * dz
        pull_x -= tl.sum(dx, axis=1)
        pull_y -= tl.sum(dy, axis=1)
        pull_z -= tl.sum(dz, axis=1)
        if ATOMIC:
            at = column_sums + j.to(tl.int64) * 3
        else:
            at = column_sums + ((line + place) * COLUMNS + tl.arange(0, COLUMNS)) * 4
        _add(at, tl.sum(dx, axis=0), j < end, ATOMIC)
        _add(at + 1, tl.sum(dy, axis=0), j < end, ATOMIC)
        _add(at + 2, tl.sum(dz, axis=0), j < end, ATOMIC)
    if ATOMIC:
        at = row_sums + i.to(tl.int64) * 3
    else:
        block = row.to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
        at = row_sums + (block * ROWS + tl.arange(0, ROWS)) * 4
    _add(at, pull_x, i < end, ATOMIC)
    _add(at + 1, pull_y, i < end, ATOMIC)
    _add(at + 2, pull_z, i < end, ATOMIC)


@triton.jit
def _add(at, value, inside, ATOMIC: tl.constexpr):
    """Add one component to the result, or write it to its partial sum."""
    if ATOMIC:
        tl.atomic_add(at, value, mask=inside, sem="relaxed")
    else:
        tl.store(at, value)
