"""The walk of a fused convolution over its tiles: which pairs, what is on the chip, which bytes.

The rules are those of `flashschnet_kernels.neighbors.tiles`, for tiles of any side: row block I
owns the column blocks I, I + 1, ... half way round the molecule, and tiles without a pair within
the cutoff are never visited. A program takes one row block and all its tiles, one after the other,
in float32; a second launch adds what they leave. That is the forward pass of one interaction block.

Counted is what crosses the edge of the chip's fast memory, wherever it comes from: global memory or
the second cache. `measure.bytes` counts each tensor once per launch instead, which is less.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flashschnet_kernels.plan import BASELINE
from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.bytes import stage_costs
from flashschnet_lab.measure.stages import Sizes
from flashschnet_lab.potentials.schnet import SchNetShape

SIDES = (2, 4, 8, 16, 32)
"""Sides of a tile that can be walked; the kernels take 8."""

ROOM = {"H200": 484 * 1024, "GeForce RTX 50": 356 * 1024}
"""Bytes of registers (256 KB) and shared memory of one multiprocessor: 228 KB, and 100 KB.
Source: CUDA C++ Programming Guide, technical specifications, compute capabilities 9.0, 12.0."""

_WORD = 4


@dataclass(frozen=True)
class OnChip:
    """Bytes of one program while it works on a tile, by how long they live.

    Attributes:
        weights: of the filter network; loaded once, used for all tiles of the program.
        rows: features of the row beads and their sums; for all tiles of the program.
        arriving: distances, envelope and features of the column beads of this tile.
        made: radial basis, hidden layer and filters of all pairs of this tile; never stored.
        leaving: sums of the column beads of this tile.
    """

    weights: int
    rows: int
    arriving: int
    made: int
    leaving: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.rows + self.arriving + self.made + self.leaving


def on_chip(shape: SchNetShape, side: int) -> OnChip:
    """Return what a program has on the chip during one tile of `side` x `side` beads."""
    functions, channels, pairs = shape.radial_functions, shape.channels, side * side
    return OnChip(
        weights=_WORD * channels * (functions + channels),
        rows=2 * _WORD * side * channels,
        arriving=_WORD * (2 * pairs + side * channels),
        made=_WORD * pairs * (functions + 2 * channels),
        leaving=_WORD * side * channels,
    )


@dataclass(frozen=True, eq=False)
class TileWalk:
    """The tiles of one molecule in the order in which its programs visit them.

    Attributes:
        near: [beads, beads] bool, pairs within the cutoff, both ways round.
        side: beads along each side of a tile.
        cutoff: in angstrom.
        shape: widths of the network.
        row, column: [tiles] int64, block of the rows and of the columns of each tile.
        pairs: [tiles] int64, unordered pairs within the cutoff in each tile.
        candidates: tiles that there are, with or without a pair.
    """

    near: np.ndarray
    side: int
    cutoff: float
    shape: SchNetShape
    row: np.ndarray
    column: np.ndarray
    pairs: np.ndarray
    candidates: int

    @property
    def beads(self) -> int:
        """Beads of the molecule."""
        return len(self.near)

    @property
    def tiles(self) -> int:
        """Tiles that are visited."""
        return len(self.row)

    @property
    def row_blocks(self) -> int:
        """Programs, each with the tiles of one row block; those without a tile count too."""
        return -(-self.beads // self.side)

    @property
    def fill(self) -> float:
        """Part of the pairs in tiles that are neighbours: what is not wasted."""
        return float(self.pairs.sum()) / max(1, self.tiles * self.side**2)

    def bead_range(self, block: int) -> tuple[int, int]:
        """Return the first bead of a block, and one past its last."""
        return block * self.side, min((block + 1) * self.side, self.beads)

    def neighbours(self, step: int) -> np.ndarray:
        """Return the pairs of a tile, [pairs, 2] int64: row bead, column bead, each pair once."""
        rows, columns = (
            self.bead_range(int(self.row[step])),
            self.bead_range(int(self.column[step])),
        )
        inside = self.near[slice(*rows), slice(*columns)]
        if rows == columns:
            inside = np.triu(inside)
        return np.argwhere(inside) + np.array([rows[0], columns[0]])

    @cached_property
    def bytes_so_far(self) -> np.ndarray:
        """[tiles] int64: bytes into and out of the chip up to and with each tile.

        A program's weights and row features are loaded with its first tile, and its row sums are
        written with its last; the second launch comes with the very last tile.
        """
        chip, result = on_chip(self.shape, self.side), _WORD * self.shape.channels
        each = np.full(self.tiles, chip.arriving + chip.leaving, dtype=np.int64)
        if self.tiles:
            first = np.flatnonzero(np.diff(self.row, prepend=-1))
            last = np.append(first[1:], self.tiles) - 1
            each[first] += chip.weights + chip.rows // 2
            each[last] += chip.rows // 2
            partial_sums = self.side * (self.tiles + self.row_blocks) * result
            each[-1] += partial_sums + self.beads * result
        moved: np.ndarray = each.cumsum()
        return moved

    @cached_property
    def baseline_bytes_so_far(self) -> np.ndarray:
        """[tiles] int64: bytes that the baseline moves for the pairs seen up to each tile."""
        share = self.pairs.cumsum() / max(1, int(self.pairs.sum()))
        moved: np.ndarray = np.rint(share * baseline_bytes(self.shape, self.beads, self._pairs))
        return moved.astype(np.int64)

    @property
    def bytes_moved(self) -> int:
        """Bytes of the whole walk, with the sum of what the tiles leave."""
        return int(self.bytes_so_far[-1]) if self.tiles else 0

    @property
    def baseline_bytes(self) -> int:
        """Bytes that the baseline moves for the same convolution."""
        return baseline_bytes(self.shape, self.beads, self._pairs)

    @property
    def _pairs(self) -> int:
        return int(self.pairs.sum())


def walk_tiles(
    positions: np.ndarray, side: int = 8, cutoff: float = 15.0, shape: SchNetShape | None = None
) -> TileWalk:
    """Return the walk over the tiles of one molecule.

    Args:
        positions: [beads, 3], angstrom.
        side: beads along each side of a tile, one of `SIDES`.
        cutoff: in angstrom.
        shape: widths of the network; the CGSchNet shape without it.

    Raises:
        UserError: another side, a cutoff that is not above zero, or positions of another shape.
    """
    positions = np.asarray(positions, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise UserError(f"positions must be [beads, 3], not {list(positions.shape)}")
    if side not in SIDES:
        raise UserError(f"tiles have {', '.join(map(str, SIDES))} beads a side, not {side}")
    if not cutoff > 0.0:
        raise UserError(f"a cutoff of {cutoff:g} angstrom finds nothing; the network's is 15")
    squared = np.square(positions[:, None] - positions[None]).sum(-1)  # [beads, beads]
    near = squared < cutoff * cutoff
    np.fill_diagonal(near, False)
    blocks = -(-len(positions) // side)
    row, column = _owned(blocks)
    starts = np.arange(blocks) * side
    counts = np.add.reduceat(np.add.reduceat(near.astype(np.int64), starts, 0), starts, 1)
    pairs = counts[row, column] // np.where(row == column, 2, 1)
    there = pairs > 0
    shape = SchNetShape() if shape is None else shape
    return TileWalk(
        near, side, cutoff, shape, row[there], column[there], pairs[there], candidates=len(row)
    )


def _owned(blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Return row and column block of every tile, [candidates] each: half way round a circle."""
    row, step = np.divmod(np.arange(blocks * (blocks // 2 + 1)), blocks // 2 + 1)
    column = (row + step) % max(1, blocks)
    # Half way round an even circle both blocks would own the tile: the lower one does.
    owned = (2 * step < blocks) | (row < column)
    return row[owned], column[owned]


def baseline_bytes(shape: SchNetShape, beads: int, pairs: int) -> int:
    """Return what the baseline moves for one convolution: filters, gather, product and sum."""
    costs = stage_costs(shape, Sizes(beads, 2 * pairs), BASELINE)
    parts = {f"block 0 {part}" for part in ("filter", "gather", "multiply", "aggregate")}
    return sum(cost.bytes_moved for cost in costs if cost.name in parts)
