"""Still pictures: a protein chain seen from its best side, and the course of a run.

The figures are plain matplotlib `Figure` objects made without pyplot: they need no display, leave
no state behind and may be drawn from any thread. Save one with `figure.savefig("picture.png")`;
a notebook shows it by itself after `%matplotlib inline`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from flashschnet_lab.analysis.structure import as_positions, c_alpha_indices, superpose

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from flashschnet_lab.proteins.protein import Protein

CHAIN_COLORS = ("#2f5fb3", "#2a9db0", "#57b894", "#e3b341", "#e8743b", "#c8354f")
"""Along the chain, from the N terminus (blue) to the C terminus (red)."""

REPLICA_COLORS = ("#2f5fb3", "#e8743b", "#3c9d72", "#b04a8f", "#c99a1d", "#4ba3c7")
"""Of single replicas, in every panel of a run."""

INK = "#30363d"
SIDE_CHAIN = (0.67, 0.71, 0.75)  # red, green, blue
WHITE = np.ones(3)
TUBE_DIAMETER = 1.9  # angstrom, as drawn
RIM_DEPTH = 2.5  # angstrom
POINTS_PER_RESIDUE = 12
MOST_CONFORMATIONS = 6


def draw(protein: Protein, positions: Any = None, title: str = "") -> Figure:
    """Draw one conformation: the C-alpha trace as a tube, blue at the N and red at the C terminus.

    The view is along the direction in which the molecule is thinnest; near parts are wide and
    strong, far parts narrow and pale. Side chains of 5-bead models are grey pins.

    Args:
        protein: the molecule.
        positions: [beads, 3], angstrom; the protein's own without it.
        title: heading above the picture.

    Returns:
        A matplotlib Figure.
    """
    from matplotlib.figure import Figure

    beads = as_positions(protein.positions if positions is None else positions)
    beads = beads @ viewing_rotation(beads[c_alpha_indices(protein)])
    figure = Figure(figsize=(5.6, 4.2), dpi=144, layout="constrained")
    axes = figure.add_subplot()
    _draw_chain(axes, protein, beads, frame=beads)
    if title:
        axes.set_title(title, color=INK, fontsize=11)
    return figure


def run_picture(
    times_ps: np.ndarray,
    potential_energy: np.ndarray,
    temperature: np.ndarray,
    rmsd: np.ndarray | None,
    protein: Protein,
    final_positions: Any,
    title: str,
) -> Figure:
    """Draw a run on one page: RMSD, energy and temperature over time, and how the replicas ended.

    Args:
        times_ps: [frames], picoseconds.
        potential_energy: [frames, replicas], kcal/mol.
        temperature: [frames, replicas], kelvin.
        rmsd: [frames, replicas] C-alpha RMSD, angstrom; None leaves the panel out.
        protein: the molecule.
        final_positions: [replicas, beads, 3], angstrom; the first six are drawn, in one view.
        title: heading of the page.

    Returns:
        A matplotlib Figure: one axes for each series, then one for each conformation.
    """
    from matplotlib.figure import Figure

    panels = [
        ("Cα RMSD (Å)", rmsd),
        ("potential energy\n(kcal/mol)", potential_energy),
        ("temperature (K)", temperature),
    ]
    shown = [(label, values) for label, values in panels if values is not None]
    figure = Figure(figsize=(11.0, 6.0), dpi=144, layout="constrained")
    figure.suptitle(title, color=INK, fontsize=13, fontweight="bold")
    halves: Any = figure.subfigures(1, 2, width_ratios=(1.2, 1.0))
    left, right = halves
    rows = left.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, values) in zip(rows, shown, strict=True):
        plot_series(axes, times_ps, values, label)
    rows[0].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=6, **_LEGEND)
    rows[-1].set_xlabel("time (ps)", color=INK)
    _draw_conformations(right, protein, final_positions, None if rmsd is None else rmsd[-1])
    return figure


def plot_series(
    axes: Axes,
    times_ps: np.ndarray,
    values: np.ndarray,
    label: str,
    names: Sequence[str] | None = None,
) -> None:
    """Plot a quantity of all replicas over time: lines for up to six, otherwise mean and spread.

    Args:
        axes: the matplotlib axes to draw on.
        times_ps: [frames], picoseconds.
        values: [frames, replicas]; frames that are not finite (a stopped replica) leave a gap.
        label: name and unit, for the vertical axis.
        names: of the replicas, for a legend; default "replica 0" and so on.
    """
    values = np.ma.masked_invalid(values)
    replicas = values.shape[1]
    if replicas <= len(REPLICA_COLORS):
        for index in range(replicas):
            color = REPLICA_COLORS[index]
            name = f"replica {index}" if names is None else names[index]
            axes.plot(times_ps, values[:, index], color=color, linewidth=1.2, label=name)
    else:
        low, high = np.nanpercentile(values.filled(np.nan), (5, 95), axis=1)
        name = f"90 % of {replicas} replicas"
        axes.fill_between(times_ps, low, high, color="#c9d8f0", linewidth=0, label=name)
        axes.plot(times_ps, values.mean(axis=1), color=CHAIN_COLORS[0], label="mean")
    axes.set_ylabel(label, color=INK)
    axes.margins(x=0.01)
    axes.grid(color="#e6eaee", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#9aa4ae")


_LEGEND: dict[str, Any] = {
    "frameon": False,
    "fontsize": 8,
    "labelcolor": INK,
    "handlelength": 1.2,
    "columnspacing": 1.2,
}


def viewing_rotation(positions: np.ndarray) -> np.ndarray:
    """Return the rotation that shows a shape from its broadest side.

    Args:
        positions: [points, 3].

    Returns:
        [3, 3], columns right, up and towards the eye: the first point comes to lie on the left.
        It is a proper rotation, so that helices keep their hand.
    """
    centred = positions - positions.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=True)  # rows, broadest first
    right = -directions[0] if centred[0] @ directions[0] > 0 else directions[0]
    up = -directions[1] if centred[0] @ directions[1] > 0 else directions[1]
    return np.stack([right, up, np.cross(right, up)], axis=1)


def _draw_conformations(
    page: Any, protein: Protein, final_positions: Any, final_rmsd: np.ndarray | None
) -> None:
    """Draw the last conformations side by side, superposed and seen alike, on one scale."""
    alphas = c_alpha_indices(protein)
    reference = as_positions(protein.positions)
    beads = superpose(final_positions, reference, alphas)[:MOST_CONFORMATIONS]
    beads = beads @ viewing_rotation(reference[alphas])  # [shown, beads, 3]
    columns = min(2, len(beads))
    grid = page.subplots(-(-len(beads) // columns), columns, squeeze=False).ravel()
    for index, (axes, conformation) in enumerate(zip(grid, beads, strict=False)):
        _draw_chain(axes, protein, conformation, beads.reshape(-1, 3), scale_bar=index == 0)
        ending = "" if final_rmsd is None else f" · {final_rmsd[index]:.1f} Å"
        color = REPLICA_COLORS[index] if len(final_positions) <= len(REPLICA_COLORS) else INK
        axes.set_title(f"replica {index}{ending}", color=color, fontsize=9)
    for axes in grid[len(beads) :]:
        axes.remove()


def _draw_chain(
    axes: Axes, protein: Protein, beads: np.ndarray, frame: np.ndarray, scale_bar: bool = True
) -> None:
    """Draw beads [beads, 3] (right, up, towards the eye) in a window that holds frame [n, 3]."""
    from matplotlib.collections import LineCollection

    axes.set_axis_off()
    axes.set_aspect("equal")
    low, high = frame[:, :2].min(axis=0) - 3.0, frame[:, :2].max(axis=0) + 3.0
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    window = axes.get_window_extent()
    points = min(window.width / (high - low)[0], window.height / (high - low)[1])  # per angstrom
    points *= 72.0 / axes.figure.dpi
    tube = float(np.clip(TUBE_DIAMETER * points, 1.0, 14.0))

    strokes = _tube(protein, beads, tube) + _side_chains(protein, beads, 0.35 * tube)
    strokes.sort(key=lambda stroke: stroke.depth)
    collection = LineCollection(
        [stroke.line for stroke in strokes],
        colors=[stroke.color for stroke in strokes],
        linewidths=[stroke.width for stroke in strokes],
        capstyle="round",
        joinstyle="round",
    )
    axes.add_collection(collection)
    _label_ends(axes, protein, beads)
    if scale_bar:
        _scale_bar(axes, low, high[0] - low[0])


class _Stroke(NamedTuple):
    """A short line of one colour and width."""

    depth: float  # angstrom, grows towards the eye
    line: np.ndarray  # [points, 2]
    color: np.ndarray  # [3]
    width: float  # points


def _tube(protein: Protein, beads: np.ndarray, width: float) -> list[_Stroke]:
    """Return the C-alpha trace as strokes, wide and strong near the eye."""
    from matplotlib.colors import LinearSegmentedColormap

    colormap = LinearSegmentedColormap.from_list("chain", CHAIN_COLORS)
    alphas = c_alpha_indices(protein)
    segments = np.array([protein.residues[i].segment for i in protein.residue_of_bead[alphas]])
    place = np.linspace(0.0, 1.0, len(alphas))  # along the chain
    strokes = []
    for segment in np.unique(segments):
        here = segments == segment
        curve = smooth_curve(np.column_stack([beads[alphas[here]], place[here]]))  # [points, 4]
        nearness = _nearness(curve[:, 2], beads[:, 2])
        colors = _fade(colormap(curve[:, 3])[:, :3], nearness)
        for start in range(len(curve) - 1):
            depth, line = curve[start, 2], curve[start : start + 2, :2]
            thick = width * (0.7 + 0.5 * nearness[start])
            strokes.append(_Stroke(depth, line, colors[start], thick))
            # A white rim a little further back parts crossing strands, but not the tube itself.
            strokes.append(_Stroke(depth - RIM_DEPTH, line, WHITE, 1.5 * thick))
    return strokes


def _side_chains(protein: Protein, beads: np.ndarray, width: float) -> list[_Stroke]:
    """Return the pins from C-alpha to C-beta; a C-alpha model has none."""
    names, residues = np.array(protein.bead_names), protein.residue_of_bead
    colors = _fade(np.tile(SIDE_CHAIN, (len(beads), 1)), _nearness(beads[:, 2], beads[:, 2]))
    strokes = []
    for beta in np.flatnonzero(names == "CB"):
        alpha = np.flatnonzero((names == "CA") & (residues == residues[beta]))[0]
        ends = beads[[alpha, beta]]
        strokes.append(_Stroke(ends[:, 2].mean(), ends[:, :2], colors[beta], width))
    return strokes


def smooth_curve(points: np.ndarray, steps: int = POINTS_PER_RESIDUE) -> np.ndarray:
    """Return a Catmull-Rom spline through points [n, d], [(n - 1) * steps + 1, d]."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    before, start, end, after = (padded[k : len(padded) - 3 + k, None] for k in range(4))
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[:, None]  # [steps, 1]
    curve = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )  # [n - 1, steps, d]
    return np.concatenate([curve.reshape(-1, points.shape[1]), points[-1:]])


