"""The convolution with tabulated filters as Triton kernels: tiles of pairs, slices of channels.

A program of one warp takes ROWS beads and SLICE channels, and walks over the tiles of ROWS x TILE
pairs that its row block owns, COLUMNS columns at a time. The filters of a tile are read from the
table once and serve both directions: rows receive from columns, summed in registers, and columns
receive from rows, one partial sum per tile. Partial sums are added up in a fixed order later.

What limits these kernels is reading the table. A slice of it is small enough to stay in the first
cache of a multiprocessor, so slices are the slow axis of the grid: at any time all programs of the
GPU read the same slice.

Threads lie along channels first, so that one load instruction brings four channels of a piece,
then along columns: the sum over rows needs no exchange between threads. Tensors here are
[COLUMNS, ROWS, SLICE], and `tile_reads` sees to it that Triton lays threads along them so.

Beside beads in 16 bit the table is float16. Then numbers of beads and their products on the way
back are, too, the next part's distances are read ahead, and sums bypass the caches.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import triton
import triton.language as tl

from flashschnet_kernels.filter_table.tile_reads import (
    filters_and_slopes_at,
    filters_at,
    offset_of,
    part_at,
    piece_of,
)


@triton.jit
def like_table(x, table):
    """Return x in float16 where the table is in float16, or as it is."""
    if table.dtype.element_ty == tl.float16:
        return x.to(tl.float16)
    else:
        return x


@triton.jit
def store_once(at, values, table):
    """Write what another kernel reads, once: past the caches, where the table is in float16.

    That leaves them to the table, 4 % of the time of these kernels. In float32, where sums are
    twice as large, a whole step takes 7 % longer instead.
    """
    if table.dtype.element_ty == tl.float16:
        tl.store(at, values, cache_modifier=".cs")
    else:
        tl.store(at, values)


@triton.jit(do_not_specialize=["slice_quads"])
def forward_kernel(
    s_at,  # [row blocks, most_tiles, ROWS, TILE]
    features,  # [beads, channels]
    table,  # [slices, pieces + 1, WORDS, SLICE] float32, or three float16 for WORDS
    first_bead,
    molecule_end,
    count,
    column,
    row_sums,  # [row blocks, splits, ROWS, channels]
    column_sums,  # [row blocks, most_tiles, TILE, channels]
    unit,
    whole,
    channels,
    slice_words,
    slice_quads,
    most_tiles,
    splits,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
    COLUMNS: tl.constexpr,
    SLICE: tl.constexpr,
    WORDS: tl.constexpr,
):
    """Write m_i = sum_j W(r_ij) h_j as partial sums; grid (row blocks * splits, slices).

    Accumulates in float32. Deterministic. `channels` is a multiple of SLICE.
    """
    row, split = tl.program_id(0) // splits, tl.program_id(0) % splits
    number = tl.program_id(1)
    c = tl.arange(0, SLICE)
    own = number * SLICE + c
    table += offset_of(number, slice_words, slice_quads, table)
    end = tl.load(molecule_end + row)
    i = tl.load(first_bead + row) + tl.arange(0, ROWS)
    at_i = i.to(tl.int64)[:, None] * channels + own[None, :]
    h_i = tl.load(features + at_i, mask=(i < end)[:, None], other=0.0)  # [ROWS, SLICE]
    received = tl.zeros([COLUMNS, ROWS, SLICE], tl.float32)
    line = row.to(tl.int64) * most_tiles
    parts: tl.constexpr = TILE // COLUMNS
    end_part = tl.load(count + row) * parts
    AHEAD: tl.constexpr = table.dtype.element_ty == tl.float16  # a part, one before it is needed
    if AHEAD:
        next_j, next_s = part_at(s_at, column, line, split, end_part, ROWS, TILE, COLUMNS)
    for part in range(split, end_part, splits):
        if AHEAD:
            first_j, s, then = next_j, next_s, part + splits
            next_j, next_s = part_at(s_at, column, line, then, end_part, ROWS, TILE, COLUMNS)
        else:
            first_j, s = part_at(s_at, column, line, part, None, ROWS, TILE, COLUMNS)
        j = first_j + tl.arange(0, COLUMNS)
        at_j = j.to(tl.int64)[:, None] * channels + own[None, :]
        h_j = tl.load(features + at_j, mask=(j < end)[:, None], other=0.0)  # [COLUMNS, SLICE]
        piece, t = piece_of(s)
        filters = filters_at(table, piece, t, c, unit, whole, SLICE, WORDS)
        received += filters * h_j[:, None, :]
        sent = tl.sum(filters * h_i[None, :, :], axis=1)  # [COLUMNS, SLICE]
        at = (line * TILE + part * COLUMNS + tl.arange(0, COLUMNS))[:, None] * channels
        sent = sent.to(column_sums.dtype.element_ty)
        store_once(column_sums + at + own[None, :], sent, table)
    at = ((row.to(tl.int64) * splits + split) * ROWS + tl.arange(0, ROWS))[:, None] * channels
    tl.store(row_sums + at + own[None, :], tl.sum(received, axis=0))


@triton.jit(do_not_specialize=["slice_quads"])
def backward_kernel(
    s_at,
    features,
    gradient,  # [beads, channels], dE/dm
    table,
    first_bead,
    molecule_end,
    count,
    column,
    slope_at,  # [slices, row blocks, most_tiles, ROWS, COLUMNS], dE/ds
    row_sums,
    column_sums,
    unit,
    whole,
    channels,
    slice_words,
    slice_quads,
    most_tiles,
    splits,
    pairs,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
    COLUMNS: tl.constexpr,
    SLICE: tl.constexpr,
    WORDS: tl.constexpr,
    FEATURES: tl.constexpr,
    ADD: tl.constexpr,
):
    """Write dE/ds of every pair and, if FEATURES, dE/dh as partial sums; grid as the forward's.

    dE/ds = sum over the channels of the slice of (G_i h_j + G_j h_i) dW/ds, added to what
    `slope_at` holds if ADD. Accumulates in float32. Deterministic. First-order.

    With a table in float16, beads' numbers and their products are float16 too, two to a register
    and an instruction, and so is the sum over the rows of a tile. Sums over channels are float32.
    """
    row, split = tl.program_id(0) // splits, tl.program_id(0) % splits
    number = tl.program_id(1)
    c = tl.arange(0, SLICE)
    own = number * SLICE + c
    table += offset_of(number, slice_words, slice_quads, table)
    slope_at += number.to(tl.int64) * pairs
    end = tl.load(molecule_end + row)
    i = tl.load(first_bead + row) + tl.arange(0, ROWS)
    at_i = i.to(tl.int64)[:, None] * channels + own[None, :]
    h_i = tl.load(features + at_i, mask=(i < end)[:, None], other=0.0)  # [ROWS, SLICE]
    g_i = tl.load(gradient + at_i, mask=(i < end)[:, None], other=0.0)
    h_i, g_i = like_table(h_i, table), like_table(g_i, table)
    received = tl.zeros([COLUMNS, ROWS, SLICE], tl.float32)
    line = row.to(tl.int64) * most_tiles
    pair = tl.arange(0, ROWS)[None, :] * TILE + tl.arange(0, COLUMNS)[:, None]
    parts: tl.constexpr = TILE // COLUMNS
    end_part = tl.load(count + row) * parts
    AHEAD: tl.constexpr = table.dtype.element_ty == tl.float16  # a part, one before it is needed
    if AHEAD:
        next_j, next_s = part_at(s_at, column, line, split, end_part, ROWS, TILE, COLUMNS)
    for part in range(split, end_part, splits):
        if AHEAD:
            first_j, s, then = next_j, next_s, part + splits
            next_j, next_s = part_at(s_at, column, line, then, end_part, ROWS, TILE, COLUMNS)
        else:
            first_j, s = part_at(s_at, column, line, part, None, ROWS, TILE, COLUMNS)
        j = first_j + tl.arange(0, COLUMNS)
        at_j = j.to(tl.int64)[:, None] * channels + own[None, :]
        h_j = tl.load(features + at_j, mask=(j < end)[:, None], other=0.0)  # [COLUMNS, SLICE]
        g_j = tl.load(gradient + at_j, mask=(j < end)[:, None], other=0.0)
        piece, t = piece_of(s)
        filters, slopes = filters_and_slopes_at(table, piece, t, c, unit, whole, SLICE, WORDS)
        if FEATURES:
            received += filters.to(tl.float32) * g_j[:, None, :]
            sent = tl.sum(filters * g_i[None, :, :], axis=1)  # [COLUMNS, SLICE]
            sent = sent.to(column_sums.dtype.element_ty)
            at = (line * TILE + part * COLUMNS + tl.arange(0, COLUMNS))[:, None] * channels
            store_once(column_sums + at + own[None, :], sent, table)
        h_j, g_j = like_table(h_j, table), like_table(g_j, table)
        both = g_i[None, :, :] * h_j[:, None, :] + h_i[None, :, :] * g_j[:, None, :]
        slope = tl.sum((slopes * both).to(tl.float32), axis=2)  # [COLUMNS, ROWS]
        at = (line + part // parts) * (ROWS * TILE) + (part % parts) * COLUMNS + pair
        if ADD:
            slope += tl.load(slope_at + at)
        store_once(slope_at + at, slope, table)
    if FEATURES:
        at = ((row.to(tl.int64) * splits + split) * ROWS + tl.arange(0, ROWS))[:, None] * channels
        tl.store(row_sums + at + own[None, :], tl.sum(received, axis=0))
