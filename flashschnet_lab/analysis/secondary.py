"""Helices and strands: DSSP where the beads allow it, distances between C-alpha beads elsewhere.

Five-bead models have N, C-alpha, C and O, which is all that DSSP reads (it places hydrogens itself,
opposite to the carbonyl group before): mdtraj's DSSP in its three classes is used on them. Source:
W. Kabsch and C. Sander, Biopolymers 22, 2577 (1983). A C-alpha model gets the distances of P-SEA:
G. Labesse et al., CABIOS 13, 291 (1997).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flashschnet_lab.analysis.blocks import Watch, blocks, count_frames
from flashschnet_lab.analysis.pictures import CHAIN_COLORS, INK
from flashschnet_lab.analysis.structure import as_positions, c_alpha_indices
from flashschnet_lab.simulation.store import ALL_FRAMES, Trajectory
from flashschnet_lab.units import ANGSTROM_PER_NANOMETRE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flashschnet_lab.proteins.protein import Protein

COIL, HELIX, STRAND = 0, 1, 2
NAMES = {COIL: "coil", HELIX: "helix", STRAND: "strand"}
COLORS = {HELIX: CHAIN_COLORS[5], STRAND: CHAIN_COLORS[0]}

# P-SEA: distances in angstrom from residue i to i + 2, i + 3 and i + 4, each with its tolerance.
_HELIX_STEPS = {2: (5.5, 0.5), 3: (5.3, 0.5), 4: (6.4, 0.6)}
_STRAND_STEPS = {2: (6.7, 0.6), 3: (9.9, 0.9), 4: (12.4, 1.1)}
_SHORTEST_HELIX, _SHORTEST_STRAND = 5, 3
_PARTNER = (4.2, 5.5)
"""Angstrom between C-alpha beads of neighbouring strands, and of residues across."""


@dataclass(frozen=True)
class SecondaryStructure:
    """Where a run has helices and strands.

    Attributes:
        shares: [frames, replicas, 2] share of residues in a helix and in a strand, 0 to 1; not a
            number where a conformation is none.
        profile: [residues, 2] share of conformations in which a residue is part of one.
        native: [residues] classes of the native structure, or None.
    """

    shares: np.ndarray
    profile: np.ndarray
    native: np.ndarray | None


def assign(protein: Protein, positions: Any) -> np.ndarray:
    """Return the secondary structure of every residue.

    Args:
        protein: of either mapping.
        positions: [..., beads, 3], angstrom, finite.

    Returns:
        [..., residues] int8: COIL, HELIX or STRAND.
    """
    beads = as_positions(positions)
    flat = beads.reshape(-1, *beads.shape[-2:])  # [frames, beads, 3]
    if len(flat) == 0:
        found = np.zeros((0, len(protein.residues)), dtype=np.int8)
    elif protein.mapping == "five_bead":
        found = _dssp(protein, flat)
    else:
        found = _by_distance(protein, flat[:, c_alpha_indices(protein)])
    return found.reshape(*beads.shape[:-2], len(protein.residues))


def secondary_structure(
    trajectory: Trajectory,
    frames: slice = ALL_FRAMES,
    *,
    native: Any = None,
    counted: np.ndarray | None = None,
    watch: Watch | None = None,
) -> SecondaryStructure:
    """Return the helices and strands of a trajectory, read in blocks.

    Args:
        trajectory: on disk.
        frames: which frames.
        native: [beads, 3] native structure, angstrom.
        counted: [frames, replicas] bool, conformations that the profile counts; default all.
        watch: called with the conformations done and their number.
    """
    protein, count = trajectory.protein, count_frames(trajectory, frames)
    shares = np.full((count, trajectory.replicas, 2), np.nan)
    profile, weight = np.zeros((len(protein.residues), 2)), 0
    for block in blocks(trajectory, frames, watch):
        finite = block.finite  # [frames, replicas]
        classes = assign(protein, block.positions[finite])  # [conformations, residues]
        here = np.stack([classes == HELIX, classes == STRAND], axis=-1)
        shares[block.place][finite] = here.mean(axis=1)
        kept = slice(None) if counted is None else counted[block.place][finite]
        profile += here[kept].sum(axis=0)
        weight += len(here[kept])
    return SecondaryStructure(
        shares, profile / max(1, weight), None if native is None else assign(protein, native)
    )


def secondary_picture(found: SecondaryStructure, protein: Protein, title: str = "") -> Figure:
    """Draw how often each residue is part of a helix or a strand, with the native ones below.

    Args:
        found: from `secondary_structure`.
        protein: the molecule.
        title: heading.
    """
    from matplotlib.figure import Figure

    residues = np.arange(len(protein.residues))
    figure = Figure(figsize=(6.0, 3.8), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    bottom = np.zeros(len(residues))
    for column, kind in enumerate((HELIX, STRAND)):
        share = found.profile[:, column]
        axes.bar(residues, share, 0.86, bottom, color=COLORS[kind], label=NAMES[kind], linewidth=0)
        bottom += share
        if found.native is not None:
            there = residues[found.native == kind]
            axes.bar(there, -0.05, 1.0, -0.03, color=COLORS[kind], linewidth=0)
    if found.native is not None:
        axes.text(1.01, -0.055, "native", transform=axes.get_yaxis_transform(), fontsize=8,
                  va="center", color=INK)  # fmt: skip
    axes.set_ylim(-0.1, 1.02)
    axes.set_ylabel("share of conformations", color=INK)
    if len(residues) <= 40:
        axes.set_xticks(residues, list(protein.sequence))
        axes.set_xlabel("residue", color=INK)
    else:
        axes.set_xlabel("residue, counted from 0", color=INK)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, ncols=2, loc="lower right",
                bbox_to_anchor=(1.0, 1.0))  # fmt: skip
    axes.set_xlim(-0.6, len(residues) - 0.4)
    axes.tick_params(colors=INK, labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        axes.set_title(title, color=INK, fontsize=11, loc="left")
    return figure


def _dssp(protein: Protein, beads: np.ndarray) -> np.ndarray:
    """Return the classes of five-bead conformations [frames, beads, 3] by mdtraj's DSSP."""
    import mdtraj

    from flashschnet_lab.proteins.mdtraj_io import to_mdtraj_topology

    frames = mdtraj.Trajectory(beads / ANGSTROM_PER_NANOMETRE, to_mdtraj_topology(protein))
    letters = mdtraj.compute_dssp(frames, simplified=True)  # [frames, residues]
    return np.where(letters == "H", HELIX, np.where(letters == "E", STRAND, COIL)).astype(np.int8)


