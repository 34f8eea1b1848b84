"""Molecules laid end to end: the layout on which every potential works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """How many molecules there are and how many beads each has.

    Attributes:
        sizes: beads of each molecule.
    """

    sizes: tuple[int, ...]

    @property
    def molecules(self) -> int:
        """Number of molecules (replicas count each)."""
        return len(self.sizes)

    @property
    def beads(self) -> int:
        """Beads of all molecules together."""
        return sum(self.sizes)

    def offsets(self) -> list[int]:
        """Return the first bead of each molecule."""
        return list(accumulate(self.sizes, initial=0))[:-1]

    def lay_out(self, index_lists: Sequence[Tensor]) -> Tensor:
        """Shift per-molecule bead indices [terms, k] by the offsets and join them."""
        return torch.cat([i + o for i, o in zip(index_lists, self.offsets(), strict=True)])


def sum_per_molecule(values: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the sum of consecutive runs of `values`, accumulated in float64.

    Args:
        values: [rows], the rows of each molecule one after another.
        counts: rows of each molecule; they add up to `rows`.

    Returns:
        [molecules] float64.
    """
    values = values.double()
    if len(set(counts)) == 1:
        return values.view(len(counts), counts[0]).sum(1)
    return torch.stack([part.sum() for part in values.split(list(counts))])
