"""The precision report as tables and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flashschnet_lab.measure.precision import AS_TRAINED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

INK = "#30363d"
COLORS = ("#8c959f", "#2f5fb3", "#2a9db0", "#e3b341", "#c8354f")
"""One for each variant, in their order."""


def precision_table(report: Sequence[dict[str, Any]], title: str = "") -> Table:
    """Return the force errors: a row for each variant, a column for each network."""
    from rich.table import Table

    rows = [row for row in report if row["kind"] == "forces"]
    networks = _values(rows, "network")
    heading = " ".join((title, "relative force error of the network alone")).strip()
    table = Table(title=heading, title_justify="left")
    table.add_column("dtype")
    table.add_column("linear layers")
    for name in networks:
        table.add_column(name, justify="right")
    table.add_column("of the total force", justify="right")
    table.add_column("worst layer", justify="right")
    table.add_column("its gradient", justify="right")
    for dtype in _values(rows, "dtype"):
        for variant in _values([row for row in rows if row["dtype"] == dtype], "variant"):
            alike = [row for row in rows if (row["dtype"], row["variant"]) == (dtype, variant)]
            errors = {row["network"]: row["force_error"] for row in alike}
            total = [row["total_force_error"] for row in alike if row["network"] == AS_TRAINED]
            layers = [
                r
                for r in report
                if (r["kind"], r["dtype"], r["variant"]) == ("layer", dtype, variant)
            ]
            table.add_row(
                dtype,
                variant or "not quantised",
                *(_number(errors.get(name)) for name in networks),
                _number(max(total, default=None)),
                _number(max((row["output_error"] for row in layers), default=None)),
                _number(max((row["gradient_error"] or 0.0 for row in layers), default=None)),
            )
        table.add_section()
    return table


def layer_table(report: Sequence[dict[str, Any]], dtype: str) -> Table:
    """Return the errors of every layer in one 16-bit format: output / gradient, per variant."""
    from rich.table import Table

    rows = [row for row in report if row["kind"] == "layer" and row["dtype"] == dtype]
    variants = _values(rows, "variant")
    table = Table(title=f"{dtype}: relative error of output / gradient", title_justify="left")
    table.add_column("layer")
    for variant in variants:
        table.add_column(variant, justify="right")
    for layer in _values(rows, "layer"):
        found = {row["variant"]: row for row in rows if row["layer"] == layer}
        cells = (
            f"{_number(found[v]['output_error'])} / {_number(found[v]['gradient_error'])}"
            for v in variants
        )
        table.add_row(layer, *cells)
    return table


def precision_picture(report: Sequence[dict[str, Any]], title: str = "") -> Figure:
    """Draw force errors of all networks and variants, and the output errors of all layers.

    A column for each 16-bit format. What is not finite is marked above the axes' end.
    """
    from matplotlib.figure import Figure

    dtypes = _values([row for row in report if row["variant"]], "dtype")
    figure = Figure(figsize=(5.2 * len(dtypes), 7.2), dpi=144, layout="constrained")
    if title:
        figure.suptitle(title, color=INK, fontsize=13, fontweight="bold")
    grid = figure.subplots(2, len(dtypes), sharey="row", squeeze=False)
    for column, dtype in enumerate(dtypes):
        _draw_forces(grid[0, column], report, dtype)
        _draw_layers(grid[1, column], [r for r in report if r["kind"] == "layer"], dtype)
        grid[0, column].set_title(dtype, color=INK, fontsize=11)
    grid[0, 0].set_ylabel("force error of the network", color=INK)
    grid[1, 0].set_ylabel("output error of a layer", color=INK)
    grid[1, 0].legend(fontsize=8, frameon=False, labelcolor=INK)
    return figure


def _draw_forces(axes: Axes, report: Sequence[dict[str, Any]], dtype: str) -> None:
    """Draw a group of bars for each network, a bar for each variant."""
    rows = [row for row in report if row["kind"] == "forces"]
    networks, top = _values(rows, "network"), 1.0
    rows = [row for row in rows if row["dtype"] == dtype]
    variants = _values(rows, "variant")
    for row in rows:
        index = variants.index(row["variant"])
        place = networks.index(row["network"]) + (index - (len(variants) - 1) / 2) / 6.5
        error, color = row["force_error"], COLORS[index % len(COLORS)]
        axes.bar(place, min(error, top), width=0.13, color=color)
        if not math.isfinite(error):
            axes.annotate("∞", (place, top), ha="center", va="bottom", color=color)
    axes.set_xticks(range(len(networks)), networks)
    axes.set_ylim(1e-5, 3.0 * top)
    _style(axes)


def _draw_layers(axes: Axes, rows: Sequence[dict[str, Any]], dtype: str) -> None:
    """Draw the output error along the layers, a line for each variant."""
    rows = [row for row in rows if row["dtype"] == dtype]
    for index, variant in enumerate(_values(rows, "variant")):
        errors = [row["output_error"] for row in rows if row["variant"] == variant]
        color = COLORS[index % len(COLORS)]
        axes.plot(errors, color=color, marker="o", markersize=3, linewidth=1.2, label=variant)
    layers = _values(rows, "layer")
    axes.set_xticks(range(len(layers)), layers, rotation=90, fontsize=6)
    _style(axes)


def _style(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.grid(axis="y", color="#e6eaee", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _values(rows: Sequence[dict[str, Any]], key: str) -> list[str]:
    """Return the different values of a key, in order."""
    return list(dict.fromkeys(row[key] for row in rows))


def _number(error: float | None) -> str:
    if error is None:
        return ""
    return f"{error:.1e}" if math.isfinite(error) else "not finite"
