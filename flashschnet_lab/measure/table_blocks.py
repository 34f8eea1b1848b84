"""IO model of tabulated filters on a CPU, in one compiled function for a whole network.

Everything that the function needs is made at its first call and kept, so its memory does not come
and go from call to call. What passes through memory has a row per bead or a few numbers per pair;
features and the pieces of the table that occur stay in caches.
"""

from __future__ import annotations

from flashschnet_lab.measure.stages import Moves, Sizes, Stage, choice
from flashschnet_lab.measure.table_tiles import TYPICAL_PIECES
from flashschnet_lab.potentials.schnet import SchNetShape

SLAB = 32
"""Channels that are worked on at a time; widths are padded to whole slabs."""
TILE_ROWS = 8
"""Beads are padded to whole tiles of so many."""
SEGMENT = 4096
"""Pairs that a thread sorts at a time."""
GROUP_BEADS = 320
"""Beads of small molecules that are sorted together."""
LISTED = 1.06
"""Pairs on a kept list over those within the cutoff."""

_NUMBER = 4
_SORTED_NUMBERS = 3 + 4  # per listed pair: scratch; both beads, place in the piece, pull
_PARTS = 4
_FORWARD_FLOPS = 10
_BACKWARD_FLOPS = (15, 19)


def begin(shape: SchNetShape, sizes: Sizes, plan: object) -> Stage:
    """The packed table and weights and the room for an evaluation, made once and kept."""
    kept = table_bytes(shape, plan) + node_weight_bytes(shape) + room_bytes(shape, sizes, plan)
    return Stage("buffers", Moves(), kept=kept, extra=kept)


def table_bytes(shape: SchNetShape, plan: object, pieces: int | None = None) -> float:
    """Return the bytes of the packed table; each piece has four numbers, whatever its form."""
    number = pieces or TYPICAL_PIECES[_class(plan)]
    return float(_NUMBER * shape.blocks * number * 4 * _padded(shape.channels))


def node_weight_bytes(shape: SchNetShape) -> float:
    """Return the bytes of the packed weights: every matrix, and its transpose."""
    h, c = _padded(shape.hidden), _padded(shape.channels)
    widths = [h, *map(_padded, shape.output_widths)]
    output = sum(a * b for a, b in zip(widths, widths[1:], strict=False))
    return float(_NUMBER * (2 * (shape.blocks * (2 * c * h + h * h) + output) + sum(widths)))


def room_bytes(shape: SchNetShape, sizes: Sizes, plan: object) -> float:
    """Return the bytes that an evaluation works in: features of all beads, and sorted pairs."""
    h, c = _padded(shape.hidden), _padded(shape.channels)
    output = [_padded(width) for width in shape.output_widths]
    rows = -(-sizes.all_beads // TILE_ROWS) * TILE_ROWS
    wide = h + shape.blocks * (h + c) + 2 * h + 3 * c + sum(output) + max([h, *output])
    listed = LISTED * sizes.all_edges / 2
    pairs = listed * (_SORTED_NUMBERS + c / SLAB)
    pieces = TYPICAL_PIECES[_class(plan)] + 1
    groups = _groups(sizes)
    segments = max(groups, groups * -(-listed / groups // SEGMENT)) if listed else 0
    counts = pieces * (groups + segments)
    return _NUMBER * (rows * wide + pairs + counts + 3 * _PARTS * sizes.all_beads)


def sort(sizes: Sizes) -> Stage:
    """Distances of all listed pairs, and the pairs within the cutoff sorted by piece."""
    pairs = sizes.all_edges / 2
    listed = LISTED * pairs
    read = _NUMBER * (2 * listed + 3 * sizes.all_beads + 3 * pairs)
    moves = Moves(read, _NUMBER * (3 * listed + 4 * pairs), 25.0 * listed)
    return Stage("radial basis", moves, on_chip=24.0 * listed)


def pull(shape: SchNetShape, sizes: Sizes) -> Stage:
    """From dE/dt of every pair and slab to forces."""
    pairs, slabs = sizes.all_edges / 2, _padded(shape.channels) / SLAB
    read = _NUMBER * (pairs * (3 + slabs) + 3 * sizes.all_beads)
    moves = Moves(read, _NUMBER * 3.0 * (_PARTS + 1) * sizes.all_beads, (20.0 + slabs) * pairs)
    return Stage("radial basis, backward", moves, on_chip=24.0 * pairs)


def messages(shape: SchNetShape, sizes: Sizes, plan: object, number: int) -> tuple[Stage, Stage]:
    """Messages of one block, forward and backward: every pair once, both directions."""
    first, last = number == 0, number == shape.blocks - 1
    c, pairs = _padded(shape.channels), sizes.all_edges / 2
    row, slabs = _NUMBER * sizes.all_beads * c, c / SLAB
    table = table_bytes(shape, plan) / shape.blocks
    index = _NUMBER * 3 * pairs
    slopes = _NUMBER * slabs * pairs
    once = Moves(index + row + table, row, _FORWARD_FLOPS * pairs * c)
    again = Moves(
        index + 2 * row + table + (0.0 if last else slopes),
        slopes + (0.0 if first else row),
        _BACKWARD_FLOPS[0 if first else 1] * pairs * c,
    )
    # Features of both beads are read and written for every pair; every slab reads all pairs.
    on_chip = pairs * (4 * _NUMBER * c + 12.0 * (slabs - 1))
    label = f"block {number} message passing"
    return (
        Stage(label, once, on_chip=on_chip),
        Stage(label + ", backward", again, on_chip=on_chip * (1.0 if first else 1.5)),
    )


def nodes(shape: SchNetShape, sizes: Sizes, number: int) -> Stage:
    """Bead work after the messages of a block; after the last one, to energies and back."""
    h, c, beads = _padded(shape.hidden), _padded(shape.channels), sizes.all_beads
    if number < shape.blocks - 1:
        weights = c * h + h * h + h * c
        moved = (c + h, h + h + c)
        return _bead_work(f"block {number} update", beads, weights, moved)
    widths = [h, *map(_padded, shape.output_widths)]
    output = sum(a * b for a, b in zip(widths, widths[1:], strict=False))
    weights = 2 * (c * h + h * h + output)
    return _bead_work("output", beads, weights, (c + h, 2 * h + c + 2 * sum(widths[1:]) + 1))


def nodes_backward(shape: SchNetShape, sizes: Sizes, number: int) -> list[Stage]:
    """Bead work before the messages of a block, backward; none for the last block."""
    if number == shape.blocks - 1:
        return []
    h, c = _padded(shape.hidden), _padded(shape.channels)
    label = f"block {number} update, backward"
    return [_bead_work(label, sizes.all_beads, c * h + h * h + h * c, (c + 2 * h, h + c))]


def _bead_work(label: str, beads: int, weights: float, moved: tuple[float, float]) -> Stage:
    """Return a stage with matrices of so many weights, and numbers read and written per bead."""
    read, written = (_NUMBER * beads * numbers for numbers in moved)
    flops = beads * (2.0 * weights + 10.0 * sum(moved))
    on_chip = _NUMBER * weights * max(0.0, beads / TILE_ROWS - 1.0)
    return Stage(label, Moves(read + _NUMBER * weights, written, flops), on_chip=on_chip)


def _groups(sizes: Sizes) -> int:
    together = max(1, GROUP_BEADS // max(1, sizes.beads))
    return max(1, -(-sizes.replicas // together))


def _class(plan: object) -> str:
    return choice(plan, "filters").removeprefix("table-")


def _padded(width: int) -> int:
    return -(-width // SLAB) * SLAB
