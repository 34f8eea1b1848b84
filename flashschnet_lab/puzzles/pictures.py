"""Where an output differs from what it should be, and which program wrote what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from flashschnet_lab.analysis.pictures import CHAIN_COLORS, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, GREY = CHAIN_COLORS[0], CHAIN_COLORS[5], "#b8bfc8"


def difference_picture(
    found: np.ndarray,
    expected: np.ndarray,
    wrong: np.ndarray,
    writer: np.ndarray,
    axes_names: tuple[str, ...],
    title: str,
    outside: int = 0,
) -> Figure:
    """Draw an output beside the expected one, its wrong elements, and who wrote it.

    Args:
        found: the output, NaN where nobody wrote.
        expected: of the same shape, one or two axes.
        wrong: [as found] which elements are off.
        writer: [as found] number of the program that wrote last; -1 for nobody.
        axes_names: what the axes count.
        title: heading.
        outside: elements that were written past the end.
    """
    from matplotlib.figure import Figure

    flat = found.ndim == 1
    figure = Figure(figsize=(8.6, 2.9), dpi=110, layout="constrained")
    if flat:
        left, right = figure.subplots(1, 2, width_ratios=(2.4, 1))
        _line(left, found, expected, wrong, axes_names[0])
    else:
        first, second, third, right = figure.subplots(1, 4)
        limit = float(np.abs(expected).max(initial=0.0)) or 1.0
        for axes, values, name in ((first, expected, "expected"), (second, found, "yours")):
            axes.imshow(values, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit,
                        interpolation="nearest")  # fmt: skip
            _frame(axes, name, axes_names)
        _mask(third, wrong, axes_names)
    _writers(right, writer, axes_names, outside)
    figure.suptitle(title, fontsize=10, color=INK)
    return figure


def _line(
    axes: Axes, found: np.ndarray, expected: np.ndarray, wrong: np.ndarray, name: str
) -> None:
    place = np.arange(len(expected))
    axes.step(place, expected, where="mid", color=GREY, lw=1.5, label="expected")
    limit = 3.0 * (float(np.abs(expected).max(initial=0.0)) or 1.0)
    seen = np.clip(np.nan_to_num(found), -limit, limit)
    written = ~np.isnan(found)
    axes.plot(place[~wrong], seen[~wrong], "o", ms=4, color=BLUE, label="yours, right")
    bad = wrong & written
    clipped = np.abs(seen) == limit
    axes.plot(place[bad], seen[bad], "x", ms=5, color=RED, label="yours, wrong")
    axes.plot(place[bad & clipped], seen[bad & clipped], "^", ms=5, color=RED)
    axes.plot(
        place[~written],
        seen[~written],
        "o",
        ms=4,
        mfc="none",
        color=RED,
        label="yours, not a number",
    )
    axes.set_xlabel(name, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _mask(axes: Axes, wrong: np.ndarray, names: tuple[str, ...]) -> None:
    from matplotlib.colors import ListedColormap

    axes.imshow(wrong, aspect="auto", cmap=ListedColormap([BLUE, RED]), vmin=0, vmax=1,
                interpolation="nearest")  # fmt: skip
    _frame(axes, "red: wrong", names)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        axes.plot(column, row, "s", ms=9, mfc="none", mec="white", mew=1.5)


def _writers(axes: Axes, writer: np.ndarray, names: tuple[str, ...], outside: int) -> None:
    """Draw the number of the program that wrote each element, and what lies past the end."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Rectangle

    matrix = writer if writer.ndim == 2 else writer[:, None]
    colours = ["white", *(CHAIN_COLORS[n % 6] for n in range(max(1, int(writer.max()) + 1)))]
    axes.imshow(matrix, aspect="auto", cmap=ListedColormap(colours), vmin=-1,
                vmax=max(0, int(writer.max())), interpolation="nearest")  # fmt: skip
    _frame(axes, "written by program", (names[0], names[1] if len(names) > 1 else ""))
    if writer.ndim == 1:
        axes.set_xticks([])
    if outside:
        rows, columns = matrix.shape
        height = max(rows / 8, -(-outside // columns))
        axes.add_patch(Rectangle((-0.5, rows - 0.5), columns, height, facecolor=RED, hatch="//"))
        axes.set_ylim(rows - 0.5 + height, -0.5)
        text = f"{outside} past the end"
        axes.text(columns / 2 - 0.5, rows - 0.5 + height / 2, text, color="white", fontsize=8,
                  ha="center", va="center")  # fmt: skip
    for program in range(min(8, int(writer.max()) + 1)):
        places = np.argwhere(matrix == program)
        if len(places):
            row, column = places[len(places) // 2]
            column = column if writer.ndim == 1 else matrix.shape[1] // 2
            axes.text(column, row, str(program), color="white", fontsize=8, ha="center",
                      va="center")  # fmt: skip


def _frame(axes: Axes, title: str, names: tuple[str, ...]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(title, fontsize=8, color=INK)
    axes.set_ylabel(names[0], fontsize=8)
    axes.set_xlabel(names[1], fontsize=8)
    axes.tick_params(labelsize=7)
