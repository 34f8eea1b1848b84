"""Verlet list on a GPU: five kernels that read on the device whether there is anything to do.

Tiles of ROWS x BLOCK beads are compared in ascending order, first to count, then to fill; a row is
compacted through a prefix sum over the tile, so that it comes out ascending and nothing is sorted.
Above a size, a tile whose bounding boxes are too far apart is passed over. Consecutive beads of a
chain are close together, so the boxes are the cells of a cell list, already in ascending order.

Every rounding of a squared distance is spelt out with fma. So (i, j) and (j, i), the count and the
fill, give the same verdict whatever a compiler would contract, and a box never hides a neighbour:
each step of the arithmetic is monotone, so the gap between boxes, computed the same way, is at most
the distance of any two beads in them, rounding included.

Determinism: same bits every run. No gradient: a list is a set of indices.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from flashschnet_kernels.ahead_of_time import Specialisation
from flashschnet_kernels.launching import FMA
from flashschnet_kernels.neighbors.verlet import BLOCK, PRUNE_ABOVE, VerletList

ROWS = 32
"""Beads whose rows one program counts and fills."""

EDGES = 256
"""Edges whose opposite one program looks up at once."""

BEADS = 512
"""Beads whose displacement one program checks."""


@triton.jit
def _square(dx, dy, dz):
    return tl.fma(dz, dz, tl.fma(dy, dy, dx * dx))


@triton.jit
def _coordinates(positions, bead, inside):
    """Return x, y, z of the beads; NaN, which is near nothing, where there is none."""
    at = positions + bead.to(tl.int64) * 3
    x = tl.load(at, mask=inside, other=float("nan"))
    y = tl.load(at + 1, mask=inside, other=float("nan"))
    z = tl.load(at + 2, mask=inside, other=float("nan"))
    return x, y, z


@triton.jit
def _lowest(x):
    return tl.min(tl.where(x == x, x, float("inf")), 0)


@triton.jit
def _highest(x):
    return tl.max(tl.where(x == x, x, float("-inf")), 0)


@triton.jit
def _gap(low, high, other_low, other_high):
    return tl.maximum(tl.maximum(other_low - high, low - other_high), 0.0)


@triton.jit
def _skip(boxes, block, x, y, z, radius_squared):
    """Return 1 if every bead of the block is out of reach of every bead at x, y, z."""
    box = boxes + block.to(tl.int64) * 6
    gap_x = _gap(_lowest(x), _highest(x), tl.load(box), tl.load(box + 3))
    gap_y = _gap(_lowest(y), _highest(y), tl.load(box + 1), tl.load(box + 4))
    gap_z = _gap(_lowest(z), _highest(z), tl.load(box + 2), tl.load(box + 5))
    # Infinite coordinates may make the gap NaN: then look.
    return tl.where(_square(gap_x, gap_y, gap_z) >= radius_squared, 1, 0)


@triton.jit
def _neighbours(positions, row, x, y, z, start, stop, column, radius_squared):
    """Return 1 where a column is a neighbour of a row, [ROWS, BLOCK] int32."""
    column_x, column_y, column_z = _coordinates(positions, column, column < tl.max(stop, 0))
    dx = column_x[None, :] - x[:, None]
    dy = column_y[None, :] - y[:, None]
    dz = column_z[None, :] - z[:, None]
    near = _square(dx, dy, dz) < radius_squared
    near &= (column[None, :] >= start[:, None]) & (column[None, :] < stop[:, None])
    near &= column[None, :] != row[:, None]
    return near.to(tl.int32)


@triton.jit(do_not_specialize=["beads"])
def flag_moved(positions, built_at, stale, beads, trusted_squared, BEADS: tl.constexpr):
    """Set `stale` if a bead is further than the trusted displacement from its place at the build.

    positions, built_at: [beads, 3]. stale: [1], zeroed by the launcher. Grid: blocks of BEADS.
    """
    bead = tl.program_id(0) * BEADS + tl.arange(0, BEADS)
    inside = bead < beads
    x, y, z = _coordinates(positions, bead, inside)
    old_x, old_y, old_z = _coordinates(built_at, bead, inside)
    moved = _square(x - old_x, y - old_y, z - old_z)
    # NaN is not "at most": a bead without a place makes the list stale.
    too_far = tl.where(moved <= trusted_squared, 0, 1)
    if tl.sum(tl.where(inside, too_far, 0), 0) > 0:
        tl.store(stale, 1)


@triton.jit(do_not_specialize=["beads"])
def bound_blocks(positions, boxes, stale, beads, BLOCK: tl.constexpr):
    """Write the bounding box [6] of each block of beads; NaN coordinates are left out.

    Grid: blocks. Leaves early if the list is not stale.
    """
    if tl.load(stale) == 0:
        return
    block = tl.program_id(0)
    bead = block * BLOCK + tl.arange(0, BLOCK)
    x, y, z = _coordinates(positions, bead, bead < beads)
    box = boxes + block.to(tl.int64) * 6
    tl.store(box, _lowest(x))
    tl.store(box + 1, _lowest(y))
    tl.store(box + 2, _lowest(z))
    tl.store(box + 3, _highest(x))
    tl.store(box + 4, _highest(y))
    tl.store(box + 5, _highest(z))


@triton.jit(do_not_specialize=["beads"])
def count_neighbours(
    positions,
    built_at,
    molecule_start,
    molecule_stop,
    boxes,
    counts,
    stale,
    beads,
    radius_squared,
    PRUNE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the number of neighbours of each row to `counts` and its place to `built_at`.

    Grid: blocks of ROWS beads. Leaves early if the list is not stale.
    """
    if tl.load(stale) == 0:
        return
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = row < beads
    start = tl.load(molecule_start + row, mask=inside, other=beads)
    stop = tl.load(molecule_stop + row, mask=inside, other=0)
    x, y, z = _coordinates(positions, row, inside)
    found = tl.zeros([ROWS], tl.int32)
    block = tl.min(start, 0) // BLOCK
    blocks = tl.cdiv(tl.max(stop, 0), BLOCK)
    while block < blocks:
        skip = 0
        if PRUNE:
            skip = _skip(boxes, block, x, y, z, radius_squared)
        if skip == 0:
            column = block * BLOCK + tl.arange(0, BLOCK)
            near = _neighbours(positions, row, x, y, z, start, stop, column, radius_squared)
            found += tl.sum(near, 1)
        block += 1
    tl.store(counts + row, found, mask=inside)
    at = built_at + row.to(tl.int64) * 3
    tl.store(at, x, mask=inside)
    tl.store(at + 1, y, mask=inside)
    tl.store(at + 2, z, mask=inside)


