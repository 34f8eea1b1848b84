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

CUBIC: tl.constexpr = tl.constexpr(4)


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
def code_of(c1, whole):
    """Return the number in the lowest 12 bits of c1 less 2048, so that c2 = unit code.

    The bits become the mantissa of 2^23 + number (`whole` is 2^23), so that nothing is converted
    and the difference is exact.
    """
    number = (c1.to(tl.int32, bitcast=True) & 4095) | whole
    return number.to(tl.float32, bitcast=True) - 8390656.0


@triton.jit
def cubic_at(at, inside, SLICE: tl.constexpr, SKIP: tl.constexpr):
    """Return the four words of a cubic piece, [COLUMNS, ROWS, SLICE] each.

    With SKIP, pairs that are not `inside` get zeros and read nothing, the same numbers. A third of
    the pairs in tiles is none, and what is not read leaves the cache to others. That is worth its
    instructions on a full GPU, and not where programs are few, or for the two compact words.
    """
    if SKIP:
        inside = inside[:, :, None]
        c0 = tl.load(at, mask=inside, other=0.0)
        c1 = tl.load(at + SLICE, mask=inside, other=0.0)
        c2 = tl.load(at + 2 * SLICE, mask=inside, other=0.0)
        c3 = tl.load(at + 3 * SLICE, mask=inside, other=0.0)
    else:
        c0, c1 = tl.load(at), tl.load(at + SLICE)
        c2, c3 = tl.load(at + 2 * SLICE), tl.load(at + 3 * SLICE)
    return c0, c1, c2, c3


@triton.jit
def filters_at(
    table,
    piece,
    t,
    channel,
    unit,
    whole,
    pieces,
    SLICE: tl.constexpr,
    WORDS: tl.constexpr,
    SKIP: tl.constexpr,
):
    """Return W [COLUMNS, ROWS, SLICE] of pieces and t [COLUMNS, ROWS]."""
    at = table + (piece * (WORDS * SLICE))[:, :, None] + channel[None, None, :]
    t = t[:, :, None]
    if WORDS == CUBIC:
        c0, c1, c2, c3 = cubic_at(at, piece < pieces, SLICE, SKIP)
        return c0 + t * (c1 + t * (c2 + t * c3))
    else:
        c0, c1 = tl.load(at), tl.load(at + SLICE)
        return c0 + t * (c1 + (t * unit) * code_of(c1, whole))


@triton.jit
def filters_and_slopes_at(
    table,
    piece,
    t,
    channel,
    unit,
    whole,
    pieces,
    SLICE: tl.constexpr,
    WORDS: tl.constexpr,
    SKIP: tl.constexpr,
):
    """Return W and dW/ds [COLUMNS, ROWS, SLICE]."""
    at = table + (piece * (WORDS * SLICE))[:, :, None] + channel[None, None, :]
    t = t[:, :, None]
    if WORDS == CUBIC:
        c0, c1, c2, c3 = cubic_at(at, piece < pieces, SLICE, SKIP)
        inner = c2 + t * c3
        middle = c1 + t * inner
        return c0 + t * middle, middle + t * (inner + t * c3)
    else:
        c0, c1 = tl.load(at), tl.load(at + SLICE)
        code, step = code_of(c1, whole), t * unit
        return c0 + t * (c1 + step * code), c1 + (2.0 * step) * code


@triton.jit
def forward_kernel(
    s_at,  # [row blocks, most_tiles, ROWS, TILE]
    features,  # [beads, channels]
    table,  # [slices, pieces + 1, WORDS, SLICE]
    first_bead,
    molecule_end,
    count,
    column,
    row_sums,  # [row blocks, splits, ROWS, channels]
    column_sums,  # [row blocks, most_tiles, TILE, channels]
    unit,
    whole,
    pieces,
    channels,
    slice_words,
    most_tiles,
    splits,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
    COLUMNS: tl.constexpr,
    SLICE: tl.constexpr,
    WORDS: tl.constexpr,
    SKIP: tl.constexpr,
):
    """Write m_i = sum_j W(r_ij) h_j as partial sums; grid (row blocks * splits, slices).

    Accumulates in float32. Deterministic. `channels` is a multiple of SLICE.
    """
    row, split = tl.program_id(0) // splits, tl.program_id(0) % splits
    number = tl.program_id(1)
    c = tl.arange(0, SLICE)
    own = number * SLICE + c
    table += number.to(tl.int64) * slice_words
    end = tl.load(molecule_end + row)
    i = tl.load(first_bead + row) + tl.arange(0, ROWS)
    at_i = i.to(tl.int64)[:, None] * channels + own[None, :]
    h_i = tl.load(features + at_i, mask=(i < end)[:, None], other=0.0)  # [ROWS, SLICE]
    received = tl.zeros([COLUMNS, ROWS, SLICE], tl.float32)
    line = row.to(tl.int64) * most_tiles
    pair = tl.arange(0, ROWS)[None, :] * TILE + tl.arange(0, COLUMNS)[:, None]
    parts: tl.constexpr = TILE // COLUMNS
    for part in range(split, tl.load(count + row) * parts, splits):
        place, first = part // parts, (part % parts) * COLUMNS
        j = tl.load(column + line + place) + first + tl.arange(0, COLUMNS)
        s = tl.load(s_at + (line + place) * (ROWS * TILE) + first + pair)  # [COLUMNS, ROWS]
        at_j = j.to(tl.int64)[:, None] * channels + own[None, :]
        h_j = tl.load(features + at_j, mask=(j < end)[:, None], other=0.0)  # [COLUMNS, SLICE]
        piece, t = piece_of(s)
        filters = filters_at(table, piece, t, c, unit, whole, pieces, SLICE, WORDS, SKIP)
        received += filters * h_j[:, None, :]
        sent = tl.sum(filters * h_i[None, :, :], axis=1)  # [COLUMNS, SLICE]
        at = ((line + place) * TILE + first + tl.arange(0, COLUMNS))[:, None] * channels
        tl.store(column_sums + at + own[None, :], sent.to(column_sums.dtype.element_ty))
    at = ((row.to(tl.int64) * splits + split) * ROWS + tl.arange(0, ROWS))[:, None] * channels
    tl.store(row_sums + at + own[None, :], tl.sum(received, axis=0))


