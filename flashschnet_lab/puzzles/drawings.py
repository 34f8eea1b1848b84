"""The picture of each puzzle's specification, drawn from one of its own cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from flashschnet_lab.analysis.pictures import CHAIN_COLORS, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, TEAL, GREEN, YELLOW, ORANGE, RED = CHAIN_COLORS
PALE = "#dfe6f3"
BLOCK = 16  # as drawn


def double() -> Figure:
    """Draw 37 numbers in three blocks, the last one not full."""
    figure, (axes,) = _figure(7.0, 1.9, 1)
    _cells(axes, 37, y=1.0, label="x")
    _cells(axes, 37, y=-0.6, label="y")
    for program in range(3):
        first = program * BLOCK
        axes.annotate(
            "", (first + 8, 0.45), (first + 8, 0.95), arrowprops={"arrowstyle": "->", "color": INK}
        )
        axes.text(first + 9, 0.6, f"program {program}", fontsize=9, color=INK)
    _ghosts(axes, 37, 48, 1.0)
    _ghosts(axes, 37, 48, -0.6)
    axes.text(42.5, -1.35, "lanes past the end: mask", ha="center", fontsize=8, color=RED)
    axes.set(xlim=(-3, 49), ylim=(-1.7, 2.2))
    return figure


def distance() -> Figure:
    """Draw a small molecule with its edges, and the list that a program takes a block of."""
    from flashschnet_lab.puzzles.distance import PUZZLE

    inputs = PUZZLE.cases()[1].inputs
    positions = inputs["positions"].numpy()
    i, j = inputs["receiver"].numpy(), inputs["sender"].numpy()
    figure, (left, right) = _figure(8.5, 3.4, 2, width_ratios=(1, 1.7))
    for a, b in zip(i, j, strict=True):
        left.plot(*positions[[a, b], :2].T, color=PALE, lw=1, zorder=0)
    shown = 5
    left.plot(*positions[[i[shown], j[shown]], :2].T, color=ORANGE, lw=2.5)
    left.scatter(positions[:, 0], positions[:, 1], s=70, color=BLUE)
    for bead, (x, y) in enumerate(positions[:, :2]):
        left.text(x, y, str(bead), color="white", ha="center", va="center", fontsize=7)
    left.set_title("positions, seen along z", fontsize=10, color=INK)
    left.set_aspect("equal")
    for row, (name, values) in enumerate((("receiver i", i), ("sender j", j))):
        _cells(right, BLOCK, 1.4 - 1.2 * row, name, [str(value) for value in values[:BLOCK]])
    _cells(right, BLOCK, -1.6, "r_ij", highlight=shown)
    r = float(np.linalg.norm(positions[j[shown]] - positions[i[shown]]))
    right.text(shown + 0.5, -2.3, f"{r:.2f} Å", ha="center", fontsize=9, color=ORANGE)
    right.text(0, 2.9, "program 0 takes edges 0 to 15, program 1 the next 16, ...",
               fontsize=9, color=INK)  # fmt: skip
    right.set(xlim=(-4.2, BLOCK + 0.5), ylim=(-3, 3.6))
    return figure


def rbf() -> Figure:
    """Draw the basis functions and the matrix that is to be written."""
    from flashschnet_lab.puzzles.rbf import PUZZLE

    inputs = dict(PUZZLE.cases()[1].inputs)
    table = PUZZLE.reference(inputs).numpy()
    order = np.argsort(inputs["r_ij"].numpy())
    import torch

    r = torch.linspace(0.0, 11.0, 300)
    curves = PUZZLE.reference({**inputs, "r_ij": r}).numpy()
    figure, (left, right) = _figure(8.5, 3.0, 2, blank=False)
    for column in range(curves.shape[1]):
        left.plot(r, curves[:, column], color=BLUE if column != 6 else ORANGE, lw=1.2)
    left.axvline(inputs["cutoff"], color=INK, ls=":", lw=1)
    left.set(xlabel="r (Å)", ylabel="basis function")
    left.annotate("cutoff", (inputs["cutoff"], 0.9), ha="right", fontsize=8, color=INK)
    right.imshow(table[order], aspect="auto", cmap="Blues", interpolation="nearest")
    right.set(xlabel="function f", ylabel="edge e, sorted by r here")
    right.set_title("rbf [edges, functions]", fontsize=10, color=INK)
    return figure


def gather() -> Figure:
    """Draw rows of features that are copied to rows of edges."""
    from flashschnet_lab.puzzles.gather import PUZZLE

    inputs = PUZZLE.cases()[0].inputs
    sender, rows = inputs["sender"].numpy(), len(inputs["features"])
    shown = 12
    figure, (axes,) = _figure(7.0, 3.6, 1)
    colours = [CHAIN_COLORS[row % 6] for row in range(rows)]
    for row in range(rows):
        _row(axes, 0.0, -row, 4.0, colours[row], f"{row}")
    first = len(sender) - shown  # here senders repeat
    for place, j in enumerate(sender[first:]):
        _row(axes, 11.0, -place, 4.0, colours[j], f"edge {first + place}: j = {j}", side="right")
        axes.plot([4.1, 10.9], [-j, -place], color=colours[j], lw=1, alpha=0.8)
    axes.text(2.0, 1.1, "features [beads, channels]", ha="center", fontsize=9, color=INK)
    axes.text(13.0, 1.1, "out [edges, channels]", ha="center", fontsize=9, color=INK)
    axes.set(xlim=(-1.5, 19), ylim=(-rows - 0.5, 1.8))
    return figure


def segment_reduce() -> Figure:
    """Draw rows of values in segments, each added up into one row."""
    from flashschnet_lab.puzzles.segment_reduce import PUZZLE

    start = PUZZLE.cases()[2].inputs["row_start"].tolist()
    figure, (axes,) = _figure(7.0, 3.2, 1)
    colours = (BLUE, TEAL, ORANGE)
    for bead, (first, last) in enumerate(zip(start[:-1], start[1:], strict=True)):
        y = -2.0 - 2.6 * bead
        for edge in range(first, last):
            _row(axes, 0.0, -edge, 4.0, colours[bead], f"edge {edge}")
            axes.plot([4.1, 10.9], [-edge, y], color=colours[bead], lw=1, alpha=0.8)
        filled = colours[bead] if last > first else "white"
        _row(axes, 11.0, y, 4.0, filled, f"bead {bead}" + ("" if last > first else ": zero"),
             side="right")  # fmt: skip
    axes.text(2.0, 1.1, "values, sorted by receiver", ha="center", fontsize=9, color=INK)
    axes.text(13.0, 1.1, "out", ha="center", fontsize=9, color=INK)
    axes.text(7.5, 1.1, f"row_start = {start}", ha="center", fontsize=8, color=INK)
    axes.set(xlim=(-2.5, 18), ylim=(-9.2, 1.8))
    return figure


def convolution() -> Figure:
    """Draw what happens to a block of edges on the chip, and what comes from and goes to memory."""
    figure, (axes,) = _figure(8.5, 3.0, 1)
    steps = ("r_ij\n[16]", "rbf · C\n[16, F]", "tanh(L1 · + b1)\n[16, C]", "L2 · , × C(r)\n[16, C]",
             "× h_j\n[16, C]", "sum over\n16 edges\n[C]")  # fmt: skip
    _box(axes, -0.3, -0.25, 15.4, 2.5, "#f4f6fa", "")
    axes.text(7.3, 2.4, "on the chip: nothing of this is written to memory", ha="center",
              fontsize=9, color=INK)  # fmt: skip
    for place, text in enumerate(steps):
        _box(axes, 2.5 * place, 0.4, 2.1, 1.4, PALE, text)
        if place:
            _arrow(axes, 2.5 * place - 0.4, 1.1, 2.5 * place, 1.1)
    for place, text in ((0, "x_i, x_j"), (2, "L1, b1"), (3, "L2"), (4, "h_j: gather")):
        _arrow(axes, 2.5 * place + 1.05, -0.9, 2.5 * place + 1.05, 0.4)
        axes.text(2.5 * place + 1.05, -1.25, text, ha="center", fontsize=8, color=ORANGE)
    _arrow(axes, 14.6, 1.1, 15.9, 1.1)
    axes.text(16.0, 1.1, "m_i", va="center", fontsize=10, color=ORANGE)
    axes.text(-0.3, -2.1, "memory: a program per bead i, a block of 16 edges of its row at a time",
              fontsize=9, color=ORANGE)  # fmt: skip
    axes.set(xlim=(-0.6, 17.2), ylim=(-2.5, 2.9))
    return figure


def convolution_backward() -> Figure:
    """Draw one filter and its slope, with and without the envelope's derivative."""
    import torch

    from flashschnet_lab.puzzles import chemistry
    from flashschnet_lab.puzzles.convolution import filters
    from flashschnet_lab.puzzles.convolution_backward import PUZZLE

    inputs = chemistry.double(PUZZLE.cases()[0].inputs)
    r = torch.linspace(2.0, 11.0, 300, dtype=torch.float64, requires_grad=True)
    channel = 3
    slopes = []
    for detached in ("", "both"):
        curve = filters(r, inputs, detached=detached)[:, channel]
        slopes.append(torch.autograd.grad(curve.sum(), r)[0].numpy())
    figure, (upper, lower) = _figure(7.0, 3.6, 2, blank=False, stacked=True)
    x = r.detach().numpy()
    upper.plot(x, filters(r, inputs)[:, channel].detach().numpy(), color=BLUE)
    upper.set_ylabel(f"W(r), channel {channel}")
    lower.plot(x, slopes[0], color=BLUE, label="W'(r)")
    lower.plot(x, slopes[1], color=RED, ls="--", label="without C'(r): wrong")
    lower.set(xlabel="r (Å)", ylabel="slope (1/Å)")
    lower.legend(frameon=False, fontsize=8)
    for axes in (upper, lower):
        axes.axvline(inputs["cutoff"], color=INK, ls=":", lw=1)
        axes.axhline(0.0, color=PALE, lw=1, zorder=0)
    return figure