@triton.jit(do_not_specialize=["beads", "capacity"])
def fill_rows(
    positions,
    molecule_start,
    molecule_stop,
    boxes,
    prefix,
    row_start,
    receiver,
    sender,
    stale,
    overflow,
    rebuilds,
    beads,
    capacity,
    radius_squared,
    PRUNE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write row_start, and receiver and sender of every edge at the places that `prefix` gives.

    If the edges do not fit, every row is empty and `overflow` is set. Grid: blocks of ROWS beads.
    Leaves early if the list is not stale.
    """
    if tl.load(stale) == 0:
        return
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = row < beads
    fits = tl.load(prefix + beads) <= capacity
    end = tl.load(prefix + row + 1, mask=inside, other=0)
    tl.store(row_start + row + 1, tl.where(fits, end, 0), mask=inside)
    if tl.program_id(0) == 0:
        tl.store(rebuilds, tl.load(rebuilds) + 1)
    if fits:
        place = tl.load(prefix + row, mask=inside, other=0)  # int64: of the row's next edge
        start = tl.load(molecule_start + row, mask=inside, other=beads)
        stop = tl.load(molecule_stop + row, mask=inside, other=0)
        x, y, z = _coordinates(positions, row, inside)
        block = tl.min(start, 0) // BLOCK
        blocks = tl.cdiv(tl.max(stop, 0), BLOCK)
        while block < blocks:
            skip = 0
            if PRUNE:
                skip = _skip(boxes, block, x, y, z, radius_squared)
            if skip == 0:
                column = block * BLOCK + tl.arange(0, BLOCK)
                near = _neighbours(positions, row, x, y, z, start, stop, column, radius_squared)
                edge = place[:, None] + tl.cumsum(near, 1) - 1
                senders = tl.broadcast_to(column[None, :], [ROWS, BLOCK])
                receivers = tl.broadcast_to(row[:, None], [ROWS, BLOCK])
                tl.store(sender + edge, senders, mask=near != 0)
                tl.store(receiver + edge, receivers, mask=near != 0)
                place += tl.sum(near, 1)
            block += 1
    else:
        tl.store(overflow, 1)


@triton.jit(do_not_specialize=["beads"])
def find_reverse(
    row_start,
    receiver,
    sender,
    reverse,
    stale,
    beads,
    ROWS: tl.constexpr,
    EDGES: tl.constexpr,
    STEPS: tl.constexpr,
):
    """Write where the edge i -> j lies for every edge j -> i, by bisection of row j.

    Grid: blocks of ROWS beads. STEPS: enough to bisect the longest row. Leaves early if not stale.
    """
    if tl.load(stale) == 0:
        return
    first_row = tl.program_id(0) * ROWS
    first = tl.load(row_start + first_row).to(tl.int64)
    last = tl.load(row_start + tl.minimum(first_row + ROWS, beads)).to(tl.int64)
    while first < last:
        edge = first + tl.arange(0, EDGES)
        inside = edge < last
        i = tl.load(receiver + edge, mask=inside, other=0)
        j = tl.load(sender + edge, mask=inside, other=0)
        low = tl.load(row_start + j, mask=inside, other=0).to(tl.int64)
        high = tl.load(row_start + j + 1, mask=inside, other=0).to(tl.int64)
        for _ in tl.static_range(STEPS):
            middle = (low + high) // 2
            unsettled = low < high
            before = unsettled & (tl.load(sender + middle, mask=unsettled, other=0) < i)
            high = tl.where(unsettled & (before == 0), middle, high)
            low = tl.where(before, middle + 1, low)
        tl.store(reverse + edge, low, mask=inside)
        first += EDGES


def update(verlet: VerletList, positions: Tensor) -> None:
    """Launch the check and, on the device, what follows from it. Nothing waits.

    Args:
        verlet: changed in place.
        positions: [beads, 3], contiguous, of the list's type and device.

    Raises:
        RuntimeError: tensors that are not on a GPU.
    """
    if isinstance(flag_moved, triton.JITFunction) and not positions.is_cuda:
        raise RuntimeError('neighbour list "triton" needs a GPU; use the implementation "cpu"')
    beads, radius_squared = verlet.beads, verlet.search_radius_squared
    start, stop = verlet.molecule_start, verlet.molecule_stop
    by_rows = (triton.cdiv(beads, ROWS),)
    tile = {"PRUNE": verlet.largest_molecule > PRUNE_ABOVE, "ROWS": ROWS, "BLOCK": BLOCK}
    with torch.cuda.device_of(positions):
        verlet.stale.zero_()
        flag_moved[(triton.cdiv(beads, BEADS),)](
            positions,
            verlet.built_at,
            verlet.stale,
            beads,
            verlet.trusted_displacement_squared,
            BEADS=BEADS,
            **FMA,
        )
        if tile["PRUNE"]:
            bound_blocks[(triton.cdiv(beads, BLOCK),)](
                positions, verlet.boxes, verlet.stale, beads, BLOCK=BLOCK, num_warps=1, **FMA
            )
        count_neighbours[by_rows](
            positions,
            verlet.built_at,
            start,
            stop,
            verlet.boxes,
            verlet.counts,
            verlet.stale,
            beads,
            radius_squared,
            **tile,
            **FMA,
        )
        # Not asked whether it is stale: the same counts have the same sums.
        torch.cumsum(verlet.counts, 0, dtype=torch.int64, out=verlet.prefix[1:])
        fill_rows[by_rows](
            positions,
            start,
            stop,
            verlet.boxes,
            verlet.prefix,
            verlet.row_start,
            verlet.receiver,
            verlet.sender,
            verlet.stale,
            verlet.overflow,
            verlet.rebuilds,
            beads,
            verlet.capacity,
            radius_squared,
            **tile,
            **FMA,
        )
        find_reverse[by_rows](
            verlet.row_start,
            verlet.receiver,
            verlet.sender,
            verlet.reverse,
            verlet.stale,
            beads,
            ROWS=ROWS,
            EDGES=EDGES,
            STEPS=_bisections(verlet.largest_molecule),
            **FMA,
        )


def _bisections(beads: int) -> int:
    """Return how often a row of at most `beads` - 1 edges must be halved until nothing is left.

    In steps of 4, so that few variants are compiled.
    """
    return -(-beads.bit_length() // 4) * 4


def specialisations() -> list[Specialisation]:
    """Return the variants that `update` launches: each float type, index type and size."""
    found = []
    for real in ("fp32", "fp64"):
        moved = {"positions": f"*{real}", "built_at": f"*{real}", "stale": "*i32", "beads": "i32"}
        moved["trusted_squared"] = "fp32"
        found.append(Specialisation(flag_moved, moved, {"BEADS": BEADS}))
        boxes = {"positions": f"*{real}", "boxes": f"*{real}", "stale": "*i32", "beads": "i32"}
        found.append(Specialisation(bound_blocks, boxes, {"BLOCK": BLOCK}, num_warps=1))
        for index in ("i32", "i64"):
            for prune in (False, True):
                tile = {"PRUNE": prune, "ROWS": ROWS, "BLOCK": BLOCK}
                found.append(Specialisation(count_neighbours, _count_types(real, index), tile))
                found.append(Specialisation(fill_rows, _fill_types(real, index), tile))
    for index in ("i32", "i64"):
        lists = ("row_start", "receiver", "sender", "reverse")
        types = {**dict.fromkeys(lists, f"*{index}"), "stale": "*i32", "beads": "i32"}
        for steps in (8, 12, 16):
            constants = {"ROWS": ROWS, "EDGES": EDGES, "STEPS": steps}
            found.append(Specialisation(find_reverse, types, constants))
    return found


def _count_types(real: str, index: str) -> dict[str, str]:
    types = dict.fromkeys(("positions", "built_at", "boxes"), f"*{real}")
    types |= dict.fromkeys(("molecule_start", "molecule_stop"), f"*{index}")
    types |= {"counts": "*i32", "stale": "*i32", "beads": "i32", "radius_squared": "fp32"}
    return types


def _fill_types(real: str, index: str) -> dict[str, str]:
    types = dict.fromkeys(("positions", "boxes"), f"*{real}")
    lists = ("molecule_start", "molecule_stop", "row_start", "receiver", "sender")
    types |= dict.fromkeys(lists, f"*{index}")
    types |= {"prefix": "*i64", "rebuilds": "*i64", "stale": "*i32", "overflow": "*i32"}
    types |= {"beads": "i32", "capacity": "i32" if index == "i32" else "i64"}
    return types | {"radius_squared": "fp32"}
