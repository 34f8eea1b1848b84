"""Where the pieces of a table lie: a smooth map from distance to a coordinate counting pieces."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Knots:
    """The coordinate s(r) of a table: piece k holds the distances with k - 1/2 <= s < k + 1/2.

    s(r) = pieces u(r) - 1/2, with u = r / cutoff, or (1 - exp(-stretch r)) / (1 - exp(-stretch
    cutoff)) for a stretch above 0, which makes pieces short where beads are close. The pieces cover
    every distance from 0 to the cutoff; one more, all zero, belongs to what lies beyond.

    Attributes:
        pieces: number of pieces.
        stretch: per angstrom, not negative.
        cutoff: in angstrom.

    Raises:
        ValueError: numbers that make no table.
    """

    pieces: int
    stretch: float
    cutoff: float

    def __post_init__(self) -> None:
        if self.pieces < 1:
            raise ValueError(f"a table needs at least one piece, not {self.pieces}")
        if not self.cutoff > 0.0:
            raise ValueError(f"the cutoff of a table must be positive, not {self.cutoff}")
        if not 0.0 <= self.stretch * self.cutoff <= 20.0:
            raise ValueError(
                f"a stretch of {self.stretch} per angstrom cannot work with a cutoff of "
                f"{self.cutoff} A: their product must lie between 0 and 20"
            )

    @property
    def scale(self) -> float:
        """ds/du(r), with u = r or 1 - exp(-stretch r)."""
        if self.stretch == 0.0:
            return self.pieces / self.cutoff
        return self.pieces / -math.expm1(-self.stretch * self.cutoff)

    def coordinate(self, r_ij: Tensor) -> Tensor:
        """Return s(r), shape of `r_ij` in angstrom; exactly `pieces` from the cutoff on."""
        u = r_ij if self.stretch == 0.0 else -torch.expm1(-self.stretch * r_ij)
        s = (self.scale * u - 0.5).clamp(max=self.pieces - 0.5)
        return torch.where(r_ij < self.cutoff, s, torch.full_like(s, self.pieces))

    def slope(self, r_ij: Tensor) -> Tensor:
        """Return ds/dr, shape of `r_ij`."""
        if self.stretch == 0.0:
            return torch.full_like(r_ij, self.scale)
        return self.scale * self.stretch * torch.exp(-self.stretch * r_ij)

    def pieces_between(self, near: float, far: float) -> float:
        """Return how many pieces hold the distances between two, in angstrom."""
        s = self.coordinate(torch.tensor([near, far], dtype=torch.float64).clamp(0.0, self.cutoff))
        return float(s[1].clamp(max=self.pieces - 0.5) - s[0])

    def ends(self) -> Tensor:
        """Return the distances where pieces begin and end, [pieces + 1] float64, 0 to cutoff."""
        u = torch.arange(self.pieces + 1, dtype=torch.float64) / self.scale
        r = u if self.stretch == 0.0 else -torch.log1p(-u) / self.stretch
        r[-1] = self.cutoff
        return r
