"""A batch worked on in parts, whole molecules each: side by side, so that one part fills the GPU
where another drains, and one after another, so that partial sums need less room.

Nothing of one molecule depends on another. Every lane works on its parts in order and adds up the
partial sums of one before the next writes its own into the same room. A part is a batch in itself,
and its numbers are those of the whole batch to the bit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

import torch

from flashschnet_kernels.message_passing.tile_sums import column_sum_bytes
from flashschnet_kernels.neighbors.tiles import TileLayout, Tiles

LANES = 3
"""Parts that are worked on at the same time."""
MANY_PROGRAMS = 32_768
"""Programs of a convolution with which a drain is short, and side by side no longer faster."""
MOST_BYTES = 2 * 10**9
"""Room for column sums, about: a batch that needs more is worked on in turns, which cost time."""
FEWEST_PROGRAMS = 2816
"""Programs of a convolution in a part, about: fewer leave a large GPU idle."""
FEWEST_OF_A_PART = 1056
"""A part with fewer would be added up in another order than the whole (`filter_table.triton`)."""
ALIGNED = 4
"""Row blocks that a part begins at a multiple of: so that programs of the bead work, two row blocks
each, take the same beads as in the whole batch, and tensors begin at a multiple of 16 bytes."""


def lanes_of(
    tiles: Tiles, width: int, number_bytes: int, slices: int
) -> list[list[tuple[int, int]]]:
    """Return what each lane works on: the first row block of every part, and the one after its end.

    Args:
        tiles: of the batch.
        width: of a partial sum.
        number_bytes: of a number in a column sum.
        slices: programs per row block.
    """
    turns = max(1, -(-column_sum_bytes(tiles, width, number_bytes) // MOST_BYTES))
    programs = tiles.layout.row_blocks * slices
    lanes = LANES if programs <= MANY_PROGRAMS else 1
    count = max(1, min(lanes * turns, programs // FEWEST_PROGRAMS))
    parts = _joined(cut(tiles.layout, count), -(-FEWEST_OF_A_PART // slices))
    return [parts[lane::lanes] for lane in range(min(lanes, len(parts)))]


def side_streams(device: torch.device) -> tuple[torch.cuda.Stream, ...]:
    """Return the streams of all lanes but the first, which is the caller's; none without a GPU."""
    if device.type != "cuda":
        return ()
    return tuple(torch.cuda.Stream(device) for _ in range(LANES - 1))


def work_beside(lanes: Sequence[Callable[[], None]], streams: Sequence[torch.cuda.Stream]) -> None:
    """Call one function per lane, the first on the current stream, each other on its own.

    What comes after waits for all of them. Memory that they use must be allocated before and freed
    after: then it never passes from one stream to another. Without streams (no GPU) they are called
    one after another.
    """
    if not streams:
        for lane in lanes:
            lane()
        return
    current = torch.cuda.current_stream(streams[0].device)
    used = streams[: len(lanes) - 1]
    for stream in used:
        stream.wait_stream(current)
    for stream, lane in zip((current, *used), lanes, strict=True):
        with torch.cuda.stream(stream):
            lane()
    for stream in used:
        current.wait_stream(stream)


def cut(layout: TileLayout, count: int) -> list[tuple[int, int]]:
    """Return at most so many parts of about the same size, whole molecules each."""
    starts = [row for row in layout.molecule_rows if row % ALIGNED == 0]
    whole = layout.row_blocks
    wanted = [whole * number // count for number in range(1, count)]
    found = [starts[place] for w in wanted if (place := bisect_left(starts, w)) < len(starts)]
    ends = sorted({0, *found, whole})
    return list(zip(ends, ends[1:], strict=False)) or [(0, 0)]


def _joined(parts: list[tuple[int, int]], least: int) -> list[tuple[int, int]]:
    """Return the parts with those of fewer row blocks joined to a neighbour."""
    found = parts[:1]
    for first, end in parts[1:]:
        if end - first < least or found[-1][1] - found[-1][0] < least:
            found[-1] = (found[-1][0], end)
        else:
            found.append((first, end))
    return found
