"""IO model of tabulated filters on a GPU, and of bead work that is fused between their sums.

Counted as in `fused_tiles`: each tensor once per launch. What programs read again and again comes
from caches and is reported apart: rows of the table for every pair, features for every tile. That
traffic, not global memory, is what such a plan takes its time for.
"""

from __future__ import annotations

from flashschnet_lab.measure.fused_tiles import geometry_sums, list_bytes, padded_width, partials
from flashschnet_lab.measure.stages import Moves, Sizes, Stage, choice, elementwise
from flashschnet_lab.measure.tiling import SIDE, Tiling
from flashschnet_lab.potentials.schnet import SchNetShape

SLICE = 32
"""Channels of a slice of the table."""
TYPICAL_PIECES = {"exact": 1200, "balanced": 432, "fast": 848}
"""Pieces of the tables of a trained network, by precision class: about the mean of three."""
WORDS = {"exact": 3.0, "balanced": 3.0, "fast": 2.0}
"""Words that a kernel reads for a piece and channel."""
HALVES = 1.5
"""The same of `fast` beside beads in 16 bit: three halves."""

MOST_COLUMN_BYTES = 2 * 10**9
"""Room for the column sums of the parts of a batch that are worked on at a time, about."""
LANES = 3
"""Such parts."""
MANY_PROGRAMS = 32_768
"""Programs of a convolution above which one part is worked on at a time."""
FEWEST_PROGRAMS = 2816
"""Programs of a convolution that no part of a batch has fewer of."""

WHOLE = 128
"""Widest layers of bead work whose messages are padded to the same width."""

_FLOAT = 4
_NODE_BEADS = 16  # of a program of the bead work
_MATRICES = {"forward": 3, "turn": 8, "backward": 3}
_FORWARD_FLOPS = 10  # per pair and channel: a polynomial (6), two products and sums
_BACKWARD_FLOPS = (15, 19)  # polynomial and slope, dE/ds; then the features' gradient too


def coordinates(sizes: Sizes, tiles: Tiling) -> Stage:
    """Coordinate s of all pairs in tiles: all that a network needs of the positions."""
    pairs, room = tiles.pairs, _FLOAT * tiles.pair_rooms
    read = 3 * _FLOAT * sizes.all_beads + list_bytes(tiles)
    return Stage("radial basis", Moves(read, _FLOAT * pairs, 18.0 * pairs), kept=room, extra=room)


def pull(shape: SchNetShape, sizes: Sizes, plan: object, tiles: Tiling, explicit: bool) -> Stage:
    """From dE/ds, one number per pair and slice, to forces.

    Args:
        shape, sizes, plan, tiles: of the batch.
        explicit: the whole network is one function, whose buffers live until it returns.
    """
    slices = _slices(shape, plan) if explicit else 1
    positions = 3 * _FLOAT * sizes.all_beads
    sums, buffer = geometry_sums(sizes, tiles)
    read = positions + list_bytes(tiles) + _FLOAT * tiles.pairs * slices
    moves = Moves(read, 0.0, (20.0 + slices) * tiles.pairs) + sums
    room = _FLOAT * tiles.pair_rooms
    if not explicit:
        return Stage("radial basis, backward", moves, kept=-2 * room, extra=positions + buffer)
    whole = _explicit_bytes(shape, sizes, plan, tiles)
    freed = whole - room * slices - _FLOAT * sizes.all_beads  # all but dE/ds and the energies
    extra = positions + buffer - freed
    return Stage("radial basis, backward", moves, kept=-room - whole, extra=extra)


def begin(shape: SchNetShape, sizes: Sizes, plan: object, tiles: Tiling) -> Stage:
    """The buffers of a network that is one function, made before its first block."""
    room = _explicit_bytes(shape, sizes, plan, tiles)
    return Stage("buffers", Moves(), kept=room, extra=room)


def messages(
    shape: SchNetShape, sizes: Sizes, plan: object, number: int, tiles: Tiling
) -> tuple[Stage, Stage]:
    """Partial sums of the messages of one block, forward and backward, in a fused network."""
    first, last = number == 0, number == shape.blocks - 1
    width, slices = _message_width(shape, plan), _slices(shape, plan)
    once, on_chip = _forward(sizes, plan, tiles, width, slices)
    again = _backward(sizes, plan, tiles, width, slices, first, add=not last)
    written = _partial_bytes(plan, tiles, width, tiles.table_splits(slices), tiles.active)
    once += Moves(written=written)
    again += Moves(written=0.0 if first else written)
    label = f"block {number} message passing"
    return (
        Stage(label, once, on_chip=on_chip),
        Stage(label + ", backward", again, on_chip=on_chip + _feature_bytes(tiles, width)),
    )