def _by_distance(protein: Protein, alphas: np.ndarray) -> np.ndarray:
    """Return the classes of C-alpha conformations [frames, residues, 3]."""
    segments = np.array([residue.segment for residue in protein.residues])
    helix = _runs(alphas, segments, _HELIX_STEPS, _SHORTEST_HELIX)
    strand = _runs(alphas, segments, _STRAND_STEPS, _SHORTEST_STRAND) & ~helix
    strand = _long(strand & _has_partner(alphas), _SHORTEST_STRAND)
    return np.where(helix, HELIX, np.where(strand, STRAND, COIL)).astype(np.int8)


def _runs(
    alphas: np.ndarray, segments: np.ndarray, steps: dict[int, tuple[float, float]], shortest: int
) -> np.ndarray:
    """Return the residues [frames, residues] of pieces whose distances are all right."""
    frames, residues = alphas.shape[:2]
    found = np.zeros((frames, residues), dtype=bool)
    if residues < shortest:
        return found
    fits = {}
    for step, (length, tolerance) in steps.items():
        here = np.zeros((frames, residues), dtype=bool)
        if residues > step:
            apart = np.linalg.norm(alphas[:, step:] - alphas[:, :-step], axis=-1)
            same = segments[step:] == segments[:-step]
            here[:, :-step] = same & (np.abs(apart - length) <= tolerance)
        fits[step] = here
    for start in range(residues - shortest + 1):
        end = start + shortest
        good = np.ones(frames, dtype=bool)
        for step, here in fits.items():
            if step < shortest:
                good &= here[:, start : end - step].all(axis=1)
        found[:, start:end] |= good[:, None]
    return found


def _has_partner(alphas: np.ndarray) -> np.ndarray:
    """Return whether a residue is as close to one further along as strands are, [frames, n]."""
    apart = np.linalg.norm(alphas[:, :, None] - alphas[:, None], axis=-1)  # [frames, n, n]
    index = np.arange(alphas.shape[1])
    apart[:, np.abs(index[:, None] - index) < 4] = np.inf
    return ((apart > _PARTNER[0]) & (apart < _PARTNER[1])).any(axis=2)


def _long(chosen: np.ndarray, shortest: int) -> np.ndarray:
    """Return the chosen residues [frames, residues] in runs of at least so many."""
    kept = np.zeros_like(chosen)
    for start in range(chosen.shape[1] - shortest + 1):
        piece = slice(start, start + shortest)
        kept[:, piece] |= chosen[:, piece].all(axis=1, keepdims=True)
    return kept
