"""Reading a table of filters, in plain PyTorch (the definition)."""

from __future__ import annotations

import torch
from torch import Tensor

from flashschnet_kernels.filter_table.table import FilterTable


def expand(r_ij: Tensor, table: FilterTable, block: int) -> Tensor:
    """Return the filters W(r_ij) C(r_ij) of one block, [pairs, channels].

    Args:
        r_ij: [pairs] in angstrom, float32 or float64; differentiable any number of times, with the
            derivative of the polynomials. Zero from the cutoff on.
        table: on the device of `r_ij`.
        block: which interaction block.

    Raises:
        ValueError: a block that the table does not have.
    """
    t, coefficients = _pieces(r_ij, table, block)
    filters = torch.zeros_like(t)
    for coefficient in reversed(coefficients):
        filters = filters * t + coefficient
    return filters  # [pairs, channels]


def expand_with_slopes(r_ij: Tensor, table: FilterTable, block: int) -> tuple[Tensor, Tensor]:
    """Return the filters and their slopes by the distance, [pairs, channels] each.

    The slope is that of the very polynomial that gives the filter: what `expand` differentiates to.

    Args:
        r_ij, table, block: as for `expand`.

    Raises:
        ValueError: a block that the table does not have.
    """
    t, coefficients = _pieces(r_ij, table, block)
    filters = slopes = torch.zeros_like(t)
    for coefficient in reversed(coefficients):
        slopes = slopes * t + filters
        filters = filters * t + coefficient
    return filters, slopes * table.knots.slope(r_ij)[:, None]


def _pieces(r_ij: Tensor, table: FilterTable, block: int) -> tuple[Tensor, list[Tensor]]:
    """Return t [pairs, 1] and the coefficients [pairs, channels] of the piece of every distance."""
    if not 0 <= block < table.blocks:
        raise ValueError(f"the table has {table.blocks} blocks; there is no block {block}")
    s = table.knots.coordinate(r_ij)
    piece = torch.floor(s.detach() + 0.5).clamp(0, table.knots.pieces).long()  # [pairs]
    rows = table.coefficients[block].index_select(0, piece).to(r_ij.dtype)
    return (s - piece)[:, None], list(rows.unbind(1))
