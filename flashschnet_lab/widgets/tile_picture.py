"""One tile of a convolution as a picture: the pairs, the molecule, the chip, the bytes so far.

A figure is made once and then changed from tile to tile, which takes a tenth of the time that a new
one takes. It is a bare matplotlib `Figure`: any single thread may draw it.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from flashschnet_lab.analysis.pictures import CHAIN_COLORS, INK, viewing_rotation
from flashschnet_lab.measure.tile_walk import ROOM, TileWalk, on_chip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from flashschnet_lab.measure.tile_walk import OnChip

ROW_COLOR, COLUMN_COLOR, MADE_COLOR = CHAIN_COLORS[0], CHAIN_COLORS[4], CHAIN_COLORS[3]
PALE, GREY = "#d5def0", "#9aa4ae"
KINDS = ("too far apart", "neighbours, still to come", "done", "wasted", "in work")
KIND_COLORS = ("#ffffff", PALE, "#7f9fd6", "#ece7e1", COLUMN_COLOR)
GPU = "H200"

ITEMS = (
    ("weights", "weights\nof the filters", ROW_COLOR),
    ("rows", "row beads:\nfeatures, sums", ROW_COLOR),
    ("arriving", "column beads,\ndistances", COLUMN_COLOR),
    ("made", "basis, hidden\nlayer, filters", MADE_COLOR),
    ("leaving", "sums of the\ncolumn beads", COLUMN_COLOR),
)
"""What a program has on the chip: name in `OnChip`, label, colour."""

FATES = (
    (ROW_COLOR, "stays for all tiles of the row"),
    (COLUMN_COLOR, "comes or goes with the tile"),
    ("#b8860b", "made, used twice, thrown away"),
)


class TilePicture:
    """A figure with four panels that shows any tile of a walk.

    Attributes:
        figure: the matplotlib Figure.
    """

    def __init__(self, positions: np.ndarray, walk: TileWalk, dpi: int = 80) -> None:
        """Prepare the figure.

        Args:
            positions: [beads, 3], angstrom.
            walk: over the tiles of these beads.
            dpi: dots per inch; the figure is 11 x 5.6 inches.
        """
        from matplotlib.figure import Figure

        beads = np.asarray(positions, dtype=np.float64)
        self._beads = (beads @ viewing_rotation(beads))[:, :2]
        self.figure: Figure = Figure(figsize=(11.0, 5.6), dpi=dpi)
        grid = self.figure.add_gridspec(
            2, 3, width_ratios=(1.45, 1.0, 1.0), height_ratios=(1.0, 0.42), left=0.055, right=0.985,
            top=0.86, bottom=0.1, wspace=0.3, hspace=0.5,
        )  # fmt: skip
        self._title = self.figure.text(0.055, 0.94, "", color=INK, fontsize=12, fontweight="bold")
        self._pairs = self.figure.add_subplot(grid[:, 0])
        self._molecule = self.figure.add_subplot(grid[0, 1])
        self._chip = self.figure.add_subplot(grid[0, 2])
        self._bytes = self.figure.add_subplot(grid[1, 1:])
        self._set_up_molecule()
        self._set_up(walk)

    def show(self, walk: TileWalk, step: int) -> Figure:
        """Draw one tile, and what came before it; another walk than before is set up first.

        Args:
            walk: over the tiles of the same beads.
            step: number of the tile, from 0; a walk without tiles has none and shows that.
        """
        if walk is not self._walk:
            self._set_up(walk)
        kinds = pair_kinds(walk, step)
        self._image.set_data(_colors()[kinds])
        if walk.tiles == 0:
            self._title.set_text(f"no pair within {walk.cutoff:g} Å: nothing to do")
            return self.figure
        rows = walk.bead_range(int(walk.row[step]))
        columns = walk.bead_range(int(walk.column[step]))
        self._tile.set_bounds(columns[0], rows[0], *(np.diff(columns)), *(np.diff(rows)))
        self._band.set_bounds(0, rows[0], walk.beads, *np.diff(rows))
        pairs = walk.neighbours(step)
        self._lines.set_segments(self._beads[pairs])
        self._row_beads.set_offsets(self._beads[slice(*rows)])
        self._column_beads.set_offsets(self._beads[slice(*columns)])
        self._title.set_text(
            f"tile {step + 1} of {walk.tiles}: beads {rows[0]} to {rows[1] - 1} (blue) and "
            f"{columns[0]} to {columns[1] - 1} (orange), {len(pairs)} pairs within "
            f"{walk.cutoff:g} Å"
        )
        self._show_bytes(walk, step)
        return self.figure

    def png(self, walk: TileWalk, step: int) -> bytes:
        """Return the same as the bytes of a PNG file."""
        buffer = io.BytesIO()
        self.show(walk, step).savefig(buffer, format="png")
        return buffer.getvalue()

    def _set_up(self, walk: TileWalk) -> None:
        """Make the panels that depend on the size of tiles and on the cutoff."""
        self._walk = walk
        self._set_up_pairs(walk)
        _draw_chip(self._chip, on_chip(walk.shape, walk.side))
        self._set_up_bytes(walk)

    def _set_up_pairs(self, walk: TileWalk) -> None:
        from matplotlib.patches import Patch, Rectangle

        axes = self._pairs
        axes.clear()
        extent = (0, walk.beads, walk.beads, 0)
        self._image = axes.imshow(
            np.ones((walk.beads, walk.beads, 3)), extent=extent, interpolation="nearest"
        )
        if walk.side * 40 > walk.beads:  # finer lines would hide what lies under them
            places = np.arange(0, walk.beads, walk.side)
            axes.hlines(places, 0, walk.beads, color="#e6eaee", linewidth=0.4)
            axes.vlines(places, 0, walk.beads, color="#e6eaee", linewidth=0.4)
        off = (-1, -1)
        self._band: Any = axes.add_patch(
            Rectangle(off, 0, 0, facecolor=ROW_COLOR, alpha=0.13, edgecolor="none")
        )
        self._tile: Any = axes.add_patch(
            Rectangle(off, 0, 0, fill=False, edgecolor=INK, linewidth=1.6)
        )
        axes.set_xlim(0, walk.beads)
        axes.set_ylim(walk.beads, 0)
        _label(axes, "which pairs", "bead of the columns", "bead of the rows")
        handles = [
            Patch(facecolor=color, edgecolor=GREY, linewidth=0.4, label=label)
            for color, label in list(zip(KIND_COLORS, KINDS, strict=True))[1:]
        ]
        axes.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=4,
            frameon=False, fontsize=7.5, handlelength=1.0, columnspacing=0.9, labelcolor=INK,
        )  # fmt: skip

    def _set_up_molecule(self) -> None:
        from matplotlib.collections import LineCollection

        axes, beads = self._molecule, self._beads
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.plot(*beads.T, color="#c4cad1", linewidth=1.0, zorder=1)
        lines = LineCollection([], colors=COLUMN_COLOR, linewidths=0.6, alpha=0.45, zorder=2)
        self._lines: Any = axes.add_collection(lines)
        axes.scatter(beads[:, 0], beads[:, 1], s=7, color="#c4cad1", zorder=1)
        self._column_beads = axes.scatter([], [], s=26, color=COLUMN_COLOR, zorder=3)
        self._row_beads = axes.scatter([], [], s=26, color=ROW_COLOR, zorder=4)
        axes.set_title("where they are", color=INK, fontsize=10, loc="left")
        low, high = beads.min(0) - 2.0, beads.max(0) + 2.0
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(low[1], high[1])

    def _set_up_bytes(self, walk: TileWalk) -> None:
        axes = self._bytes
        axes.clear()
        self._bars = axes.barh([0, 1], [1.0, 1.0], color=[ROW_COLOR, GREY], height=0.62)
        self._amounts = [axes.text(1.0, place, "", va="center", fontsize=9) for place in (0, 1)]
        axes.set_yticks([0, 1], ["tiles", "baseline"])
        axes.set_ylim(1.6, -0.6)
        axes.set_xscale("log")
        axes.set_xlim(1e3, 30.0 * max(1e5, walk.baseline_bytes))
        _label(axes, "bytes in and out of the chip so far, for the same pairs", "bytes", "")

    def _show_bytes(self, walk: TileWalk, step: int) -> None:
        moved = (int(walk.bytes_so_far[step]), int(walk.baseline_bytes_so_far[step]))
        for bar, text, amount in zip(self._bars, self._amounts, moved, strict=True):
            bar.set_width(amount)
            text.set_position((1.15 * amount, text.get_position()[1]))
            text.set_text(readable(amount))


def pair_kinds(walk: TileWalk, step: int) -> np.ndarray:
    """Return what each pair of beads is at a tile, [beads, beads] int, an index of `KINDS`.

    A pair that is done is so both ways round: its filter served both.
    """
    kinds = walk.near.astype(np.int64)  # [beads, beads], 0 or 1
    for before in range(min(step + 1, walk.tiles)):
        rows = slice(*walk.bead_range(int(walk.row[before])))
        columns = slice(*walk.bead_range(int(walk.column[before])))
        near, far = (2, 3) if before < step else (4, 3)
        kinds[rows, columns] = np.where(walk.near[rows, columns], near, far)
        if walk.row[before] != walk.column[before]:
            mirrored = kinds[columns, rows]
            mirrored[walk.near[columns, rows]] = 2
    return kinds


def readable(amount: float) -> str:
    """Return an amount of bytes with a unit, such as "195 kB"."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if amount >= 0.9995 * size:
            return f"{amount / size:.3g} {unit}"
    return f"{amount:.0f} B"