def tile() -> Figure:
    """Draw the matrix of pairs of a molecule, cut into tiles of 8 x 8."""
    from flashschnet_lab.puzzles.tile import PUZZLE

    inputs = PUZZLE.cases()[2].inputs
    positions = inputs["positions"].numpy()
    beads, size = len(positions), 8
    r = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    i, j = np.indices(r.shape)
    kind = np.where((r < inputs["cutoff"]) & (i < j), 2.0, np.where(i < j, 1.0, 0.0))
    from matplotlib.colors import ListedColormap

    figure, (axes,) = _figure(4.6, 4.4, 1, blank=False)
    axes.imshow(kind, cmap=ListedColormap(["white", PALE, BLUE]), interpolation="nearest")
    for edge in range(0, beads + size, size):
        axes.axhline(edge - 0.5, color=INK, lw=1)
        axes.axvline(edge - 0.5, color=INK, lw=1)
    last = -(-beads // size) * size
    axes.set(xlim=(-0.5, last - 0.5), ylim=(last - 0.5, -0.5), xlabel="bead j", ylabel="bead i")
    for row in range(last // size):
        for column in range(row, last // size):
            axes.text(column * size + 3.5, row * size + 3.5, f"({row}, {column})", ha="center",
                      va="center", fontsize=9, color=ORANGE, weight="bold")  # fmt: skip
    axes.set_title(
        "tiles (row, column); blue: pairs within the cutoff\nwhite: the other half, or no bead",
        fontsize=9,
        color=INK,
    )
    return figure


def _figure(
    width: float,
    height: float,
    panels: int,
    *,
    blank: bool = True,
    stacked: bool = False,
    width_ratios: Any = None,
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes, without ticks and frames if `blank`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    rows, columns = (panels, 1) if stacked else (1, panels)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=stacked, width_ratios=width_ratios)
    axes = list(grid.flatten())
    for one in axes:
        if blank:
            one.axis("off")
        else:
            one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _box(
    axes: Axes, x: float, y: float, width: float, height: float, colour: Any, text: str
) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor="white", lw=1))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=8, color=INK)


