"""IO model of the fused convolution on a GPU: what still passes through global memory.

Each tensor is counted once per launch. What programs read again and again (weights, features of a
tile) comes from the cache; it is reported apart, as traffic on the chip.
"""

from __future__ import annotations

from flashschnet_lab.measure.stages import Moves, Sizes, Stage, choice, elementwise
from flashschnet_lab.measure.tiling import SIDE, TILE, Tiling
from flashschnet_lab.potentials.schnet import SchNetShape

_INT32 = 4
_FLOAT = 4
_PULL_WIDTH = 4  # numbers of a force partial sum: x, y, z and padding
_PULL_SPLITS = 2


def search(sizes: Sizes, tiles: Tiling) -> Stage:
    """Find the active tiles at every evaluation."""
    blocks, looked_at = tiles.row_blocks, tiles.row_blocks * tiles.candidates
    written = _INT32 * (blocks + tiles.rooms + looked_at)
    read = 3 * _FLOAT * sizes.all_beads + 5 * _INT32 * blocks
    moves = Moves(read, written, 8.0 * tiles.rows * SIDE * looked_at)
    on_chip = 3.0 * _FLOAT * SIDE * looked_at
    return Stage("neighbors", moves, kept=written, extra=written, on_chip=on_chip)


def geometry(sizes: Sizes, plan: object, tiles: Tiling) -> tuple[Stage, Stage]:
    """Distance, envelope and its slope of all pairs in tiles; and from dE/dr to forces."""
    positions = 3 * _FLOAT * sizes.all_beads
    pairs, room = TILE * tiles.active, _FLOAT * TILE * tiles.rooms
    read = positions + list_bytes(tiles)
    sums, buffer = _sums(3, _PULL_WIDTH, _PULL_SPLITS, sizes, plan, tiles)
    back = Moves(read + _FLOAT * pairs, 0.0, 20.0 * pairs)
    unused = Moves(written=2 * room)  # zeros in the place of gradients that nobody asked for
    return (
        Stage(
            "radial basis",
            Moves(read, 3 * _FLOAT * pairs, 40.0 * pairs),
            kept=3 * room,
            extra=3 * room,
        ),
        Stage(
            "radial basis, backward",
            back + sums + unused,
            kept=-room,
            extra=2 * room + positions + buffer,
        ),
    )


def block(
    shape: SchNetShape, sizes: Sizes, plan: object, number: int, tiles: Tiling
) -> tuple[Stage, Stage]:
    """Messages of one block, forward and backward, without a tensor with a row per pair."""
    first, last = number == 0, number == shape.blocks - 1
    c = shape.channels
    features = float(_FLOAT * sizes.all_beads * c)
    pairs, room = _FLOAT * TILE * tiles.active, float(_FLOAT * TILE * tiles.rooms)
    sums, buffer = _sums(c, padded_width(c), tiles.splits, sizes, plan, tiles)
    weights = _weight_bytes(shape, plan)
    flops, flops_back = _flops(shape, plan, tiles, first)
    shared = list_bytes(tiles) + weights
    once = Moves(2 * pairs + features + shared, 0.0, flops)
    again = Moves(3 * pairs + 2 * features + shared, pairs, flops_back)
    if not last:  # dE/dr is added up over blocks
        again += elementwise(TILE * tiles.rooms, _FLOAT, (2, 1))
    held = room
    if not first:  # the embedding has no gradient
        again += sums
        held += max(features + buffer, 0 if last else room)
    on_chip = tiles.row_blocks * tiles.splits * weights
    reread = _FLOAT * SIDE * tiles.active * c
    # What came goes (features, their gradient, distances with the last block), what is new stays.
    kept = -2 * features
    kept += -3 * room if first else features
    if last:
        kept += room
    label = f"block {number} message passing"
    return (
        Stage(
            label,
            once + sums,
            kept=features,
            extra=features + buffer,
            on_chip=on_chip + reread,
        ),
        Stage(label + ", backward", again, kept, extra=held, on_chip=on_chip + 2 * reread),
    )


def list_bytes(tiles: Tiling) -> float:
    """Return the bytes that say which tiles there are: per row block, and per tile."""
    return _INT32 * (3 * tiles.row_blocks + tiles.active)


def _sums(
    width: int, padded: int, splits: int, sizes: Sizes, plan: object, tiles: Tiling
) -> tuple[Moves, float]:
    """Return how the sums of a kernel reach their beads, and the bytes that they lie in.

    Partial sums are written once and read once; there is one per row block and program, and one per
    tile. Without them, atomic additions read and write the result.

    Args:
        width, padded: numbers per bead, and in a partial sum.
        splits: programs per row block.
        sizes, plan, tiles: of the batch.
    """
    if choice(plan, "aggregation") != "reference":
        return partials(width, padded, splits, sizes, tiles)
    result = _FLOAT * sizes.all_beads * width
    added = _FLOAT * width * (tiles.rows * tiles.row_blocks * splits + SIDE * tiles.active)
    return Moves(added, result + added, added / _FLOAT), 0.0


def partials(
    width: int, padded: int, splits: int, sizes: Sizes, tiles: Tiling
) -> tuple[Moves, float]:
    """Return what partial sums and their sum move, and the bytes that they lie in; see `_sums`."""
    result = _FLOAT * sizes.all_beads * width
    by_row = _FLOAT * padded * tiles.rows * tiles.row_blocks * splits
    by_column = _FLOAT * padded * SIDE
    written = by_row + by_column * tiles.active
    slots = _INT32 * tiles.row_blocks * tiles.candidates
    moves = Moves(written + slots, written + result, written / _FLOAT)
    return moves, by_row + by_column * tiles.rooms


def geometry_sums(sizes: Sizes, tiles: Tiling) -> tuple[Moves, float]:
    """Return the same of the forces."""
    return partials(3, _PULL_WIDTH, _PULL_SPLITS, sizes, tiles)


def _weight_bytes(shape: SchNetShape, plan: object) -> float:
    """Return the bytes of one filter network; float32 is two 16-bit halves."""
    f, c = padded_width(shape.radial_functions), padded_width(shape.channels)
    half = choice(plan, "quantization") != "none"
    return c * (f + c) * (2 if half else 4) + _FLOAT * (3 * c + 2 * f)


def _flops(shape: SchNetShape, plan: object, tiles: Tiling, first: bool) -> tuple[float, float]:
    """Return the FLOPs of the filters of whole tiles, forward and backward.

    Backward computes the filters again, and their slopes; the first block needs the slopes alone. A
    float32 product is three products of 16-bit halves.
    """
    f, c = padded_width(shape.radial_functions), padded_width(shape.channels)
    pairs = TILE * tiles.active
    products = 2.0 * (3 if choice(plan, "quantization") == "none" else 1)
    forward = products * (f * c + c * c) + 5 * f + 12 * c
    backward = products * (2 * f * c + (1 if first else 2) * c * c)
    backward += 12 * f + (18 if first else 23) * c
    return pairs * forward, pairs * backward


def padded_width(width: int) -> int:
    """Return the power of two, at least 16, that a width is padded to."""
    return max(16, 1 << (width - 1).bit_length())
