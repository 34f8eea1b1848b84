"""What a table of filters costs in exactness: the force error against its pieces, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flashschnet_kernels.filter_table.knots import Knots
from flashschnet_kernels.filter_table.table import FORMS, build_table
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.table_errors import Conformation, TableJudge, filter_networks
from flashschnet_lab.potentials.tables import CLASSES, table_bytes
from flashschnet_lab.system import System, embedding_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

PIECES = (128, 256, 512, 1024, 2048, 4096)
STRETCHES = (0.0, 4.0)
"""Times the cutoff: pieces of one length, and pieces that are short where beads are close."""
NEAREST = 2.0
"""Angstrom; pieces beyond it are those that a simulation reads."""
COLORS = {"cubic": "#2f5fb3", "compact": "#c8354f"}


def table_report(
    system: System,
    positions: Tensor,
    pieces: Sequence[int] = PIECES,
    stretches: Sequence[float] = STRETCHES,
) -> list[dict[str, Any]]:
    """Return the force errors of tables of a network, against the network itself in float64.

    A row for each form, stretch and number of pieces: "form", "stretch" (per angstrom), "pieces",
    "bytes" of the pieces beyond `NEAREST`, and "force_error", of the network's own forces on the
    worst conformation.

    Args:
        system: a protein whose model has a network.
        positions: [conformations, beads, 3] in angstrom.
        pieces: numbers of pieces.
        stretches: times the cutoff.

    Raises:
        UserError: a model without network.
    """
    network = system.model.network
    if network is None:
        raise UserError(
            f"model {system.model.name} has no network whose filters could be tabulated"
        )
    types = torch.from_numpy(embedding_rows(system))
    cutoff, lower = network.shape.cutoff, network.shape.cutoff_lower
    conformations = [
        Conformation(f"{system.name}, {number}", x.detach().cpu().double(), types)
        for number, x in enumerate(positions)
    ]
    judge, networks = TableJudge(network, conformations), filter_networks(network)
    rows = []
    for form in FORMS:
        for stretch in stretches:
            for number in pieces:
                knots = Knots.ending_at(lower, number, stretch / cutoff, cutoff)
                table = build_table(networks, knots, form)
                rows.append(
                    {
                        "form": form,
                        "stretch": stretch / cutoff,
                        "pieces": number,
                        "bytes": table_bytes(table, NEAREST),
                        "force_error": judge.error(table),
                    }
                )
    return rows


def table_errors_table(report: Sequence[dict[str, Any]], title: str = "") -> Table:
    """Return the report as a table: a row for each number of pieces, a column for each curve."""
    from rich.table import Table

    heading = f"{title} relative force error of the network with tabulated filters".strip()
    table = Table(title=heading, title_justify="left")
    table.add_column("pieces", justify="right")
    curves = list(dict.fromkeys((row["form"], row["stretch"]) for row in report))
    for form, stretch in curves:
        table.add_column(f"{form}, {_spacing(stretch)}", justify="right")
    for pieces in dict.fromkeys(row["pieces"] for row in report):
        found = {(r["form"], r["stretch"]): r for r in report if r["pieces"] == pieces}
        cells = (
            f"{found[c]['force_error']:.1e} ({found[c]['bytes'] / 1e6:.2g} MB)" for c in curves
        )
        table.add_row(str(pieces), *cells)
    return table


def table_picture(report: Sequence[dict[str, Any]], title: str = "") -> Figure:
    """Draw the error over the pieces, a line for each form and stretch; classes as levels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.6), dpi=144, layout="constrained")
    axes = figure.subplots()
    for form, stretch in dict.fromkeys((row["form"], row["stretch"]) for row in report):
        curve = [row for row in report if (row["form"], row["stretch"]) == (form, stretch)]
        axes.plot(
            [row["pieces"] for row in curve],
            [row["force_error"] for row in curve],
            "o-" if stretch else "o--",
            color=COLORS[form],
            ms=4,
            label=f"{form}, {_spacing(stretch)}",
        )
    for kind in CLASSES.values():
        axes.axhline(kind.promise, color="#8c959f", lw=1, zorder=0)
        right = max(row["pieces"] for row in report)
        axes.annotate(kind.name, (right, kind.promise), ha="right", va="bottom", fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="pieces", ylabel="force error of the network")
    axes.set_title(title, fontsize=11)
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _spacing(stretch: float) -> str:
    return f"stretch {stretch:.2f} per A" if stretch else "even pieces"
