"""The convolution with tabulated filters as Triton kernels: tiles of pairs, slices of channels.

A program of one warp takes ROWS beads and SLICE channels, and walks over the tiles of ROWS x TILE
pairs that its row block owns, COLUMNS columns at a time. The filters of a tile are read from the
table once and serve both directions: rows receive from columns, summed in registers, and columns
receive from rows, one partial sum per tile. Partial sums are added up in a fixed order later.

What limits these kernels is reading the table. A slice of it is small enough to stay in the first
cache of a multiprocessor, so slices are the slow axis of the grid: at any time all programs of the
GPU read the same slice.

Threads lie along channels first, so that one load instruction brings four channels of a piece,
then along columns: the sum over rows needs no exchange between threads. (Triton gives threads to
the first axis before the second, so tensors here are [COLUMNS, ROWS, SLICE].)
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import triton
import triton.language as tl

CUBIC: tl.constexpr = tl.constexpr(3)


@triton.jit
def piece_of(s):
    """Return the piece k nearest to s as int32, and t = s - k.

    Adding 1.5 * 2^23 rounds to a whole number, whose bits are then those of the sum: two additions
    instead of two conversions, which a GPU does at a sixteenth of the rate.
    """
    shifted = s + 12582912.0
    t = s - (shifted - 12582912.0)
    return shifted.to(tl.int32, bitcast=True) - 1262485504, t


@triton.jit
def code_of(word, whole):
    """Return the number in the lowest 12 bits of a word less 2048: the last coefficient over unit.

    The bits become the mantissa of 2^23 + number (`whole` is 2^23), so that nothing is converted
    and the difference is exact.
    """
    number = (word.to(tl.int32, bitcast=True) & 4095) | whole
    return number.to(tl.float32, bitcast=True) - 8390656.0


@triton.jit
def places_of(table, piece, channel, SLICE: tl.constexpr, WORDS: tl.constexpr):
    """Return where the first words of pieces [COLUMNS, ROWS] lie, [COLUMNS, ROWS, SLICE].

    Those along columns are called contiguous, which they are not: that makes threads lie along
    columns before rows in every version of Triton. From 3.7 on it would take rows first, for 17 %
    more time per step. How many words come in one load depends on channels alone.
    """
    at = table + (piece * (WORDS * SLICE))[:, :, None] + channel[None, None, :]
    return tl.max_contiguous(at, (2, 1, SLICE))


@triton.jit
def halves_at(table, piece, channel, SLICE: tl.constexpr):
    """Return c0, c1, c2 of pieces in float16, [COLUMNS, ROWS, SLICE] each."""
    at = places_of(table, piece, channel, SLICE, 3)
    return tl.load(at), tl.load(at + SLICE), tl.load(at + 2 * SLICE)


@triton.jit
def filters_at(table, piece, t, channel, unit, whole, SLICE: tl.constexpr, WORDS: tl.constexpr):
    """Return W [COLUMNS, ROWS, SLICE] of pieces and t [COLUMNS, ROWS]."""
    t = t[:, :, None]
    if table.dtype.element_ty == tl.float16:
        c0, c1, c2 = halves_at(table, piece, channel, SLICE)
        t = t.to(tl.float16)
        return (c0 + t * (c1 + t * c2)).to(tl.float32)
    else:
        at = places_of(table, piece, channel, SLICE, WORDS)
        c0, c1 = tl.load(at), tl.load(at + SLICE)
        if WORDS == CUBIC:
            c2 = tl.load(at + 2 * SLICE)
            return c0 + t * (c1 + t * (c2 + (t * unit) * code_of(c2, whole)))
        else:
            return c0 + t * (c1 + (t * unit) * code_of(c1, whole))


@triton.jit
def filters_and_slopes_at(
    table, piece, t, channel, unit, whole, SLICE: tl.constexpr, WORDS: tl.constexpr
):
    """Return W and dW/ds [COLUMNS, ROWS, SLICE], in float16 where the table is."""
    t = t[:, :, None]
    if table.dtype.element_ty == tl.float16:
        c0, c1, c2 = halves_at(table, piece, channel, SLICE)
        t = t.to(tl.float16)
        bend = t * c2
        middle = c1 + bend
        return c0 + t * middle, middle + bend
    else:
        at = places_of(table, piece, channel, SLICE, WORDS)
        c0, c1 = tl.load(at), tl.load(at + SLICE)
        if WORDS == CUBIC:
            c2 = tl.load(at + 2 * SLICE)
            bend = (t * unit) * code_of(c2, whole)
            inner = c2 + bend
            middle = c1 + t * inner
            return c0 + t * middle, middle + t * (inner + bend)
        else:
            bend = (t * unit) * code_of(c1, whole)
            middle = c1 + bend
            return c0 + t * middle, middle + bend


@triton.jit
def offset_of(number, slice_words, slice_quads, table):
    """Return where a slice begins in a table.

    Triton reads as many numbers at a time as an address is a multiple of. Halves would come in
    eights, and features come in fours: threads would have to exchange one of them. `slice_quads`,
    a quarter of the numbers of a slice, is not specialised, so that no more is known of a slice of
    halves than that it begins at a multiple of four.
    """
    if table.dtype.element_ty == tl.float16:
        return number.to(tl.int64) * slice_quads * 4
    else:
        return number.to(tl.int64) * slice_words


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


@triton.jit
def part_at(
    s_at, column, line, part, end, ROWS: tl.constexpr, TILE: tl.constexpr, COLUMNS: tl.constexpr
):
    """Return the first bead of the columns of a part, and s of its pairs [COLUMNS, ROWS].

    Args:
        line: where the tiles of the row block begin.
        part: of them, counted in COLUMNS.
        end: the first part that is not there; None where it is known not to be this one.
    """
    tile, first = line + part // (TILE // COLUMNS), (part % (TILE // COLUMNS)) * COLUMNS
    pair = tl.arange(0, ROWS)[None, :] * TILE + tl.arange(0, COLUMNS)[:, None]
    at = s_at + tile * (ROWS * TILE) + first + pair
    if end is None:
        j, s = tl.load(column + tile), tl.load(at)
    else:
        j = tl.load(column + tile, mask=part < end, other=0)
        s = tl.load(at, mask=part + 0 * pair < end, other=0.0)
    return j + first, s


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

    With a table in float16, beads' numbers and their products are float16 too: half the registers
    and instructions. Sums over channels are float32.
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
