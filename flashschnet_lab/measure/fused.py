"""IO model of the kernels: what still passes through global memory when operations are fused.

Each tensor is counted once per launch. What programs read again and again (weights, features of a
tile) comes from the cache; it is reported apart, as traffic on the chip.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from flashschnet_lab.measure.stages import (
    INDEX,
    Moves,
    Sizes,
    Stage,
    choice,
    elementwise,
    gather,
    total,
)
from flashschnet_lab.potentials.schnet import SchNetShape

_INT32 = 4
_FLOAT = 4
_SLOPE = 4  # numbers of a force partial sum: x, y, z and padding
_PROGRAMS = 1056
"""Programs that a kernel wants, so that a large GPU is full with one small molecule too."""


@dataclass(frozen=True)
class Tiling:
    """How the pairs of one molecule are cut into tiles.

    Attributes:
        rows, columns: beads along each side of a tile.
        active: tiles with a pair within the cutoff.
        blocks: row blocks of a molecule.
        room: tiles that the lists and partial sums of a molecule have room for.
        programs: programs of a launch, all molecules.
    """

    rows: int
    columns: int
    active: float
    blocks: int
    room: float
    programs: float

    @property
    def pairs(self) -> float:
        """Pairs of one molecule whose filters are evaluated, those beyond the cutoff included."""
        return self.active * self.rows * self.columns


def tiling(sizes: Sizes, *, rows: int = 16, columns: int = 8, tiles: float | None = None) -> Tiling:
    """Return the tiles of a molecule.

    Args:
        sizes: of the molecule.
        rows, columns: of a tile.
        tiles: active tiles of one molecule if they were counted. Default: a tile is worth two
            thirds of its pairs, as for folded proteins of 49 to 394 beads (within 12 %), but no
            more tiles than there are.
    """
    blocks = ceil(sizes.beads / rows)
    every = blocks * (blocks + 1) * rows / (2 * columns)
    if tiles is None:
        tiles = min(every, 1.55 * sizes.directed_edges / 2 / (rows * columns))
    most = (blocks // 2 + 1) * rows / columns
    all_blocks = max(1, blocks * sizes.replicas)
    splits = max(1.0, min(ceil(_PROGRAMS / all_blocks), most))
    return Tiling(rows, columns, tiles, blocks, blocks * most, all_blocks * splits)


def tile_search(sizes: Sizes, tiles: Tiling, word: int) -> Stage:
    """Find the active tiles at every evaluation."""
    blocks, room = tiles.blocks * sizes.replicas, tiles.room * sizes.replicas
    positions = 3 * word * sizes.all_beads
    written = _INT32 * (blocks + 2 * room)
    compared = room * tiles.rows * tiles.columns
    moves = Moves(positions + 5 * _INT32 * blocks, written, 8.0 * compared)
    on_chip = 3.0 * word * room * tiles.columns
    return Stage("neighbors", moves, kept=written, extra=written, on_chip=on_chip)


def verlet_check(sizes: Sizes, word: int) -> Stage:
    """Compare displacements with half the skin; the list itself stays from step to step."""
    return Stage("neighbors", elementwise(sizes.all_beads, word, (6, 1), (1, 0)))


def radial_basis(shape: SchNetShape, sizes: Sizes, links: float, word: int) -> tuple[Stage, Stage]:
    """Basis of every link in one pass, and back in one pass; distances alone are kept."""
    f, positions = shape.radial_functions, (sizes.all_beads, 3)
    forward = gather(links, word, positions) + Moves(read=INDEX * links)
    forward = Moves(forward.read, word * links * (f + 2), 12.0 * links * f)
    backward = Moves(
        forward.read + INDEX * 2 * links + word * links * (f + 5),  # sender and opposite; slopes
        word * (links + 3 * sizes.all_beads),
        20.0 * links * f,
    )
    kept = word * links * (f + 2)
    return (
        Stage("radial basis", forward, kept=kept, extra=kept),
        Stage("radial basis, backward", backward, kept=-kept, extra=word * links),
    )


def block(
    shape: SchNetShape, sizes: Sizes, plan: object, word: int, number: int, tiles: Tiling
) -> tuple[Stage, Stage]:
    """Messages of one block, forward and backward, without a tensor that has a row per pair."""
    row = word * sizes.all_beads
    features, positions = row * shape.channels, 3 * row
    first = number == 0
    on_gpu = choice(plan, "message_passing") == "triton"
    partial = _partial_sums(shape.channels, sizes, tiles) if on_gpu else _NO_SUMS
    slopes = _partial_sums(_SLOPE, sizes, tiles) if on_gpu else _NO_SUMS
    weights = _weight_bytes(shape, plan)
    flops = _flops(shape, sizes, plan, tiles)
    once = Moves(positions + features + weights, features, flops[0])
    again = Moves(
        positions + 2 * features + weights,
        positions + (0 if first else features),
        flops[2 if first else 1],
    )
    programs = tiles.programs if on_gpu else 1.0
    reread = word * sizes.replicas * tiles.active * tiles.columns * shape.channels
    label = f"block {number} message passing"
    held = partial.buffer + slopes.buffer if not first else slopes.buffer
    return (
        Stage(
            label,
            total((once, partial.moves)),
            kept=features,
            extra=features + partial.buffer,
            on_chip=programs * weights + reread,
        ),
        Stage(
            label + ", backward",
            total((again, slopes.moves, Moves() if first else partial.moves)),
            extra=held + features + positions,
            on_chip=programs * weights + 2 * reread,
        ),
    )


@dataclass(frozen=True)
class _Sums:
    """Partial sums: their traffic, written once and read once, and the buffer they lie in."""

    moves: Moves
    buffer: float


_NO_SUMS = _Sums(Moves(), 0.0)


def _partial_sums(width: int, sizes: Sizes, tiles: Tiling) -> _Sums:
    by_row = tiles.programs * tiles.rows
    by_column = sizes.replicas * tiles.columns
    written = _FLOAT * width * (by_row + by_column * tiles.active)
    adds = width * (by_row + by_column * tiles.active)
    slots = _INT32 * sizes.replicas * tiles.room
    buffer = _FLOAT * width * (by_row + by_column * tiles.room)
    return _Sums(Moves(written + slots, written, adds), buffer)


def _weight_bytes(shape: SchNetShape, plan: object) -> float:
    """Return the bytes of one filter network; float32 is two 16-bit halves on a GPU."""
    numbers = shape.channels * (shape.radial_functions + shape.channels)
    half = choice(plan, "quantization") != "none"
    return numbers * (2 if half else 4) + _FLOAT * (3 * shape.channels + 2 * shape.radial_functions)


def _flops(
    shape: SchNetShape, sizes: Sizes, plan: object, tiles: Tiling
) -> tuple[float, float, float]:
    """Return the FLOPs of filters forward, backward, and backward without a feature gradient.

    On a GPU whole tiles are computed, and a float32 product is three products of 16-bit halves.
    """
    f, c = shape.radial_functions, shape.channels
    on_gpu = choice(plan, "message_passing") == "triton"
    pairs = sizes.replicas * (tiles.pairs if on_gpu else sizes.directed_edges / 2)
    products = 3 if on_gpu and choice(plan, "quantization") == "none" else 1
    around = 12.0 * f + 10.0 * c  # basis, tanh, envelope, the sums of both directions
    forward = pairs * (products * 2.0 * (f * c + c * c) + around)
    backward = pairs * (products * 2.0 * (2 * f * c + 2 * c * c) + 2 * around)
    shorter = pairs * (products * 2.0 * (2 * f * c + c * c) + 1.5 * around)
    return forward, backward, shorter
