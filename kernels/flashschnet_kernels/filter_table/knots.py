"""Where the pieces of a table lie: a smooth map from distance to a coordinate counting pieces."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_LARGEST_STRETCH = 20.0
"""Times the cutoff."""


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
        if not 0.0 <= self.stretch * self.cutoff <= _LARGEST_STRETCH:
            raise ValueError(
                f"a stretch of {self.stretch} per angstrom cannot work with a cutoff of "
                f"{self.cutoff} A: their product must lie between 0 and {_LARGEST_STRETCH:.0f}"
            )

    @staticmethod
    def ending_at(lower: float, pieces: int, stretch: float, cutoff: float) -> Knots:
        """Return knots of about a stretch, of which one lies on a lower cutoff.

        There the second derivative of a filter jumps, which no piece could follow. The stretch is
        the one nearest to that asked for, and not below 0, with a whole number of pieces before it.

        Args:
            lower: the lower cutoff in angstrom; 0 leaves the stretch as it is.
            pieces, stretch, cutoff: as of `Knots`.

        Raises:
            ValueError: fewer than two pieces, or numbers that make no table.
        """
        asked = Knots(pieces, stretch, cutoff)
        if lower == 0.0:
            return asked
        if pieces < 2:
            raise ValueError("a table with a knot on a lower cutoff needs at least two pieces")

        def before(stretch: float) -> float:
            """Return how many pieces lie below the lower cutoff: more, the larger the stretch."""
            if stretch == 0.0:
                return pieces * lower / cutoff
            return pieces * math.expm1(-stretch * lower) / math.expm1(-stretch * cutoff)

        low, high = 0.0, _LARGEST_STRETCH / cutoff
        fewest, most = math.ceil(before(low) - 1e-9), math.floor(before(high))
        wanted = min(max(round(before(stretch)), fewest, 1), most)
        if abs(before(0.0) - wanted) < 1e-9:
            return Knots(pieces, 0.0, cutoff)
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if before(middle) < wanted else (low, middle)
        return Knots(pieces, (low + high) / 2, cutoff)

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