@triton.jit
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
    pieces,
    channels,
    slice_words,
    most_tiles,
    splits,
    pairs,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
    COLUMNS: tl.constexpr,
    SLICE: tl.constexpr,
    WORDS: tl.constexpr,
    SKIP: tl.constexpr,
    FEATURES: tl.constexpr,
    ADD: tl.constexpr,
):
    """Write dE/ds of every pair and, if FEATURES, dE/dh as partial sums; grid as the forward's.

    dE/ds = sum over the channels of the slice of (G_i h_j + G_j h_i) dW/ds, added to what
    `slope_at` holds if ADD. Accumulates in float32. Deterministic. First-order.
    """
    row, split = tl.program_id(0) // splits, tl.program_id(0) % splits
    number = tl.program_id(1)
    c = tl.arange(0, SLICE)
    own = number * SLICE + c
    table += number.to(tl.int64) * slice_words
    slope_at += number.to(tl.int64) * pairs
    end = tl.load(molecule_end + row)
    i = tl.load(first_bead + row) + tl.arange(0, ROWS)
    at_i = i.to(tl.int64)[:, None] * channels + own[None, :]
    h_i = tl.load(features + at_i, mask=(i < end)[:, None], other=0.0)  # [ROWS, SLICE]
    g_i = tl.load(gradient + at_i, mask=(i < end)[:, None], other=0.0)
    received = tl.zeros([COLUMNS, ROWS, SLICE], tl.float32)
    line = row.to(tl.int64) * most_tiles
    pair = tl.arange(0, ROWS)[None, :] * TILE + tl.arange(0, COLUMNS)[:, None]
    parts: tl.constexpr = TILE // COLUMNS
    for part in range(split, tl.load(count + row) * parts, splits):
        place, first = part // parts, (part % parts) * COLUMNS
        j = tl.load(column + line + place) + first + tl.arange(0, COLUMNS)
        at = (line + place) * (ROWS * TILE) + first + pair
        s = tl.load(s_at + at)  # [COLUMNS, ROWS]
        at_j = j.to(tl.int64)[:, None] * channels + own[None, :]
        h_j = tl.load(features + at_j, mask=(j < end)[:, None], other=0.0)  # [COLUMNS, SLICE]
        g_j = tl.load(gradient + at_j, mask=(j < end)[:, None], other=0.0)
        piece, t = piece_of(s)
        filters, slopes = filters_and_slopes_at(
            table, piece, t, c, unit, whole, pieces, SLICE, WORDS, SKIP
        )
        if FEATURES:
            received += filters * g_j[:, None, :]
            sent = tl.sum(filters * g_i[None, :, :], axis=1)  # [COLUMNS, SLICE]
            target = ((line + place) * TILE + first + tl.arange(0, COLUMNS))[:, None] * channels
            tl.store(column_sums + target + own[None, :], sent.to(column_sums.dtype.element_ty))
        both = g_i[None, :, :] * h_j[:, None, :] + h_i[None, :, :] * g_j[:, None, :]
        slope = tl.sum(slopes * both, axis=2)  # [COLUMNS, ROWS]
        if ADD:
            slope += tl.load(slope_at + at)
        tl.store(slope_at + at, slope)
    if FEATURES:
        at = ((row.to(tl.int64) * splits + split) * ROWS + tl.arange(0, ROWS))[:, None] * channels
        tl.store(row_sums + at + own[None, :], tl.sum(received, axis=0))
