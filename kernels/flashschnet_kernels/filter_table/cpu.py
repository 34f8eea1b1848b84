"""The continuous-filter convolution with filters from a table, on a CPU: one pass over the pairs.

    m_i = sum_j W(r_ij) h_j,     W = c0 + t (c1 + t (c2 + t c3)),     t = s(r_ij) - k

and backward, with g = dE/dm:

    dE/dh_i  = sum_j W(r_ij) g_j
    dE/dt_ij = sum over channels of (g_i h_j + g_j h_i) (c1 + t (2 c2 + 3 t c3))

Channels are worked on in slabs of 32. A slab of the features of some hundred beads fits in the
first or second level cache, and no slab needs another one, so threads share slabs and molecules
without ever adding to the same number. Within a slab pairs come piece by piece, see `pairs_cpu.py`.
float32. Determinism: same bits every run, on any number of threads, alone and in any batch.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from flashschnet_kernels.filter_table.knots import Knots
from flashschnet_kernels.filter_table.pairs_cpu import SortedPairs
from flashschnet_kernels.filter_table.table import FilterTable
from flashschnet_kernels.numba_math import match_torch_threads
from flashschnet_kernels.numba_vectors import (
    LANES,
    SLAB,
    add,
    fma,
    load,
    multiply,
    read,
    spread,
    stay_apart,
    store,
    total,
    zeros,
)


@dataclass(frozen=True, eq=False)
class SlabTable:
    """A table of filters as the kernels read it.

    Attributes:
        knots: as in `FilterTable`.
        channels: before padding to whole slabs.
        coefficients: [blocks, slabs, pieces * 4 * 32] float32: c0, c1, c2, c3 of every piece.
    """

    knots: Knots
    channels: int
    coefficients: np.ndarray

    @property
    def slabs(self) -> int:
        """Number of slabs."""
        return int(self.coefficients.shape[1])


def pack(table: FilterTable) -> SlabTable:
    """Return a table as the kernels read it; a compact one becomes cubic, with c3 = 0."""
    blocks, rows, orders, channels = table.coefficients.shape
    slabs, pieces = -(-channels // SLAB), rows - 1
    padded = torch.zeros(blocks, pieces, 4, slabs * SLAB)
    padded[:, :, :orders, :channels] = table.coefficients[:, :pieces].cpu()
    sliced = padded.view(blocks, pieces, 4, slabs, SLAB).permute(0, 3, 1, 2, 4)
    coefficients = zeros(blocks, slabs, pieces * 4 * SLAB)
    coefficients[:] = sliced.reshape(coefficients.shape).numpy()
    return SlabTable(table.knots, channels, coefficients)


def to_slabs(values: Tensor, slabs: int, rows: int) -> np.ndarray:
    """Return [beads, channels] as [slabs, rows * 32] float32, padded with zeros."""
    beads, channels = values.shape
    padded = torch.zeros(rows, slabs * SLAB)
    padded[:beads, :channels] = values
    out = zeros(slabs, rows * SLAB)
    out[:] = padded.view(rows, slabs, SLAB).permute(1, 0, 2).reshape(slabs, rows * SLAB).numpy()
    return out


def from_slabs(values: np.ndarray, beads: int, channels: int) -> Tensor:
    """Return [slabs, rows * 32] as [beads, channels]."""
    slabs, rows = values.shape[0], values.shape[1] // SLAB
    sliced = torch.from_numpy(values).view(slabs, rows, SLAB).permute(1, 0, 2)
    return sliced.reshape(rows, slabs * SLAB)[:beads, :channels].contiguous()


def forward(features: Tensor, pairs: SortedPairs, table: SlabTable, block: int) -> Tensor:
    """Return the messages m [beads, channels] of one block.

    Args:
        features: h [beads, channels] float32 on the CPU.
        pairs: sorted for `table.knots`, with room for its slabs.
        table: of the filters.
        block: which interaction block.

    Raises:
        TypeError: features of another dtype or device.
        ValueError: shapes that do not belong together.
    """
    _check(features, pairs, table, block)
    rows = pairs.groups.beads
    messages = torch.empty(table.slabs, rows * SLAB).numpy()
    match_torch_threads()
    add_messages(
        to_slabs(features, table.slabs, rows),
        messages,
        table.coefficients[block],
        *pair_arguments(pairs),
    )
    return from_slabs(messages, rows, table.channels)


def backward(
    features: Tensor,
    gradient: Tensor,
    pairs: SortedPairs,
    table: SlabTable,
    block: int,
    *,
    wants_features: bool = True,
    fresh: bool = True,
) -> Tensor | None:
    """Return dE/dh [beads, channels], and write dE/dt of every pair to `pairs.slope`.

    Args:
        features: h [beads, channels], as for `forward`.
        gradient: dE/dm [beads, channels].
        pairs: as for `forward`; changed.
        table: of the filters.
        block: which interaction block.
        wants_features: False leaves dE/dh out, and returns None.
        fresh: False adds to the slopes of another block.

    Raises:
        TypeError: features or a gradient of another dtype or device.
        ValueError: shapes that do not belong together.
    """
    _check(features, pairs, table, block)
    _check(gradient, pairs, table, block)
    rows = pairs.groups.beads
    slabs = table.slabs
    out = torch.empty(slabs, rows * SLAB).numpy()
    match_torch_threads()
    add_gradients(
        to_slabs(features, slabs, rows),
        to_slabs(gradient, slabs, rows),
        out,
        pairs.slope,
        table.coefficients[block],
        wants_features,
        fresh,
        *pair_arguments(pairs),
    )
    return from_slabs(out, rows, table.channels) if wants_features else None


def pair_arguments(pairs: SortedPairs) -> tuple[np.ndarray, ...]:
    """Return what the kernels read of the pairs."""
    groups = pairs.groups
    return (groups.first_bead, groups.team_group, pairs.run_start, pairs.i, pairs.j, pairs.t)


def _check(values: Tensor, pairs: SortedPairs, table: SlabTable, block: int) -> None:
    if values.dtype != torch.float32 or values.device.type != "cpu":
        raise TypeError(
            f"filters from a table take float32 on the CPU, not {values.dtype} on {values.device}; "
            "use the plan reference for another dtype"
        )
    if values.shape != (pairs.groups.beads, table.channels):
        raise ValueError(
            f"features of shape {tuple(values.shape)} for {pairs.groups.beads} beads and a table "
            f"of {table.channels} channels"
        )
    if not 0 <= block < len(table.coefficients):
        raise ValueError(f"the table has {len(table.coefficients)} blocks, there is no {block}")
    if pairs.knots != table.knots or pairs.slope.shape[0] != table.slabs:
        raise ValueError(f"pairs sorted for {pairs.knots}, but the table has {table.knots}")


@njit(cache=True, parallel=True)
def add_messages(h, m, table, first_bead, team_group, run_start, i_of, j_of, t_of):
    """Write the messages; threads over teams and slabs.

    Args:
        h, m: features and messages, [slabs, rows * 32].
        table: [slabs, pieces * 4 * 32].
        first_bead, team_group, run_start, i_of, j_of, t_of: of `SortedPairs`.
    """
    slabs = table.shape[0]
    for unit in prange((team_group.shape[0] - 1) * slabs):
        team, slab = unit // slabs, unit % slabs
        first, end = team_group[team], team_group[team + 1]
        _clear(m[slab], first_bead[first] * SLAB, first_bead[end] * SLAB)
        for group in range(first, end):
            _messages(h[slab], m[slab], table[slab], run_start[group], i_of, j_of, t_of)


@njit(cache=True, parallel=True)
def add_gradients(
    h,
    g,
    out,
    slope,
    table,
    wants_features,
    fresh,
    first_bead,
    team_group,
    run_start,
    i_of,
    j_of,
    t_of,
):
    """Write dE/dh, and write or add dE/dt; threads over teams and slabs.

    Args:
        h, g, out: features, dE/dm and dE/dh, [slabs, rows * 32].
        slope: [slabs, pairs], dE/dt of each slab.
        table: [slabs, pieces * 4 * 32].
        wants_features: whether `out` is written.
        fresh: whether `slope` is written, not added to.
        first_bead, team_group, run_start, i_of, j_of, t_of: of `SortedPairs`.
    """
    slabs = table.shape[0]
    for unit in prange((team_group.shape[0] - 1) * slabs):
        team, slab = unit // slabs, unit % slabs
        first, end = team_group[team], team_group[team + 1]
        if wants_features:
            _clear(out[slab], first_bead[first] * SLAB, first_bead[end] * SLAB)
        for group in range(first, end):
            runs = run_start[group]
            if fresh:
                slope[slab, runs[0] : runs[runs.shape[0] - 1]] = np.float32(0.0)
            if wants_features:
                _gradients(
                    h[slab], g[slab], out[slab], slope[slab], table[slab], runs, i_of, j_of, t_of
                )
            else:
                _slopes(h[slab], g[slab], slope[slab], table[slab], runs, i_of, j_of, t_of)


@njit(cache=True)
def _clear(values, begin, end):
    nothing = spread(np.float32(0.0))
    for at in range(begin, end, LANES):
        store(values, at, nothing)


@njit(cache=True)
def _messages(h, m, table, run_start, i_of, j_of, t_of):
    """Add W h of every pair of a group to both ends, one slab."""
    stay_apart()
    for k in range(run_start.shape[0] - 1):
        begin, end = np.intp(run_start[k]), np.intp(run_start[k + 1])
        if begin == end:
            continue
        at = k * (4 * SLAB)
        a0, a1 = load(table, at), load(table, at + SLAB)
        a2, a3 = load(table, at + 2 * SLAB), load(table, at + 3 * SLAB)
        at += LANES
        b0, b1 = load(table, at), load(table, at + SLAB)
        b2, b3 = load(table, at + 2 * SLAB), load(table, at + 3 * SLAB)
        for p in range(begin, end):
            i, j = np.intp(read(i_of, p)), np.intp(read(j_of, p))
            t = spread(read(t_of, p))
            w = fma(fma(fma(a3, t, a2), t, a1), t, a0)
            store(m, i, fma(w, load(h, j), load(m, i)))
            store(m, j, fma(w, load(h, i), load(m, j)))
            w = fma(fma(fma(b3, t, b2), t, b1), t, b0)
            i, j = i + LANES, j + LANES
            store(m, i, fma(w, load(h, j), load(m, i)))
            store(m, j, fma(w, load(h, i), load(m, j)))


@njit(cache=True)
def _gradients(h, g, out, slope, table, run_start, i_of, j_of, t_of):
    """Add W g of every pair of a group to both ends, and dE/dt to its slope, one slab."""
    stay_apart()
    for k in range(run_start.shape[0] - 1):
        begin, end = np.intp(run_start[k]), np.intp(run_start[k + 1])
        if begin == end:
            continue
        at = k * (4 * SLAB)
        a0, a1 = load(table, at), load(table, at + SLAB)
        a2, a3 = load(table, at + 2 * SLAB), load(table, at + 3 * SLAB)
        twice_a2, thrice_a3 = add(a2, a2), add(a3, add(a3, a3))
        at += LANES
        b0, b1 = load(table, at), load(table, at + SLAB)
        b2, b3 = load(table, at + 2 * SLAB), load(table, at + 3 * SLAB)
        twice_b2, thrice_b3 = add(b2, b2), add(b3, add(b3, b3))
        for p in range(begin, end):
            i, j = np.intp(read(i_of, p)), np.intp(read(j_of, p))
            t = spread(read(t_of, p))
            w = fma(fma(fma(a3, t, a2), t, a1), t, a0)
            dw = fma(fma(thrice_a3, t, twice_a2), t, a1)
            g_i, g_j = load(g, i), load(g, j)
            store(out, i, fma(w, g_j, load(out, i)))
            store(out, j, fma(w, g_i, load(out, j)))
            change = multiply(dw, fma(g_i, load(h, j), multiply(g_j, load(h, i))))
            w = fma(fma(fma(b3, t, b2), t, b1), t, b0)
            dw = fma(fma(thrice_b3, t, twice_b2), t, b1)
            i, j = i + LANES, j + LANES
            g_i, g_j = load(g, i), load(g, j)
            store(out, i, fma(w, g_j, load(out, i)))
            store(out, j, fma(w, g_i, load(out, j)))
            change = fma(dw, fma(g_i, load(h, j), multiply(g_j, load(h, i))), change)
            slope[np.uintp(p)] += total(change)


@njit(cache=True)
def _slopes(h, g, slope, table, run_start, i_of, j_of, t_of):
    """Add dE/dt of every pair of a group to its slope, one slab."""
    stay_apart()
    for k in range(run_start.shape[0] - 1):
        begin, end = np.intp(run_start[k]), np.intp(run_start[k + 1])
        if begin == end:
            continue
        at = k * (4 * SLAB) + SLAB
        a1, a2, a3 = load(table, at), load(table, at + SLAB), load(table, at + 2 * SLAB)
        twice_a2, thrice_a3 = add(a2, a2), add(a3, add(a3, a3))
        at += LANES
        b1, b2, b3 = load(table, at), load(table, at + SLAB), load(table, at + 2 * SLAB)
        twice_b2, thrice_b3 = add(b2, b2), add(b3, add(b3, b3))
        for p in range(begin, end):
            i, j = np.intp(read(i_of, p)), np.intp(read(j_of, p))
            t = spread(read(t_of, p))
            dw = fma(fma(thrice_a3, t, twice_a2), t, a1)
            both = fma(load(g, i), load(h, j), multiply(load(g, j), load(h, i)))
            change = multiply(dw, both)
            dw = fma(fma(thrice_b3, t, twice_b2), t, b1)
            i, j = i + LANES, j + LANES
            both = fma(load(g, i), load(h, j), multiply(load(g, j), load(h, i)))
            slope[np.uintp(p)] += total(fma(dw, both, change))
