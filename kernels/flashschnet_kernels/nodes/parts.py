"""A batch worked on in parts, whole molecules each, so that partial sums need less room.

Nothing of one molecule depends on another. The partial sums of a part are added up before the next
part writes its own into the same room. A part is a batch in itself, and its numbers are those of
the whole batch to the bit.
"""

from __future__ import annotations

from bisect import bisect_left

from flashschnet_kernels.message_passing.tile_sums import column_sum_bytes
from flashschnet_kernels.neighbors.tiles import TileLayout, Tiles

MOST_BYTES = 512 * 10**6
"""Room for the column sums of a part, about: a batch that needs more is cut."""
FEWEST_PROGRAMS = 4224
"""Programs of a convolution that keep a large GPU busy for several rounds: no part has fewer."""
ALIGNED = 4
"""Row blocks that a part begins at a multiple of: so that programs of the bead work, two row blocks
each, take the same beads as in the whole batch, and tensors begin at a multiple of 16 bytes."""


def parts_of(tiles: Tiles, width: int, number_bytes: int, slices: int) -> list[tuple[int, int]]:
    """Return the first row block of every part and the one after its last; one part if all fits.

    Args:
        tiles: of the batch.
        width: of a partial sum.
        number_bytes: of a number in a column sum.
        slices: programs per row block.
    """
    needed = column_sum_bytes(tiles, width, number_bytes)
    programs = tiles.layout.row_blocks * slices
    count = min(-(-needed // MOST_BYTES), programs // FEWEST_PROGRAMS)
    return cut(tiles.layout, max(1, count))


def cut(layout: TileLayout, count: int) -> list[tuple[int, int]]:
    """Return at most so many parts of about the same size, as `parts_of` does."""
    starts = [row for row in layout.molecule_rows if row % ALIGNED == 0]
    whole = layout.row_blocks
    wanted = [whole * number // count for number in range(1, count)]
    found = [starts[place] for w in wanted if (place := bisect_left(starts, w)) < len(starts)]
    ends = sorted({0, *found, whole})
    return list(zip(ends, ends[1:], strict=False)) or [(0, 0)]
