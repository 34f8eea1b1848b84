"""A table of filters as the GPU kernels read it: slices of channels, float32 words or float16."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flashschnet_kernels.filter_table.knots import Knots
from flashschnet_kernels.filter_table.table import CODES, WORDS, FilterTable

SLICE = 32
"""Channels of a slice: a row of the table is then one line of the cache per word."""
LARGEST_HALF, SMALLEST_HALF = 64.0, 3e-3
"""What the largest value and slope of a block lie between for float16 to hold a table: so far below
65504 that products with what beads have do not exceed it, and so far above 6e-5 that what has fewer
digits is too small to count."""


@dataclass(frozen=True)
class PackedTable:
    """A table as the kernels read it.

    Attributes:
        words: [blocks, slices, pieces + 1, 3 or 2, SLICE] float32, or 3 coefficients in float16,
            padded with zeros.
        knots: where the pieces lie.
        unit: per block, of the last coefficient, which float32 words hold as a code.
        channels: width before padding.
    """

    words: Tensor
    knots: Knots
    unit: tuple[float, ...]
    channels: int

    @property
    def width(self) -> int:
        """Channels with padding, a multiple of the slice."""
        return self.words.shape[1] * self.words.shape[4]


def pack_table(
    table: FilterTable, width: int | None = None, *, halves: bool = False
) -> PackedTable:
    """Return a table as the kernels read it.

    Args:
        table: on the device of the kernels.
        width: channels that features are padded to; default the next multiple of the slice.
        halves: whether the three coefficients of a compact table may be float16: a quarter less to
            read, and no code to take apart, for a force error of about 1e-3. Tables with numbers
            that float16 cannot hold, and cubic ones, stay as they are.
    """
    width = width or -(-table.channels // SLICE) * SLICE
    halves = halves and table.form == "compact" and fit_halves(table)
    words = table.coefficients.shape[2] if halves else WORDS[table.form]
    blocks, pieces = table.coefficients.shape[0], table.coefficients.shape[1]
    padded = table.coefficients.new_zeros(blocks, pieces, words, width)
    padded[..., : table.channels] = table.coefficients[:, :, :words]
    if halves:
        padded = padded.half()
    else:  # the last coefficient travels in the word before; what is zero needs the code of zero
        codes = padded[:, :, -1].view(torch.int32)
        codes.masked_fill_(padded[:, :, -1] == 0.0, CODES // 2)
    sliced = padded.view(blocks, pieces, words, width // SLICE, SLICE).permute(0, 3, 1, 2, 4)
    return PackedTable(sliced.contiguous(), table.knots, table.unit, table.channels)


def fit_halves(table: FilterTable) -> bool:
    """Whether float16 holds the values and slopes of a table as well as it holds any number.

    It has 11 bits down to 6e-5 and fewer below; filters of usual models are about 1.
    """
    size = table.coefficients[:, :, :2].abs().amax((1, 3))  # [blocks, 2]
    return bool(size.max() < LARGEST_HALF) and bool(size.min() > SMALLEST_HALF)
