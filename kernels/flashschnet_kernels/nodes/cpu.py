"""All that happens to a bead between two sums over its neighbours, on a CPU: 8 beads at a time.

A tile of 8 beads goes through all layers between two sums while it is in the first level cache; the
weights come from the second. Rows are stored in slabs of 32 columns, as the sums want them, see
`numba_vectors`. The same numbers come out for a bead whatever tile it is in: a row of a product is
added up in the same order in all of them. float32.

Every function here works on arrays [slabs, rows * 32] whose rows are padded to a multiple of 8; see
`reference.py` for what they compute, and for the names.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from flashschnet_kernels.nodes.weights import NodeWeights
from flashschnet_kernels.numba_vectors import (
    LANES,
    SLAB,
    TILE_ROWS,
    add,
    add_product,
    fma,
    load,
    multiply,
    spread,
    stay_apart,
    store,
    tanh,
    total,
    zeros,
)

TILE = TILE_ROWS * SLAB
"""Numbers of a slab of a tile, which lie together."""


@dataclass(frozen=True, eq=False)
class SlabNodes:
    """The weights of a network as the kernels read them. A matrix [K, N] is [slabs of N, K, 32].

    Attributes:
        hidden, channels: slabs of the features x and of the messages.
        matrices: [blocks, numbers] B^T, D^T, A^T, B, D, A of every block, end to end.
        biases: [blocks, 2, 32 hidden] b and d.
        output_slabs: [layers + 1] slabs of x and of the hidden layers of the output network.
        output_matrices: O_1^T, O_2^T, ..., then O_1, O_2, ..., end to end.
        output_biases: o_1, o_2, ..., end to end.
        energy: [32 slabs of the last hidden layer] the last layer.
        energy_bias: its bias.
    """

    hidden: int
    channels: int
    matrices: np.ndarray
    biases: np.ndarray
    output_slabs: np.ndarray
    output_matrices: np.ndarray
    output_biases: np.ndarray
    energy: np.ndarray
    energy_bias: np.float32

    def arguments(self) -> tuple:
        """Return what `turn` takes of the output network."""
        layers = (self.output_slabs, self.output_matrices, self.output_biases)
        return (*layers, self.energy, self.energy_bias)


def pack(weights: NodeWeights) -> SlabNodes:
    """Return the weights of a network as the kernels read them."""
    blocks = weights.blocks
    matrices = [
        (b.update_weight.T, b.output_weight.T, b.to_channels.T)
        + (b.update_weight, b.output_weight, b.to_channels)
        for b in blocks
    ]
    layers = weights.output_weights[:-1]
    widths = [weights.embedding.shape[1], *(len(layer) for layer in layers)]
    output = [layer.T for layer in layers] + list(layers)
    return SlabNodes(
        hidden=_slabs(widths[0]),
        channels=_slabs(blocks[0].to_channels.shape[0]),
        matrices=np.stack([_joined([_matrix(m) for m in some]) for some in matrices]),
        biases=np.stack([np.stack([_row(b.update_bias), _row(b.output_bias)]) for b in blocks]),
        output_slabs=np.array([_slabs(width) for width in widths]),
        output_matrices=_joined([_matrix(m) for m in output]),
        output_biases=_joined([_row(b) for b in weights.output_biases]),
        energy=_row(weights.output_weights[-1][0]),
        energy_bias=np.float32(0.0 if weights.energy_bias is None else float(weights.energy_bias)),
    )


def _slabs(width: int) -> int:
    return -(-width // SLAB)


def _row(values: Tensor) -> np.ndarray:
    row = zeros(_slabs(len(values)) * SLAB)
    row[: len(values)] = values.detach().float().cpu().numpy()
    return row


def _matrix(matrix: Tensor) -> np.ndarray:
    """Return [K, N] as [slabs of N, K padded, 32], flat."""
    k, n = (_slabs(width) for width in matrix.shape)
    padded = torch.zeros(k * SLAB, n * SLAB)
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix.detach().float().cpu()
    sliced: np.ndarray = padded.view(-1, n, SLAB).permute(1, 0, 2).reshape(-1).numpy()
    return sliced


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    joined = zeros(max(1, sum(len(part) for part in parts)))
    if parts:
        np.concatenate(parts, out=joined)
    return joined


@njit(cache=True, parallel=True)
def update(m, x_before, x, u, h_next, matrices, biases, next_matrices, with_next, channels, hidden):
    """Write x, u, and h of the block that follows; threads over tiles.

    Args:
        m: messages of the block.
        x_before, x: features before and after; may be the same array.
        u: of the block.
        h_next: h of the block that follows.
        matrices, biases: of the block, as in `SlabNodes`.
        next_matrices: of the block that follows.
        with_next: whether there is one.
        channels, hidden: slabs.
    """
    for tile in prange(x.shape[1] // TILE):
        _update_tile(
            np.intp(tile * TILE),
            m,
            x_before,
            x,
            u,
            h_next,
            matrices,
            biases,
            next_matrices,
            with_next,
            channels,
            hidden,
        )


@njit(cache=True)
def _update_tile(
    at, m, x_before, x, u, h_next, matrices, biases, next_matrices, with_next, channels, hidden
):
    stay_apart()
    stride = x.shape[1]
    both, square = channels * hidden * SLAB * SLAB, hidden * hidden * SLAB * SLAB
    for slab in range(hidden):
        _fill(u, slab * stride + at, biases, slab * SLAB)
    _multiply(u, at, hidden, m, at, channels, matrices, np.intp(0))
    for slab in range(hidden):
        _bend(u, slab * stride + at)
        _add_row(x, x_before, slab * stride + at, biases, (hidden + slab) * SLAB)
    _multiply(x, at, hidden, u, at, hidden, matrices, both)
    if with_next:
        for slab in range(channels):
            _clear(h_next, slab * stride + at)
        _multiply(h_next, at, channels, x, at, hidden, next_matrices, both + square)


@njit(cache=True, parallel=True)
def turn(
    x,
    y,
    bend,
    u,
    g_x,
    g_m,
    energy,
    matrices,
    channels,
    output_slabs,
    output_matrices,
    biases,
    last,
    last_bias,
):
    """Write energies, g_x after the last block and g_m of the last block; threads over tiles.

    Args:
        x: features after the last block.
        y: scratch, as many slabs as the hidden layers of the output network together.
        bend: scratch, as many as the widest layer.
        u, matrices: of the last block.
        g_x, g_m: gradients.
        energy: [rows].
        channels: slabs.
        output_slabs, output_matrices, biases, last, last_bias: of the output network, as in
            `SlabNodes`.
    """
    for tile in prange(x.shape[1] // TILE):
        at = np.intp(tile * TILE)
        _turn_tile(
            at, x, y, bend, g_x, energy, output_slabs, output_matrices, biases, last, last_bias
        )
        _to_messages(g_x, bend, u, g_m, at, matrices, channels, output_slabs[0])


@njit(cache=True)
def _turn_tile(at, x, y, bend, g_x, energy, output_slabs, output_matrices, biases, last, last_bias):
    stay_apart()
    stride, layers = x.shape[1], output_slabs.shape[0] - 1
    below, values, matrix, bias = at, x, np.intp(0), 0
    place = at  # of the layer in `y`
    for layer in range(layers):
        k, n = output_slabs[layer], output_slabs[layer + 1]
        for slab in range(n):
            _fill(y, place + slab * stride, biases, bias + slab * SLAB)
        _multiply(y, place, n, values, below, k, output_matrices, matrix)
        for slab in range(n):
            _bend(y, place + slab * stride)
        below, values = place, y
        bias, matrix, place = bias + n * SLAB, matrix + k * n * SLAB * SLAB, place + n * stride
    n = output_slabs[layers]
    _energies(values, below, n, last, last_bias, energy, at // SLAB)
    if layers == 0:
        for slab in range(n):
            _fill(g_x, slab * stride + at, last, slab * SLAB)
        return
    for slab in range(n):
        _unbend_row(y, below + slab * stride, last, slab * SLAB)
    matrix *= 2
    for layer in range(layers - 1, -1, -1):
        k, n = output_slabs[layer], output_slabs[layer + 1]
        matrix -= k * n * SLAB * SLAB
        out = g_x if layer == 0 else bend
        for slab in range(k):
            _clear(out, slab * stride + at)
        _multiply(out, at, k, y, below, n, output_matrices, matrix)
        if layer > 0:
            below -= k * stride
            for slab in range(k):
                _unbend(y, below + slab * stride, bend, slab * stride + at)


@njit(cache=True, parallel=True)
def back(g_h, g_x, bend, u, g_m, matrices, matrices_before, channels, hidden):
    """Go from g_h of a block to g_m of the block before; threads over tiles.

    Args:
        g_h: of the block.
        g_x: of what the block made, and then of what it was given.
        bend: scratch.
        u, g_m: of the block before.
        matrices, matrices_before: of the block, and of the block before.
        channels, hidden: slabs.
    """
    before_a = (3 * channels * hidden + 2 * hidden * hidden) * SLAB * SLAB
    for tile in prange(g_x.shape[1] // TILE):
        at = np.intp(tile * TILE)
        _multiply(g_x, at, hidden, g_h, at, channels, matrices, before_a)
        _to_messages(g_x, bend, u, g_m, at, matrices_before, channels, hidden)


@njit(cache=True)
def _to_messages(g_x, bend, u, g_m, at, matrices, channels, hidden):
    """Write g_m = B^T ((D^T g_x) (1 - u^2)) of a tile."""
    stay_apart()
    stride = g_x.shape[1]
    both, square = channels * hidden * SLAB * SLAB, hidden * hidden * SLAB * SLAB
    for slab in range(hidden):
        _clear(bend, slab * stride + at)
    _multiply(bend, at, hidden, g_x, at, hidden, matrices, 3 * both + square)
    for slab in range(hidden):
        _unbend_into(bend, u, slab * stride + at)
    for slab in range(channels):
        _clear(g_m, slab * stride + at)
    _multiply(g_m, at, channels, bend, at, hidden, matrices, 2 * both + square)


@njit(cache=True)
def _multiply(out, out_at, n, a, a_at, k, weights, weights_at):
    """Add the product of a tile of k slabs with a matrix to a tile of n slabs."""
    stay_apart()
    for _ in range(n):
        add_product(out, out_at, a, a_at, a.shape[1], k, weights, weights_at)
        out_at += out.shape[1]
        weights_at += k * (SLAB * SLAB)


@njit(cache=True)
def _clear(out, at):
    stay_apart()
    nothing = spread(np.float32(0.0))
    for place in range(at, at + TILE, LANES):
        store(out, place, nothing)


@njit(cache=True)
def _fill(out, at, row, row_at):
    """Write the same 32 numbers to every row of a slab of a tile."""
    stay_apart()
    left, right = load(row, row_at), load(row, row_at + LANES)
    for place in range(at, at + TILE, SLAB):
        store(out, place, left)
        store(out, place + LANES, right)


@njit(cache=True)
def _add_row(out, before, at, row, row_at):
    stay_apart()
    left, right = load(row, row_at), load(row, row_at + LANES)
    for place in range(at, at + TILE, SLAB):
        store(out, place, add(load(before, place), left))
        store(out, place + LANES, add(load(before, place + LANES), right))


@njit(cache=True)
def _bend(values, at):
    """Replace a slab of a tile by its tanh."""
    stay_apart()
    for place in range(at, at + TILE, LANES):
        store(values, place, tanh(load(values, place)))


@njit(cache=True)
def _one_minus_square(x):
    return fma(multiply(x, spread(np.float32(-1.0))), x, spread(np.float32(1.0)))


@njit(cache=True)
def _unbend(y, y_at, gradient, gradient_at):
    """Write gradient (1 - y^2) over y."""
    stay_apart()
    for place in range(0, TILE, LANES):
        slope = _one_minus_square(load(y, y_at + place))
        store(y, y_at + place, multiply(load(gradient, gradient_at + place), slope))


@njit(cache=True)
def _unbend_into(gradient, u, at):
    """Write gradient (1 - u^2) over the gradient."""
    stay_apart()
    for place in range(at, at + TILE, LANES):
        slope = _one_minus_square(load(u, place))
        store(gradient, place, multiply(load(gradient, place), slope))


@njit(cache=True)
def _unbend_row(y, at, row, row_at):
    """Write row (1 - y^2) over y."""
    stay_apart()
    left, right = load(row, row_at), load(row, row_at + LANES)
    for place in range(at, at + TILE, SLAB):
        store(y, place, multiply(left, _one_minus_square(load(y, place))))
        after = place + LANES
        store(y, after, multiply(right, _one_minus_square(load(y, after))))


@njit(cache=True)
def _energies(y, at, n, last, last_bias, energy, first_row):
    """Write what the last layer makes of each row of a tile."""
    stay_apart()
    for row in range(TILE_ROWS):
        share = spread(np.float32(0.0))
        for slab in range(n):
            for part in range(0, SLAB, LANES):
                values = load(y, at + slab * y.shape[1] + row * SLAB + part)
                share = fma(values, load(last, slab * SLAB + part), share)
        energy[first_row + row] = total(share) + last_bias
