"""GDT-TS: how much of a chain can be laid onto the native structure, at four tolerances.

Unlike the RMSD it is not ruled by the part that is farthest off: a protein with one loose end is
still nearly native.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flashschnet_lab.analysis.structure import as_positions

CUTOFFS = (1.0, 2.0, 4.0, 8.0)
"""Angstrom."""
FEWEST = 3
"""Residues that fix a superposition."""
ROUNDS = 4


def gdt_ts(positions: Any, reference: Any, selection: np.ndarray | None = None) -> np.ndarray:
    r"""Return the global distance test, total score: 1 native, near 0 unfolded.

    .. math::
        \mathrm{GDT\_TS} = \tfrac14 (P_1 + P_2 + P_4 + P_8)

    with P_d the largest share of residues whose C-alpha beads can be brought within d angstrom of
    the native ones by one rotation and translation. Source: A. Zemla, Nucleic Acids Research 31,
    3370 (2003). Finding the largest share exactly is costly. As there, the search starts from
    superpositions of pieces of the chain and superposes anew what came close: the value is a
    lower bound, seldom more than a residue away.

    Args:
        positions: [..., beads, 3], angstrom.
        reference: [beads, 3] native positions, angstrom.
        selection: [selected] indices of the C-alpha beads; all beads without it.

    Returns:
        [...] float64 between 0 and 1 (often given in percent).

    Raises:
        ValueError: fewer than three residues.
    """
    moving, target = as_positions(positions), as_positions(reference)
    if selection is not None:
        moving, target = moving[..., selection, :], target[selection]
    if len(target) < FEWEST:
        raise ValueError(f"GDT-TS needs at least {FEWEST} residues, not {len(target)}")
    flat = moving.reshape(-1, *target.shape)  # [frames, residues, 3]
    best = np.zeros((len(CUTOFFS), len(flat)))
    for piece in _pieces(len(target)):
        start = _apart(flat, target, np.broadcast_to(piece, flat.shape[:2]))
        for row, cutoff in enumerate(CUTOFFS):
            apart = start
            for _ in range(ROUNDS):
                best[row] = np.maximum(best[row], (apart < cutoff).mean(axis=1))
                # A little farther than the cutoff: who is just outside may be drawn in.
                wide = apart < 1.3 * cutoff + 0.3  # [frames, residues]
                again = wide.sum(axis=1) >= FEWEST
                if not again.any():
                    break
                apart = np.full_like(apart, np.inf)
                apart[again] = _apart(flat[again], target, wide[again])
    return best.mean(axis=0).reshape(moving.shape[:-2])


def _pieces(residues: int) -> list[np.ndarray]:
    """Return where a search starts: all of the chain, halves, quarters, eighths, overlapping."""
    found = []
    for parts in (1, 2, 4, 8):
        length = max(FEWEST, -(-residues // parts))
        starts = {round(start) for start in np.linspace(0, residues - length, 2 * parts - 1)}
        for start in sorted(starts):
            piece = np.zeros(residues, dtype=bool)
            piece[start : start + length] = True
            found.append(piece)
    return found


def _apart(moving: np.ndarray, target: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return distances after superposing the chosen residues of each frame, [frames, residues]."""
    weight = (chosen / chosen.sum(axis=1, keepdims=True))[..., None]  # [frames, residues, 1]
    moving_centre = (weight * moving).sum(axis=1, keepdims=True)  # [frames, 1, 3]
    target_centre = (weight * target).sum(axis=1, keepdims=True)
    left, _, right = np.linalg.svd(
        (weight * (moving - moving_centre)).swapaxes(1, 2) @ (target - target_centre)
    )
    left[:, :, 2] *= np.sign(np.linalg.det(left @ right))[:, None]  # no reflection
    moved = (moving - moving_centre) @ (left @ right) + target_centre
    return np.linalg.norm(moved - target, axis=-1)