def _cells(
    axes: Axes,
    count: int,
    y: float,
    label: str,
    texts: list[str] | None = None,
    highlight: int | None = None,
) -> None:
    """Draw an array as a row of cells, a shade per block."""
    for cell in range(count):
        colour = ORANGE if cell == highlight else (PALE, "#c3d0ea")[cell // BLOCK % 2]
        _box(axes, cell, y, 1.0, 0.9, colour, texts[cell] if texts else "")
    axes.text(-0.4, y + 0.45, label, ha="right", va="center", fontsize=9, color=INK)


def _ghosts(axes: Axes, first: int, last: int, y: float) -> None:
    from matplotlib.patches import Rectangle

    for cell in range(first, last):
        patch = Rectangle((cell, y), 1.0, 0.9, facecolor="none", edgecolor=RED, ls=":", lw=0.8)
        axes.add_patch(patch)


def _row(
    axes: Axes, x: float, y: float, width: float, colour: Any, label: str, side: str = "left"
) -> None:
    from matplotlib.patches import Rectangle

    patch = Rectangle((x, y - 0.38), width, 0.76, facecolor=colour, edgecolor=INK, lw=0.5)
    axes.add_patch(patch)
    at, align = (x - 0.2, "right") if side == "left" else (x + width + 0.2, "left")
    axes.text(at, y, label, ha=align, va="center", fontsize=8, color=INK)


def _arrow(axes: Axes, x: float, y: float, to_x: float, to_y: float) -> None:
    axes.annotate("", (to_x, to_y), (x, y), arrowprops={"arrowstyle": "->", "color": INK})