def nodes(
    shape: SchNetShape, sizes: Sizes, plan: object, number: int, tiles: Tiling
) -> list[Stage]:
    """Bead work after the messages of a block, forward; for the last block to dE/dm and back."""
    last = number == shape.blocks - 1
    if last:
        moves, on_chip = _node_moves(shape, sizes, plan, tiles, "turn")
        moves += Moves(written=_FLOAT * sizes.all_beads)
        return [Stage("output", moves, on_chip=on_chip)]
    moves, on_chip = _node_moves(shape, sizes, plan, tiles, "forward")
    moves += Moves(written=_kept_bytes(shape, sizes, plan))
    return [Stage(f"block {number} update", moves, on_chip=on_chip)]


def nodes_backward(
    shape: SchNetShape, sizes: Sizes, plan: object, number: int, tiles: Tiling
) -> list[Stage]:
    """Bead work before the messages of a block, backward; none for the last block."""
    if number == shape.blocks - 1:
        return []
    moves, on_chip = _node_moves(shape, sizes, plan, tiles, "backward")
    moves += Moves(read=_kept_bytes(shape, sizes, plan))
    return [Stage(f"block {number} update, backward", moves, on_chip=on_chip)]


def block(
    shape: SchNetShape, sizes: Sizes, plan: object, number: int, tiles: Tiling
) -> tuple[Stage, Stage]:
    """One convolution between layers of PyTorch: its sums are made, and dE/ds by autograd."""
    first, last = number == 0, number == shape.blocks - 1
    width, slices, c = _message_width(shape, plan), _slices(shape, plan), shape.channels
    splits = tiles.table_splits(slices)
    sums, buffer = partials(c, width, splits, sizes, tiles)
    once, on_chip = _forward(sizes, plan, tiles, width, slices)
    again = _backward(sizes, plan, tiles, width, slices, first, add=False)
    room, features = _FLOAT * tiles.pair_rooms, _FLOAT * sizes.all_beads * c
    again += elementwise(tiles.pair_rooms, _FLOAT, (slices, 1))  # sum over slices
    if not last:
        again += elementwise(tiles.pair_rooms, _FLOAT, (2, 1))  # and over blocks
    held = float(room * slices)
    if not first:
        again += sums
        held += features + buffer
    kept = -2 * features + (0 if first else features) + (room if last else 0)
    label = f"block {number} message passing"
    return (
        Stage(label, once + sums, features, features + buffer, on_chip),
        Stage(
            label + ", backward",
            again,
            kept,
            held + room,
            on_chip + _feature_bytes(tiles, width),
        ),
    )


def table_bytes(shape: SchNetShape, plan: object, pieces: int | None = None) -> float:
    """Return the bytes of the table of all blocks, as kernels read it."""
    return shape.blocks * _block_table_bytes(_message_width(shape, plan), plan, pieces)


def node_weight_bytes(shape: SchNetShape, plan: object) -> float:
    """Return the bytes of the fused bead work's weights: two halves of padded matrices."""
    width = _width(shape)
    matrices, layers = 6 * shape.blocks + 2 * len(shape.output_widths), len(shape.output_widths)
    # And the first features of every type.
    embedding = shape.types * (width + _message_width(shape, plan)) * _FLOAT
    biases = (2 * shape.blocks + layers + 1 + shape.output_bias) * width * _FLOAT
    return float(matrices * width * (4 * width + _FLOAT) + biases + embedding)


def start_bytes(shape: SchNetShape, sizes: Sizes, plan: object) -> float:
    """Return the bytes of the features before the first block, and of those that are summed."""
    return float(_FLOAT * sizes.all_beads * (_width(shape) + _message_width(shape, plan)))


def _forward(
    sizes: Sizes, plan: object, tiles: Tiling, width: int, slices: int
) -> tuple[Moves, float]:
    """Return what the forward kernel reads and computes, and what it reads from caches."""
    features = _FLOAT * sizes.all_beads * width
    read = _FLOAT * tiles.pairs * 1.0 + features + list_bytes(tiles)
    read += _block_table_bytes(width, plan)
    words = _FLOAT * words_of(plan) * width
    # Every slice looks at all coordinates and lists.
    on_chip = tiles.pairs * (words + _FLOAT * (slices - 1)) + _feature_bytes(tiles, width)
    return Moves(read, 0.0, float(_FORWARD_FLOPS) * tiles.pairs * width), on_chip


def _backward(
    sizes: Sizes, plan: object, tiles: Tiling, width: int, slices: int, first: bool, add: bool
) -> Moves:
    """Return what the backward kernel moves, partial sums left out."""
    features = _FLOAT * sizes.all_beads * width
    slopes = _FLOAT * tiles.pairs * slices
    read = _FLOAT * tiles.pairs + 2 * features + list_bytes(tiles)
    read += _block_table_bytes(width, plan) + (slopes if add else 0.0)
    flops = _BACKWARD_FLOPS[0 if first else 1] * tiles.pairs * width
    return Moves(read, slopes, float(flops))