def _nearness(depth: np.ndarray, all_depths: np.ndarray) -> np.ndarray:
    """Return 0 for the farthest and 1 for the nearest part of the molecule."""
    low, high = all_depths.min(), all_depths.max()
    return np.clip((depth - low) / max(high - low, 1e-6), 0.0, 1.0)


def _fade(colors: np.ndarray, nearness: np.ndarray) -> np.ndarray:
    """Return colors [n, 3] mixed with white where they are far away."""
    mist = 0.45 * (1.0 - nearness)[:, None]
    return colors * (1.0 - mist) + mist


def _label_ends(axes: Axes, protein: Protein, beads: np.ndarray) -> None:
    """Write N and C beside the two ends of the chain, outwards from the middle."""
    alphas = beads[c_alpha_indices(protein), :2]
    for letter, end, color in (("N", 0, CHAIN_COLORS[0]), ("C", -1, CHAIN_COLORS[-1])):
        outward = alphas[end] - alphas.mean(axis=0)
        offset = 15.0 * outward / max(np.linalg.norm(outward), 1e-6)  # points
        _note(axes, letter, alphas[end], offset, color=color, fontweight="bold", fontsize=10)


def _scale_bar(axes: Axes, corner: np.ndarray, window: float) -> None:
    """Draw a bar of 5, 10 or 20 angstrom at the lower left corner [2] of the window."""
    length = 5 if window < 40.0 else 10 if window < 100.0 else 20
    bar = corner + np.array([[0.0, 0.0], [length, 0.0]])
    axes.plot(*bar.T, color=INK, linewidth=1.5, clip_on=False)
    _note(axes, f"{length} Å", bar.mean(axis=0), np.array([0.0, 6.0]), color=INK, fontsize=7)


def _note(axes: Axes, text: str, place: np.ndarray, offset: np.ndarray, **style: Any) -> None:
    """Write text at an offset in points from a place [2], legible on any ground."""
    from matplotlib.patheffects import withStroke

    note = axes.annotate(text, (*place,), (*offset,), textcoords="offset points", **style)
    note.set(ha="center", va="center", path_effects=[withStroke(linewidth=2.5, foreground="w")])
