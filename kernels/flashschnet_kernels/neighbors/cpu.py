"""Verlet list on a CPU: the same list as the GPU's, by compiled loops, parallel over rows.

A row is compared with the beads of its molecule in ascending order, twice: to count, then to fill.
Above a size, blocks of consecutive beads whose bounding box is out of reach are passed over; see
`triton.py` for why a box never hides a neighbour. Determinism: same bits every run, on any number
of threads. No gradient: a list is a set of indices.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from torch import Tensor

from flashschnet_kernels.neighbors.verlet import BLOCK, PRUNE_ABOVE, VerletList
from flashschnet_kernels.numba_math import match_torch_threads


def update(verlet: VerletList, positions: Tensor) -> None:
    """Check the displacements and build if one is too large.

    Args:
        verlet: changed in place.
        positions: [beads, 3], contiguous, of the list's type, on the CPU.

    Raises:
        RuntimeError: tensors that are not on the CPU.
    """
    if positions.device.type != "cpu":
        raise RuntimeError('neighbour list "cpu" is for a CPU; use the implementation "triton"')
    x, built_at = positions.numpy(), verlet.built_at.numpy()
    stale = _has_moved(x, built_at, x.dtype.type(verlet.trusted_displacement_squared))
    verlet.stale[0] = int(stale)
    if not stale:
        return
    match_torch_threads()
    built_at[:] = x
    verlet.rebuilds.add_(1)
    start, stop = verlet.molecule_start.numpy(), verlet.molecule_stop.numpy()
    boxes, row_start = verlet.boxes.numpy(), verlet.row_start.numpy()
    counts, prefix = verlet.counts.numpy(), verlet.prefix.numpy()
    radius_squared = x.dtype.type(verlet.search_radius_squared)
    prune = verlet.largest_molecule > PRUNE_ABOVE
    if prune:
        _bound_blocks(x, boxes)
    columns = np.ascontiguousarray(x.T)  # [3, beads]: consecutive beads side by side
    _count(columns, start, stop, boxes, prune, radius_squared, counts)
    np.cumsum(counts, out=prefix[1:])
    if prefix[-1] > verlet.capacity:
        row_start[:] = 0
        verlet.overflow.fill_(1)
        return
    row_start[:] = prefix
    receiver, sender = verlet.receiver.numpy(), verlet.sender.numpy()
    _fill(columns, start, stop, boxes, prune, radius_squared, row_start, receiver, sender)
    starts = np.cumsum((0, *verlet.molecule_sizes))
    _find_reverse(starts, row_start, sender, verlet.reverse.numpy())


@njit(cache=True)
def _has_moved(x, built_at, trusted_squared):
    """Return whether a bead is further than that from its place at the build, or is nowhere."""
    for i in range(x.shape[0]):
        dx, dy, dz = x[i, 0] - built_at[i, 0], x[i, 1] - built_at[i, 1], x[i, 2] - built_at[i, 2]
        if not (dx * dx + dy * dy + dz * dz <= trusted_squared):
            return True
    return False


@njit(cache=True)
def _bound_blocks(x, boxes):
    """Write lowest and highest x, y, z of each block; NaN coordinates are left out."""
    for block in range(boxes.shape[0]):
        for axis in range(3):
            boxes[block, axis], boxes[block, axis + 3] = np.inf, -np.inf
        for i in range(block * BLOCK, min((block + 1) * BLOCK, x.shape[0])):
            for axis in range(3):
                if x[i, axis] < boxes[block, axis]:
                    boxes[block, axis] = x[i, axis]
                if x[i, axis] > boxes[block, axis + 3]:
                    boxes[block, axis + 3] = x[i, axis]


@njit(cache=True, inline="always")
def _out_of_reach(box, x, y, z, radius_squared):
    """Return whether the point is too far from the box."""
    zero = x - x  # of the positions' type
    dx = max(box[0] - x, x - box[3], zero)
    dy = max(box[1] - y, y - box[4], zero)
    dz = max(box[2] - z, z - box[5], zero)
    return dx * dx + dy * dy + dz * dz >= radius_squared


@njit(cache=True, parallel=True)
def _count(columns, start, stop, boxes, prune, radius_squared, counts):
    """Write the number of neighbours of each bead."""
    for i in prange(counts.shape[0]):
        x, y, z = columns[0, i], columns[1, i], columns[2, i]
        found = 0
        first, end = start[i], stop[i]
        length = BLOCK if prune else end - first
        at = (first // BLOCK) * BLOCK if prune else first
        while at < end:
            if not prune or not _out_of_reach(boxes[at // BLOCK], x, y, z, radius_squared):
                for j in range(max(at, first), min(at + length, end)):
                    dx, dy, dz = columns[0, j] - x, columns[1, j] - y, columns[2, j] - z
                    found += dx * dx + dy * dy + dz * dz < radius_squared
            at += length
        # A bead is near itself, unless it is nowhere.
        own = x - x + (y - y) + (z - z)
        counts[i] = found - (own < radius_squared)


@njit(cache=True, parallel=True)
def _fill(columns, start, stop, boxes, prune, radius_squared, row_start, receiver, sender):
    """Write the neighbours of each bead from `row_start` on, ascending."""
    for i in prange(row_start.shape[0] - 1):
        x, y, z = columns[0, i], columns[1, i], columns[2, i]
        edge = row_start[i]
        first, end = start[i], stop[i]
        length = BLOCK if prune else end - first
        at = (first // BLOCK) * BLOCK if prune else first
        while at < end:
            if not prune or not _out_of_reach(boxes[at // BLOCK], x, y, z, radius_squared):
                for j in range(max(at, first), min(at + length, end)):
                    dx, dy, dz = columns[0, j] - x, columns[1, j] - y, columns[2, j] - z
                    if dx * dx + dy * dy + dz * dz < radius_squared and j != i:
                        receiver[edge] = i
                        sender[edge] = j
                        edge += 1
            at += length


@njit(cache=True, parallel=True)
def _find_reverse(starts, row_start, sender, reverse):
    """Write where the opposite of each edge lies, in one walk over each molecule.

    Rows are walked in ascending order, and the row of j names its senders in ascending order. So
    the edges that name j as sender are met in just the order in which the row of j holds their
    opposites: the next one is where the last one ended.
    """
    for molecule in prange(starts.shape[0] - 1):
        first, stop = starts[molecule], starts[molecule + 1]
        following = row_start[first:stop].copy()
        for edge in range(row_start[first], row_start[stop]):
            j = sender[edge] - first
            reverse[edge] = following[j]
            following[j] += 1
