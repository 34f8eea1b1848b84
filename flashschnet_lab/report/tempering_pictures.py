"""What a tempering run did to its replicas, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from flashschnet_lab.analysis.observables import Observations
from flashschnet_lab.analysis.pictures import CHAIN_COLORS, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

USUAL_ACCEPTANCE = 0.3
MOST_COLUMNS = 400
"""Moments in the picture of a ladder: more would be finer than the screen."""


def acceptance_picture(ladder: Sequence[float], shares: np.ndarray) -> Figure:
    """Draw the share of accepted exchanges between each temperature and the next.

    Args:
        ladder: [rungs] kelvin.
        shares: [rungs - 1] of `exchange_record.acceptance`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 3.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(shares))
    axes.bar(places, np.nan_to_num(shares), 0.7, color=CHAIN_COLORS[0], linewidth=0)
    axes.axhline(USUAL_ACCEPTANCE, color="#9aa4ae", linestyle="dotted", linewidth=1.2)
    axes.text(len(shares) - 0.5, USUAL_ACCEPTANCE + 0.01, "usual", color=INK, fontsize=8,
              ha="right", va="bottom")  # fmt: skip
    pairs = zip(ladder[:-1], ladder[1:], strict=True)
    axes.set_xticks(places, [f"{low:.0f}–{high:.0f}" for low, high in pairs],
                    rotation=0 if len(shares) < 8 else 60)  # fmt: skip
    axes.set_ylim(0.0, 1.0)
    axes.set_xlim(-0.6, len(shares) - 0.4)
    axes.set_xlabel("between temperatures (K)", color=INK)
    axes.set_ylabel("share of accepted exchanges", color=INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def ladder_picture(table: Observations) -> Figure:
    """Draw the temperature of every replica over time, a row for each replica.

    Args:
        table: of a tempering run, a column per replica.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.0, 3.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    stride = max(1, len(table.times_ps) // MOST_COLUMNS)
    times, values = table.times_ps[::stride], table.temperatures[::stride]
    apart = times[1] - times[0] if len(times) > 1 else 1.0
    mesh = axes.pcolormesh(
        np.append(times, times[-1] + apart) - 0.5 * apart,
        np.arange(values.shape[1] + 1) - 0.5,
        values.T,
        cmap="plasma",
    )
    bar = figure.colorbar(mesh, ax=axes)
    bar.set_label("temperature (K)", color=INK)
    bar.ax.tick_params(colors=INK, labelsize=9)
    axes.set_xlabel("time (ps)", color=INK)
    axes.set_ylabel("replica", color=INK)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(colors=INK, labelsize=9)
    return figure
