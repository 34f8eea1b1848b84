"""A filter over the distance: what the network computes, and what a table of it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flashschnet_kernels.filter_table.reference import expand
from flashschnet_kernels.filter_table.table import FilterTable, exact_filters
from flashschnet_lab.analysis.pictures import INK, REPLICA_COLORS
from flashschnet_lab.potentials.schnet import SchNet
from flashschnet_lab.potentials.table_errors import filter_networks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHANNELS = (0, 5, 40)
POINTS = 1500
NEAREST = 1.0
"""Angstrom; no two beads of a simulation come closer."""


def filter_curves(network: SchNet, table: FilterTable, block: int = 0) -> tuple[Tensor, ...]:
    """Return distances [points] in angstrom, and the filters of network and table there.

    Args:
        network: whose filters are tabulated.
        table: of its filters.
        block: which interaction block.

    Returns:
        Distances [points], filters of the network [points, channels], filters of the table
        [points, channels], all float64.
    """
    r_ij = torch.linspace(NEAREST, table.knots.cutoff, POINTS, dtype=torch.float64)
    exact = exact_filters(filter_networks(network)[block])(r_ij)
    return r_ij, exact, expand(r_ij, table, block)


def filter_picture(network: SchNet, table: FilterTable, block: int = 0) -> Figure:
    """Draw a few channels of the filters of a block, the table's pieces, and how far it is off.

    Args:
        network, table, block: as for `filter_curves`.
    """
    from matplotlib.figure import Figure

    r_ij, exact, tabulated = (values.detach() for values in filter_curves(network, table, block))
    figure = Figure(figsize=(8.0, 4.8), dpi=92, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1.6, 1.0))
    for color, channel in zip(REPLICA_COLORS, CHANNELS, strict=False):
        if channel >= exact.shape[1]:
            continue
        upper.plot(r_ij, exact[:, channel], color=color, lw=4, alpha=0.3)
        upper.plot(r_ij, tabulated[:, channel], color=color, lw=1, label=f"channel {channel}")
    upper.plot([], [], color=INK, lw=4, alpha=0.3, label="the network")
    upper.plot([], [], color=INK, lw=1, label=f"the table, {table.knots.pieces} pieces")
    upper.legend(fontsize=8, frameon=False, ncols=2)
    upper.set_ylabel("filter W(r) C(r)", color=INK)
    largest = exact.abs().max()
    lower.semilogy(r_ij, (tabulated - exact).abs().amax(1).clamp_min(1e-12) / largest, color=INK)
    lower.set_ylabel("largest error\nof all channels", color=INK)
    lower.set_xlabel("distance of two beads (Å)", color=INK)
    for axes in (upper, lower):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
