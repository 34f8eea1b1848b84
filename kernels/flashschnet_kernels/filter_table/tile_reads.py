"""What programs of `tile_kernels` read: pieces of a table, and parts of the tiles of a row block.

Tensors are [COLUMNS, ROWS, SLICE], and threads lie along channels first, then along columns.
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