def _node_moves(
    shape: SchNetShape, sizes: Sizes, plan: object, tiles: Tiling, kernel: str
) -> tuple[Moves, float]:
    """Return what a kernel of the bead work moves, and what its programs read again from caches.

    It reads a row of features per bead, and writes one as well as one for the next messages.

    Args:
        shape, sizes, plan, tiles: of the batch.
        kernel: a key of `_MATRICES`.
    """
    width, channels, slices = _width(shape), _message_width(shape, plan), _slices(shape, plan)
    row = _FLOAT * sizes.all_beads
    halves = 1 if choice(plan, "quantization") == "fp16" else 2
    # Two matrices of a kernel lead from messages to features and back.
    numbers = width * ((_MATRICES[kernel] - 2.0) * width + 2.0 * channels)
    weights = 2.0 * halves * numbers
    splits = tiles.table_splits(slices)
    sums = _partial_bytes(plan, tiles, channels, splits, tiles.active)
    read = sums + row * width + weights + list_bytes(tiles)
    products = 2.0 * numbers * sizes.all_beads
    added = channels * (tiles.rows * tiles.row_blocks * splits + SIDE * tiles.active)
    flops = products + added + 12.0 * sizes.all_beads * width
    programs = tiles.row_blocks * tiles.rows / _NODE_BEADS
    return Moves(read, row * (width + channels), flops), max(0.0, programs - 1.0) * weights


def _explicit_bytes(shape: SchNetShape, sizes: Sizes, plan: object, tiles: Tiling) -> float:
    """Return the bytes of all buffers of a fused network, coordinates left out.

    x of the next block, h of all blocks but the first, the two gradients, the hidden layer of each
    block but the last, energies, partial sums of the parts that are worked on at a time, and dE/ds
    of every slice.
    """
    width, channels, slices = _width(shape), _message_width(shape, plan), _slices(shape, plan)
    rows = _FLOAT * sizes.all_beads * (2 * width + shape.blocks * channels)
    sums = _partial_bytes(plan, tiles, channels, tiles.table_splits(slices), tiles.rooms)
    parts, lanes = _parts(plan, sizes, tiles, channels, slices)
    sums *= min(lanes, parts) * -(-sizes.replicas // parts) / sizes.replicas
    hidden = (shape.blocks - 1) * _kept_bytes(shape, sizes, plan)
    slopes = _FLOAT * tiles.pair_rooms * slices
    return rows + hidden + _FLOAT * sizes.all_beads + sums + slopes


def _parts(plan: object, sizes: Sizes, tiles: Tiling, width: int, slices: int) -> tuple[int, int]:
    """Return in how many parts a batch is worked on, and how many of them at a time."""
    number = 2 if choice(plan, "quantization") == "fp16" else _FLOAT
    turns = -(-width * number * SIDE * tiles.rooms // MOST_COLUMN_BYTES)
    programs = tiles.row_blocks * slices
    lanes = LANES if programs <= MANY_PROGRAMS else 1
    wanted = lanes * max(1, turns)
    return max(1, min(wanted, programs // FEWEST_PROGRAMS, sizes.replicas)), lanes


def _kept_bytes(shape: SchNetShape, sizes: Sizes, plan: object) -> float:
    """Return the bytes of the hidden layer of one block."""
    number = 2 if choice(plan, "quantization") == "fp16" else _FLOAT
    return float(number * sizes.all_beads * _width(shape))


def _partial_bytes(plan: object, tiles: Tiling, width: int, splits: int, columns: float) -> float:
    """Return the bytes of partial sums; those of so many tiles' columns are 16 bit with fp16."""
    number = 2 if choice(plan, "quantization") == "fp16" else _FLOAT
    of_rows = _FLOAT * tiles.rows * tiles.row_blocks * splits
    return float(width * (of_rows + number * SIDE * columns))


def _feature_bytes(tiles: Tiling, width: int) -> float:
    """Return the bytes of column features that tiles read, once per tile."""
    return float(_FLOAT * SIDE * width * tiles.active)


def _block_table_bytes(width: int, plan: object, pieces: int | None = None) -> float:
    name = _class(plan)
    return _FLOAT * words_of(plan) * width * ((pieces or TYPICAL_PIECES[name]) + 1.0)


def words_of(plan: object) -> float:
    """Return the words that the kernels of a plan read for a piece and channel."""
    name = _class(plan)
    halves = name == "fast" and choice(plan, "quantization") == "fp16"
    return HALVES if halves else WORDS[name]


def _class(plan: object) -> str:
    return choice(plan, "filters").removeprefix("table-")


def _slices(shape: SchNetShape, plan: object) -> int:
    return _message_width(shape, plan) // SLICE


def _width(shape: SchNetShape) -> int:
    widest = max(shape.channels, shape.hidden, *shape.output_widths)
    return max(SLICE, padded_width(widest))


def _message_width(shape: SchNetShape, plan: object) -> int:
    """Return the width of messages: that of beads, or their own in a network wider than that."""
    if choice(plan, "nodes") == "reference":
        return -(-shape.channels // SLICE) * SLICE
    width = _width(shape)
    return width if width <= WHOLE else max(SLICE, padded_width(shape.channels))
