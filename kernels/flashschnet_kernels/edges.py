"""Directed edges in compressed rows: who receives from whom."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Edges:
    """Both directions of every pair of neighbours, sorted by receiver, then by sender.

    Attributes:
        receiver: [edges] integer, ascending.
        sender: [edges] integer, ascending among the edges of one receiver.
        row_start: [beads + 1] integer; the edges of receiver i are row_start[i] to row_start[i+1].
        reverse: [edges] integer, where the opposite edge of each edge lies. The edges *from* bead j
            are therefore `reverse` of its row, which is the list by source.
    """

    receiver: Tensor
    sender: Tensor
    row_start: Tensor
    reverse: Tensor

    @property
    def beads(self) -> int:
        """Number of rows."""
        return self.row_start.shape[0] - 1

    def pairs(self) -> Tensor:
        """Return [2, pairs], each unordered pair once with i < j, sorted by i, then j."""
        once = self.receiver < self.sender
        return torch.stack((self.receiver[once], self.sender[once]))


def edges_from_pairs(pairs: Tensor, beads: int) -> Edges:
    """Return the edges of unordered pairs, by sorting (the definition).

    Args:
        pairs: [2, pairs] int64, each unordered pair once, no self pairs.
        beads: number of beads.

    Returns:
        All indices int64, on the device of `pairs`.
    """
    receiver = torch.cat((pairs[0], pairs[1]))
    sender = torch.cat((pairs[1], pairs[0]))
    order = torch.argsort(receiver * beads + sender)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    opposite = torch.cat((place[pairs.shape[1] :], place[: pairs.shape[1]]))  # of unsorted edges
    row_start = torch.zeros(beads + 1, dtype=torch.int64, device=pairs.device)
    row_start[1:] = torch.bincount(receiver, minlength=beads).cumsum(0)
    return Edges(receiver[order], sender[order], row_start, opposite[order])