def _draw_chip(axes: Axes, chip: OnChip) -> None:
    """Draw what a program has on the chip during a tile, beside the room that there is."""
    axes.clear()
    amounts = [getattr(chip, name) / 1024 for name, _, _ in ITEMS]
    places = range(len(ITEMS))
    axes.barh(places, amounts, color=[color for _, _, color in ITEMS], height=0.66)
    for place, amount in zip(places, amounts, strict=True):
        axes.text(amount, place, f" {amount:.3g}", va="center", fontsize=8, color=INK)
    axes.set_yticks(places, [label for _, label, _ in ITEMS])
    axes.set_ylim(len(ITEMS) - 0.4, -0.6)
    axes.set_xlim(0, 1.25 * max(amounts))
    room, total = ROOM[GPU] / 1024, chip.total / 1024
    verdict = "fits" if total <= room else "does not fit"
    color = INK if total <= room else CHAIN_COLORS[5]
    _label(axes, f"on the chip: {total:.0f} of {room:.0f} KB, {verdict}", "KB", "")
    axes.title.set_color(color)
    axes.tick_params(axis="y", labelsize=7.5)
    for line, (color, fate) in enumerate(FATES):
        axes.text(
            1.0, 0.73 - 0.085 * line, fate, transform=axes.transAxes, ha="right", color=color,
            fontsize=7, fontweight="bold",
        )  # fmt: skip


def _label(axes: Axes, title: str, horizontal: str, vertical: str) -> None:
    axes.set_title(title, color=INK, fontsize=10, loc="left")
    axes.set_xlabel(horizontal, color=INK, fontsize=8.5)
    axes.set_ylabel(vertical, color=INK, fontsize=8.5)
    axes.tick_params(colors=INK, labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)


def _colors() -> np.ndarray:
    """Return red, green and blue of every kind of pair, [kinds, 3]."""
    from matplotlib.colors import to_rgb

    return np.array([to_rgb(color) for color in KIND_COLORS])
