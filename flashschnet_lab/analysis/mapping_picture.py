"""Atoms of a structure file beside the beads that stand for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flashschnet_lab.analysis.pictures import INK, viewing_rotation
from flashschnet_lab.errors import UserError
from flashschnet_lab.units import ANGSTROM_PER_NANOMETRE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEAD_COLORS = {"N": "#2f5fb3", "CA": "#30363d", "CB": "#57b894", "C": "#8c959f", "O": "#c8354f"}
ATOM_COLOR, BOND_COLOR = "#b6bec6", "#d3d9df"
LONGEST_BOND, LONGEST_BOND_TO_HYDROGEN = 1.95, 1.3  # angstrom; a C-S bond has 1.8
PANELS = {"all atoms": None, "five beads": tuple(BEAD_COLORS), "C-alpha": ("CA",)}
"""What is drawn from left to right, and the atoms that are kept there."""


def draw_mapping(path: str | Path, first: int, last: int) -> Figure:
    """Draw some residues of a structure file three times: all atoms, five beads, C-alpha only.

    Args:
        path: a PDB file with all atoms.
        first, last: residue numbers, both drawn.

    Returns:
        A matplotlib Figure of three panels, all seen from the same side.

    Raises:
        UserError: the file has no such residues.
    """
    from matplotlib.figure import Figure

    names, residues, positions = _atoms(path, first, last)
    plane = positions @ viewing_rotation(positions)
    figure = Figure(figsize=(9.0, 3.4), dpi=110, layout="constrained")
    grid: Any = figure.subplots(1, len(PANELS), sharex=True, sharey=True)
    for axes, (title, kept) in zip(grid, PANELS.items(), strict=True):
        beads = np.array([kept is not None and name in kept for name in names])
        faint = 1.0 if kept is None else 0.35
        _draw_sticks(axes, names, plane, faint)
        axes.scatter(*plane[:, :2].T, s=14, color=ATOM_COLOR, alpha=faint, zorder=2, linewidths=0)
        for name in kept or ():
            here = plane[beads & (np.array(names) == name)]
            axes.scatter(*here[:, :2].T, s=150, color=BEAD_COLORS[name], label=name, zorder=3)
        count = len(names) if kept is None else int(beads.sum())
        axes.set_title(f"{title}: {count}", color=INK, fontsize=11)
        axes.set_aspect("equal")
        axes.set_axis_off()
    grid[0].margins(y=0.12)
    _name_residues(grid[0], residues, plane)
    grid[1].legend(loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=5, frameon=False,
                   handletextpad=0.1, columnspacing=0.8, markerscale=0.6)  # fmt: skip
    return figure


def _atoms(path: str | Path, first: int, last: int) -> tuple[list[str], list[str], np.ndarray]:
    """Return atom names, residue labels and positions [atoms, 3] in angstrom."""
    import mdtraj

    trajectory = mdtraj.load_frame(str(path), 0)
    atoms = [a for a in trajectory.topology.atoms if first <= a.residue.resSeq <= last]
    if not atoms:
        raise UserError(f'"{path}" has no residues from {first} to {last}')
    rows = [atom.index for atom in atoms]
    positions = ANGSTROM_PER_NANOMETRE * trajectory.xyz[0, rows].astype(np.float64)
    labels = [f"{atom.residue.name} {atom.residue.resSeq}" for atom in atoms]
    return [atom.name for atom in atoms], labels, positions


def bonded_atoms(names: list[str], positions: np.ndarray) -> np.ndarray:
    """Return the pairs of atoms that are close enough to be bonded, [bonds, 2]."""
    light = np.array([name.lstrip("0123456789").startswith("H") for name in names])
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    longest = np.where(light[:, None] | light[None], LONGEST_BOND_TO_HYDROGEN, LONGEST_BOND)
    longest[light[:, None] & light[None]] = 0.0  # hydrogens have one bond, to a heavy atom
    return np.argwhere(np.triu(apart < longest, k=1))


def _draw_sticks(axes: Axes, names: list[str], plane: np.ndarray, faint: float) -> None:
    from matplotlib.collections import LineCollection

    lines = plane[bonded_atoms(names, plane)][:, :, :2]
    axes.add_collection(LineCollection(list(lines), colors=BOND_COLOR, linewidths=2.5, alpha=faint))


def _name_residues(axes: Axes, residues: list[str], plane: np.ndarray) -> None:
    """Write the name of each residue above or below its atoms, whichever is further outside."""
    for label in dict.fromkeys(residues):
        mine = plane[np.array(residues) == label]
        above = mine[:, 1].mean() > plane[:, 1].mean()
        edge = mine[:, 1].max() + 0.4 if above else mine[:, 1].min() - 0.4
        side = "bottom" if above else "top"
        axes.text(mine[:, 0].mean(), edge, label, ha="center", va=side, fontsize=8, color=INK)
