"""How many tiles of pairs a fused convolution works on: a model from beads and edges alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from flashschnet_lab.measure.stages import Sizes

SIDE = 8
"""Beads along each side of a tile."""

TILE = SIDE * SIDE
"""Pairs of a tile."""

ROOM = 128
"""Tiles of one row block up to which there is room for all that it can have. A larger molecule gets
room for a quarter more than its fullest row block was counted to have, in units of `UNIT`."""

UNIT, FULLEST = 16, 2.0
"""The fullest row block of a molecule packed like a protein has about twice the mean of tiles."""

PROGRAMS = 1056
"""Programs that a kernel wants, so that a large GPU is full with one small molecule too."""

MANY_PROGRAMS, TILES_OF_A_SPLIT = 4224, 20
"""Programs that a large molecule alone wants with a table, if each has so many candidates."""

REACH = {8: 1.7, 16: 2.0}
"""A tile has a pair within the cutoff about as often as two beads lie within 1.19 cutoffs, because
its beads are spread out; 1.19 cubed. By its rows."""


@dataclass(frozen=True)
class Tiling:
    """How the pairs of a batch are cut into tiles; counts are of all molecules together.

    Attributes:
        row_blocks: of `rows` beads each.
        candidates: tiles that one row block can own at most.
        most_tiles: tiles of one row block that there is room for.
        active: tiles with a pair within the cutoff.
        rows: beads of a row block; a tile has `SIDE` columns.
    """

    row_blocks: int
    candidates: int
    most_tiles: int
    active: float
    rows: int = SIDE

    @property
    def pairs(self) -> float:
        """Pairs of beads of all active tiles."""
        return self.rows * SIDE * self.active

    @property
    def pair_rooms(self) -> int:
        """Pairs that there is room for."""
        return self.rows * SIDE * self.rooms

    @property
    def rooms(self) -> int:
        """Tiles that lists, distances and partial sums have room for."""
        return self.row_blocks * self.most_tiles

    @property
    def splits(self) -> int:
        """Programs per row block of a convolution that computes its filters."""
        return max(1, min(-(-PROGRAMS // max(1, self.row_blocks)), self.candidates))

    def table_splits(self, slices: int) -> int:
        """Programs per row block and slice of channels of a convolution with a table."""
        whole = max(1, self.row_blocks * slices)
        if whole >= PROGRAMS:
            return 1
        more = min(-(-MANY_PROGRAMS // whole), self.candidates // TILES_OF_A_SPLIT)
        # A program takes half a tile at a time.
        return min(max(-(-PROGRAMS // whole), more), 2 * self.candidates)


def tiling(sizes: Sizes, tiles: float | None = None, rows: int = SIDE) -> Tiling:
    """Return the tiles of a batch of equal molecules.

    Args:
        sizes: of the molecules.
        tiles: active tiles of one molecule if they were counted. Default: of all tiles the part
            1 - (1 - p)^`REACH` where p is the part of all pairs within the cutoff. That is right to
            12 % for proteins of 49 to 394 beads, extended chains and molecules of 4,000 beads.
        rows: beads of a row block, 8 or 16.
    """
    blocks, per_block = ceil(sizes.beads / rows), rows // SIDE
    candidates = (blocks // 2 + 1) * per_block
    if tiles is None:
        part = 1.0 - (1.0 - min(1.0, sizes.density)) ** REACH[rows]
        # A row block pairs with itself and those after it; the last may have fewer columns.
        missing = blocks * per_block - ceil(sizes.beads / SIDE)
        tiles = (blocks * (blocks + 1) / 2 * per_block - missing * blocks) * part
    most_tiles = candidates
    if candidates > ROOM:
        needed = ceil(FULLEST * tiles / blocks)
        most_tiles = min(candidates, ceil((needed + needed // 4 + 1) / UNIT) * UNIT)
    return Tiling(
        row_blocks=blocks * sizes.replicas,
        candidates=candidates,
        most_tiles=most_tiles,
        active=tiles * sizes.replicas,
        rows=rows,
    )
