"""All-pairs neighbour search over a batch of molecules, in plain PyTorch (the definition)."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS_PER_BLOCK = 2048
"""Beads searched at once against the rest of their molecule: bounds the memory of a search."""


def pairs_within(positions: Tensor, molecule_sizes: tuple[int, ...], cutoff: float) -> Tensor:
    """Return every unordered pair of beads of one molecule closer than the cutoff.

    No neighbour is ever left out: the result has as many columns as there are pairs.

    Args:
        positions: [beads, 3], the molecules laid end to end.
        molecule_sizes: beads of each molecule; they add up to `beads`.
        cutoff: in the unit of the positions.

    Returns:
        [2, pairs] int64 with i < j, sorted by i, then j. Not differentiable.

    Raises:
        RuntimeError: the sizes do not add up to the beads.
    """
    positions = positions.detach()
    if len(set(molecule_sizes)) == 1:
        molecules = positions.view(len(molecule_sizes), molecule_sizes[0], 3)
        return _equal_molecules(molecules, cutoff)
    found, first = [], 0
    for molecule in positions.split(list(molecule_sizes)):
        found.append(_equal_molecules(molecule[None], cutoff) + first)
        first += len(molecule)
    return torch.cat(found, dim=1)


def _equal_molecules(positions: Tensor, cutoff: float) -> Tensor:
    molecules, beads, _ = positions.shape
    index = torch.arange(beads, device=positions.device)
    blocks = []
    for start in range(0, beads, ROWS_PER_BLOCK):
        rows = index[start : start + ROWS_PER_BLOCK]
        r_ij = positions[:, None, start:, :] - positions[:, rows, None, :]  # [R, rows, rest, 3]
        near = (r_ij * r_ij).sum(-1) < cutoff * cutoff
        near &= index[start:][None, :] > rows[:, None]
        molecule, i, j = near.nonzero(as_tuple=True)
        blocks.append(torch.stack((i, j)) + (start + molecule * beads))
    pairs = torch.cat(blocks, dim=1)
    if len(blocks) > 1 and molecules > 1:
        pairs = pairs[:, torch.argsort(pairs[0], stable=True)]
    return pairs
