"""Contact maps: how often residues touch over a run, beside those that touch in the native fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flashschnet_lab.analysis.blocks import Watch, blocks
from flashschnet_lab.analysis.pictures import CHAIN_COLORS, INK
from flashschnet_lab.analysis.structure import c_alpha_indices, distances, native_pairs
from flashschnet_lab.simulation.store import ALL_FRAMES, Trajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CUTOFF = 8.0
"""Angstrom between C-alpha beads, as for native contacts."""
PAIR_FLOATS = 2_000_000
"""Distances in memory at a time."""


@dataclass(frozen=True)
class ContactMap:
    """How often residues touch.

    Attributes:
        share: [residues, residues] share of conformations, 0 to 1; symmetric, 1 on the diagonal.
        native: [residues, residues] bool, native contacts as Q counts them (more than three
            residues apart), or None.
        cutoff: distance of C-alpha beads below which residues touch, angstrom.
        conformations: how many were counted.
    """

    share: np.ndarray
    native: np.ndarray | None
    cutoff: float
    conformations: int


def contact_map(
    trajectory: Trajectory,
    frames: slice = ALL_FRAMES,
    *,
    native: Any = None,
    counted: np.ndarray | None = None,
    cutoff: float = CUTOFF,
    watch: Watch | None = None,
) -> ContactMap:
    """Return the mean contact map of a trajectory, read in blocks.

    Args:
        trajectory: on disk.
        frames: which frames.
        native: [beads, 3] native structure, angstrom.
        counted: [frames, replicas] bool, conformations that count; default all.
        cutoff: angstrom.
        watch: called with the conformations done and their number.
    """
    alphas = c_alpha_indices(trajectory.protein)
    first, second = np.triu_indices(len(alphas), k=1)
    pairs = np.stack([alphas[first], alphas[second]], axis=-1)  # [pairs, 2]
    touching, total = np.zeros(len(pairs)), 0
    for block in blocks(trajectory, frames, watch):
        kept = block.finite if counted is None else block.finite & counted[block.place]
        positions = block.positions[kept]  # [conformations, beads, 3]
        at_once = max(1, PAIR_FLOATS // max(1, len(pairs)))
        for start in range(0, len(positions), at_once):
            piece = positions[start : start + at_once].astype(np.float64)
            touching += (distances(piece, pairs) < cutoff).sum(axis=0)
        total += len(positions)
    there = None
    if native is not None:
        touch = trajectory.protein.residue_of_bead[native_pairs(trajectory.protein, native, cutoff)]
        there = np.zeros((len(alphas), len(alphas)), dtype=bool)
        there[touch[:, 0], touch[:, 1]] = there[touch[:, 1], touch[:, 0]] = True
    share = _square(touching / max(1, total), len(alphas))
    return ContactMap(share, there, cutoff, total)


def contact_map_picture(found: ContactMap, title: str = "") -> Figure:
    """Draw a contact map: shares as colours, native contacts as dots in the lower right half.

    Args:
        found: from `contact_map`.
        title: heading.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 4.3), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    count = len(found.share)
    colormap = LinearSegmentedColormap.from_list("contacts", ["#f4f6f8", "#9db8e0", "#1d3f80"])
    edges = np.arange(count + 1) - 0.5
    mesh = axes.pcolormesh(edges, edges, found.share, cmap=colormap, vmin=0.0, vmax=1.0)
    bar = figure.colorbar(mesh, ax=axes)
    bar.set_label(f"share of conformations within {found.cutoff:g} Å", color=INK)
    bar.ax.tick_params(colors=INK, labelsize=9)
    if found.native is not None:
        row, column = np.nonzero(np.tril(found.native, k=-1))
        size = max(1.0, 60.0 / count)
        axes.plot(row, column, "o", color=CHAIN_COLORS[4], markersize=size, markeredgewidth=0,
                  label="native contact")  # fmt: skip
        axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="lower right",
                    bbox_to_anchor=(1.0, 1.0))  # fmt: skip
    axes.set_aspect("equal")
    axes.set_xlabel("residue, counted from 0", color=INK)
    axes.set_ylabel("residue, counted from 0", color=INK)
    axes.tick_params(colors=INK, labelsize=9)
    if title:
        axes.set_title(title, color=INK, fontsize=11, loc="left")
    return figure


def _square(values: np.ndarray, count: int) -> np.ndarray:
    """Return values of the pairs above the diagonal as a symmetric matrix, 1 on the diagonal."""
    matrix = np.eye(count)
    first, second = np.triu_indices(count, k=1)
    matrix[first, second] = matrix[second, first] = values
    return matrix
