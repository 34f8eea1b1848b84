"""The pairs of beads of a step, sorted by the piece of the table that they read, on a CPU.

Sorted so, the coefficients of a piece are loaded once for all its pairs, and stay in registers.
Features of beads, on the other hand, are few enough for the first or second level cache, wherever
they lie. Whatever list of pairs is given, a molecule's pairs come out in the same order: by piece,
then as listed. So sums repeat to the bit, alone, in any batch and on any number of threads.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from flashschnet_kernels.filter_table.knots import Knots
from flashschnet_kernels.numba_math import exponential
from flashschnet_kernels.numba_vectors import SLAB, stay_apart

GROUP_BEADS = 320
"""Beads of small molecules that are sorted together, so that more pairs share a piece."""
ROW_BLOCK = 2048
"""Beads of a large molecule whose pairs are sorted together: their features fit in the cache."""
SEGMENT = 4096
"""Pairs that a thread sorts at a time."""
PARTS = 4
"""Sums of the gradient of a bead that are made independently of each other: threads may share."""

_SLAB = np.uintp(SLAB)


@dataclass(frozen=True, eq=False)
class Groups:
    """Which beads' pairs are sorted together. A team is what one thread works on: some groups.

    Attributes:
        beads: number of beads.
        first_bead: [groups + 1] int64; the pairs (i, j) of a group are those with i among its
            beads.
        team_group: [teams + 1] int64, first group of each team. No pair joins two teams.
    """

    beads: int
    first_bead: np.ndarray
    team_group: np.ndarray


def groups_of(molecule_sizes: Sequence[int]) -> Groups:
    """Return the groups of molecules laid end to end: several small ones, or a part of a large."""
    first_bead, team_group = [0], [0]
    stop = 0
    for size in molecule_sizes:
        start, stop = stop, stop + size
        if stop - first_bead[team_group[-1]] > GROUP_BEADS and start > first_bead[-1]:
            first_bead.append(start)
            team_group.append(len(first_bead) - 1)
        first_bead += range(start + ROW_BLOCK, stop, ROW_BLOCK)
    if stop > first_bead[-1]:
        first_bead.append(stop)
        team_group.append(len(first_bead) - 1)
    return Groups(
        beads=stop,
        first_bead=np.array(first_bead, dtype=np.int64),
        team_group=np.array(team_group, dtype=np.int64),
    )


@dataclass(frozen=True, eq=False)
class SortedPairs:
    """Pairs within the cutoff, by group, then by piece; `sort` fills it in.

    Attributes:
        knots: of the table.
        groups: of the beads.
        listed: [2, listed] int32, the pairs to choose from, i < j, sorted by i.
        segment_start: [segments + 1] int64, where each begins among the listed pairs.
        group_segment: [groups + 1] int64, first segment of each group.
        counts: [segments, pieces + 1] int32, scratch.
        piece, coordinate, pulled: [listed] scratch.
        run_start: [groups, pieces + 1] int32; pairs of a group in piece k are those from
            run_start[k] to run_start[k + 1].
        i, j: [listed] int32, bead times `SLAB`: where its features begin.
        t: [listed] float32, place within the piece.
        pull: [listed] float32, (ds/dr) / r: what turns dE/dt into a gradient along x_j - x_i.
        slope: [slabs, listed] float32, dE/dt of each pair, by slab of channels.
        parts: [PARTS, beads, 3] float32, scratch.
    """

    knots: Knots
    groups: Groups
    listed: np.ndarray
    segment_start: np.ndarray
    group_segment: np.ndarray
    counts: np.ndarray
    piece: np.ndarray
    coordinate: np.ndarray
    pulled: np.ndarray
    run_start: np.ndarray
    i: np.ndarray
    j: np.ndarray
    t: np.ndarray
    pull: np.ndarray
    slope: np.ndarray
    parts: np.ndarray


def room_for(pairs: Tensor, groups: Groups, knots: Knots, slabs: int) -> SortedPairs:
    """Make room for the pairs of a list.

    Args:
        pairs: [2, pairs] int32 or int64 on the CPU, i < j, sorted by i, no pair twice.
        groups: of the beads.
        knots: of the table.
        slabs: number of slabs of channels.
    """
    listed = pairs.to(torch.int32).contiguous().numpy()
    room = listed.shape[1]
    at = np.searchsorted(listed[0], groups.first_bead).astype(np.int64)
    start, first = [0], [0]
    for begin, end in zip(at[:-1], at[1:], strict=True):
        start += [*range(begin + SEGMENT, end, SEGMENT), end]
        first.append(len(start) - 1)

    def numbers(dtype: torch.dtype, *shape: int) -> np.ndarray:
        empty: np.ndarray = torch.empty(shape, dtype=dtype).numpy()
        return empty

    return SortedPairs(
        knots=knots,
        groups=groups,
        listed=listed,
        segment_start=np.array(start, dtype=np.int64),
        group_segment=np.array(first, dtype=np.int64),
        counts=numbers(torch.int32, len(start) - 1, knots.pieces + 1),
        piece=numbers(torch.int32, room),
        coordinate=numbers(torch.float32, room),
        pulled=numbers(torch.float32, room),
        run_start=numbers(torch.int32, len(groups.first_bead) - 1, knots.pieces + 1),
        i=numbers(torch.int32, room),
        j=numbers(torch.int32, room),
        t=numbers(torch.float32, room),
        pull=numbers(torch.float32, room),
        slope=numbers(torch.float32, slabs, room),
        parts=numbers(torch.float32, PARTS, groups.beads, 3),
    )


def sort(sorted_pairs: SortedPairs, positions: np.ndarray) -> None:
    """Find the pairs within the cutoff at some positions [beads, 3] float32 and sort them."""
    sort_pairs(positions, *sort_arguments(sorted_pairs))


def sort_arguments(pairs: SortedPairs) -> tuple:
    """Return what `sort_pairs` takes after the positions."""
    knots = pairs.knots
    numbers = tuple(np.float32(n) for n in (knots.cutoff**2, knots.stretch, knots.scale))
    scratch = (pairs.counts, pairs.piece, pairs.coordinate, pairs.pulled)
    found = (pairs.run_start, pairs.i, pairs.j, pairs.t, pairs.pull)
    return (pairs.listed, pairs.segment_start, pairs.group_segment, *numbers, *scratch, *found)


def position_gradient(pairs: SortedPairs, positions: np.ndarray, out: np.ndarray) -> None:
    """Write dE/dx [beads, 3] from `slope`."""
    add_slopes(positions, *gradient_arguments(pairs), out)


def gradient_arguments(pairs: SortedPairs) -> tuple:
    """Return what `add_slopes` takes between the positions and the result."""
    groups = (pairs.groups.first_bead, pairs.groups.team_group)
    return (*groups, pairs.run_start, pairs.i, pairs.j, pairs.pull, pairs.slope, pairs.parts)


@njit(cache=True)
def sort_pairs(
    positions,
    listed,
    segment_start,
    group_segment,
    cutoff_squared,
    stretch,
    scale,
    counts,
    piece,
    coordinate,
    pulled,
    run_start,
    i_of,
    j_of,
    t_of,
    pull_of,
):
    """Find the pairs within the cutoff and sort them."""
    pieces = run_start.shape[1] - 1
    i_listed, j_listed = listed[0], listed[1]
    _find_pieces(
        positions,
        i_listed,
        j_listed,
        segment_start,
        cutoff_squared,
        stretch,
        scale,
        pieces,
        counts,
        piece,
        coordinate,
        pulled,
    )
    _find_places(segment_start, group_segment, counts, run_start)
    _put_in_place(
        i_listed,
        j_listed,
        segment_start,
        counts,
        piece,
        coordinate,
        pulled,
        i_of,
        j_of,
        t_of,
        pull_of,
    )


@njit(cache=True, parallel=True)
def _find_pieces(
    positions,
    i_listed,
    j_listed,
    segment_start,
    cutoff_squared,
    stretch,
    scale,
    pieces,
    counts,
    piece,
    coordinate,
    pulled,
):
    """Write piece, place in it and pull of every listed pair, and count; beyond is piece `pieces`.

    Three loops, of which the second becomes vector instructions.
    """
    for segment in prange(counts.shape[0]):
        some = slice(segment_start[segment], segment_start[segment + 1])
        pieces_of, numbers = piece[some], coordinate[some]
        _square_distances(positions, i_listed[some], j_listed[some], numbers)
        _read_coordinates(
            numbers, cutoff_squared, stretch, scale, np.int32(pieces), pieces_of, pulled[some]
        )
        counted = counts[segment]
        counted[:] = 0
        for p in range(pieces_of.shape[0]):
            counted[np.uintp(pieces_of[p])] += 1


@njit(cache=True, fastmath={"contract", "nsz"})
def _square_distances(positions, i_listed, j_listed, squares):
    stay_apart()
    for p in range(squares.shape[0]):
        i, j = np.uintp(i_listed[p]), np.uintp(j_listed[p])
        dx = positions[j, 0] - positions[i, 0]
        dy = positions[j, 1] - positions[i, 1]
        dz = positions[j, 2] - positions[i, 2]
        squares[p] = dx * dx + dy * dy + dz * dz


@njit(cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def _read_coordinates(numbers, cutoff_squared, stretch, scale, pieces, piece, pulled):
    """Turn squared distances into places within pieces; write pieces and pulls."""
    stay_apart()
    zero, half, one = np.float32(0.0), np.float32(0.5), np.float32(1.0)
    for p in range(numbers.shape[0]):
        square = numbers[p]
        r = np.float32(math.sqrt(square))
        near = exponential(-stretch * r)
        s = scale * (r if stretch == zero else one - near)
        slope = scale if stretch == zero else scale * stretch * near
        # What is not a number must stay that, in a piece that exists.
        k = min(np.int32(s if s > zero else zero), pieces - np.int32(1))
        piece[p] = pieces if square >= cutoff_squared else k
        numbers[p] = s - np.float32(k) - half
        # Beads in one place have no direction.
        pulled[p] = slope / r if r > zero else zero


@njit(cache=True, parallel=True)
def _find_places(segment_start, group_segment, counts, run_start):
    """Turn counts into places: by piece, then by segment; beyond the cutoff comes last."""
    pieces = run_start.shape[1] - 1
    for group in prange(run_start.shape[0]):
        first, end = group_segment[group], group_segment[group + 1]
        place = np.int32(segment_start[first])
        for k in range(pieces + 1):
            run_start[group, k] = place
            for segment in range(first, end):
                count = counts[segment, k]
                counts[segment, k] = place
                place += count


@njit(cache=True, parallel=True)
def _put_in_place(
    i_listed,
    j_listed,
    segment_start,
    counts,
    piece,
    coordinate,
    pulled,
    i_of,
    j_of,
    t_of,
    pull_of,
):
    for segment in prange(counts.shape[0]):
        following = counts[segment]
        for p in range(segment_start[segment], segment_start[segment + 1]):
            k = np.uintp(piece[p])
            place = np.uintp(following[k])
            following[k] += 1
            i_of[place] = i_listed[p] * np.int32(SLAB)
            j_of[place] = j_listed[p] * np.int32(SLAB)
            t_of[place] = coordinate[p]
            pull_of[place] = pulled[p]


@njit(cache=True)
def add_slopes(
    positions, first_bead, team_group, run_start, i_of, j_of, pull_of, slope, parts, out
):
    """Write dE/dx [beads, 3]: every piece adds to one of the parts, and they are added up."""
    _scatter(positions, first_bead, team_group, run_start, i_of, j_of, pull_of, slope, parts)
    _add_parts(parts, out)


@njit(cache=True, parallel=True, error_model="numpy", fastmath={"contract"})
def _scatter(positions, first_bead, team_group, run_start, i_of, j_of, pull_of, slope, parts):
    """Add the gradient of the pairs of every fourth piece to the part of their number."""
    pieces, slabs = run_start.shape[1] - 1, slope.shape[0]
    for unit in prange((team_group.shape[0] - 1) * PARTS):
        team, part = unit // PARTS, unit % PARTS
        first, end = team_group[team], team_group[team + 1]
        sums = parts[part]
        sums[first_bead[first] : first_bead[end]] = np.float32(0.0)
        for group in range(first, end):
            for k in range(part, pieces, PARTS):
                for p in range(run_start[group, k], run_start[group, k + 1]):
                    change = slope[0, p]
                    for slab in range(1, slabs):
                        change += slope[slab, p]
                    change *= pull_of[p]
                    i, j = np.uintp(i_of[p]) // _SLAB, np.uintp(j_of[p]) // _SLAB
                    x = change * (positions[j, 0] - positions[i, 0])
                    y = change * (positions[j, 1] - positions[i, 1])
                    z = change * (positions[j, 2] - positions[i, 2])
                    sums[i, 0] -= x
                    sums[i, 1] -= y
                    sums[i, 2] -= z
                    sums[j, 0] += x
                    sums[j, 1] += y
                    sums[j, 2] += z


@njit(cache=True, fastmath={"contract"})
def _add_parts(parts, out):
    for bead in range(out.shape[0]):
        for axis in range(3):
            out[bead, axis] = (parts[0, bead, axis] + parts[1, bead, axis]) + (
                parts[2, bead, axis] + parts[3, bead, axis]
            )
