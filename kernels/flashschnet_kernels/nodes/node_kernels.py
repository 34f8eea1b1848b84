"""All bead work between two sums over neighbours as Triton kernels: one launch instead of twenty.

A program takes BEADS beads with all their features. It adds up their partial sums itself (so that
sums over neighbours never exist in global memory), then runs layer after layer on matrix units
without leaving the chip.

PRODUCTS 1 multiplies float16 numbers; 3 multiplies both halves of them, good to float32. Either
way a row of inputs is first scaled by a power of two near its largest number, so that nothing
over- or underflows, whatever the model's units are.

Matrices up to WHOLE wide are read whole, wider ones SLAB rows at a time. WIDTH is that of beads,
matrices and output layers, CHANNELS that of messages and of the features that are summed.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import triton
import triton.language as tl

from flashschnet_kernels.nodes import pack

STEPS: tl.constexpr = tl.constexpr(6)
WHOLE: tl.constexpr = tl.constexpr(pack.WHOLE)
SLAB: tl.constexpr = tl.constexpr(32)
STAGES: tl.constexpr = tl.constexpr(3)


@triton.jit
def power_of_two(x):
    """Return the largest power of two not above positive x, and its inverse; 1 and 1 for zero."""
    bits = tl.maximum(x.to(tl.int32, bitcast=True) & 0x7F800000, 0x00800000)
    bits = tl.minimum(tl.where(x > 0.0, bits, 0x3F800000), 0x7E000000)
    inverse = 0x7F000000 - bits
    return bits.to(tl.float32, bitcast=True), inverse.to(tl.float32, bitcast=True)


@triton.jit
def matrix_at(matrices, number, half, WIDTH: tl.constexpr):
    """Return the high half (0) or the low half (1) of a matrix [WIDTH, WIDTH] float16."""
    k, n = tl.arange(0, WIDTH)[:, None], tl.arange(0, WIDTH)[None, :]
    return tl.load(matrices + (2 * number + half) * (WIDTH * WIDTH) + k * WIDTH + n)


@triton.jit
def whole_product(x, matrices, number, WIDTH: tl.constexpr, PRODUCTS: tl.constexpr):
    """Return x @ matrix [BEADS, WIDTH] in float32 but for the scale, of x [BEADS, WIDTH]."""
    high = x.to(tl.float16)
    matrix = matrix_at(matrices, number, 0, WIDTH)
    product = tl.dot(high, matrix)
    if PRODUCTS == 3:
        low = (x - high.to(tl.float32)).to(tl.float16)
        product = tl.dot(low, matrix, acc=product)
        product = tl.dot(high, matrix_at(matrices, number, 1, WIDTH), acc=product)
    return product


@triton.jit
def slab_product(
    x, matrices, number, OUT: tl.constexpr, WIDTH: tl.constexpr, PRODUCTS: tl.constexpr
):
    """Return what `whole_product` does [BEADS, OUT], of x [BEADS, CHANNELS or WIDTH].

    Slabs of the matrix are on their way from the cache while those before are multiplied.
    """
    high = x.to(tl.float16)
    low = (x - high.to(tl.float32)).to(tl.float16)
    n = tl.arange(0, OUT)[None, :]
    product = tl.zeros([x.shape[0], OUT], tl.float32)
    for first in tl.range(0, x.shape[1], SLAB, num_stages=STAGES):
        k = first + tl.arange(0, SLAB)
        at = matrices + 2 * number * (WIDTH * WIDTH) + k[:, None] * WIDTH + n
        slab = tl.load(at)
        columns = tl.broadcast_to(k[None, :], [x.shape[0], SLAB])
        high_part = tl.gather(high, columns, axis=1)
        product = tl.dot(high_part, slab, acc=product)
        if PRODUCTS == 3:
            product = tl.dot(tl.gather(low, columns, axis=1), slab, acc=product)
            product = tl.dot(high_part, tl.load(at + WIDTH * WIDTH), acc=product)
    return product


@triton.jit
def layer(
    x, matrices, scales, number, OUT: tl.constexpr, WIDTH: tl.constexpr, PRODUCTS: tl.constexpr
):
    """Return x @ matrix [BEADS, OUT] in float32, of x [BEADS, CHANNELS or WIDTH] of any size."""
    up, down = power_of_two(tl.max(tl.abs(x), axis=1))
    x = x * down[:, None]
    if WIDTH <= WHOLE:
        product = whole_product(x, matrices, number, WIDTH, PRODUCTS)
    else:
        product = slab_product(x, matrices, number, OUT, WIDTH, PRODUCTS)
    scale = tl.load(scales + number * WIDTH + tl.arange(0, OUT))
    return product * (up[:, None] * scale[None, :])


@triton.jit
def row_of(vectors, number, WIDTH: tl.constexpr):
    """Return a vector of `biases` as [1, WIDTH]."""
    return tl.load(vectors + number * WIDTH + tl.arange(0, WIDTH))[None, :]


@triton.jit
def tanh(x):
    """Return tanh x = 1 - 2 / (1 + e^(2 x)), to about 3e-7."""
    root = tl.rsqrt(1.0 + tl.exp2(2.885390081777927 * x))
    return 1.0 - 2.0 * (root * root)


@triton.jit
def beads_of(
    first_bead,
    molecule_end,
    row_blocks,
    BEADS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Return row block, place in it, bead and whether there is one, [BEADS] each."""
    slot = tl.program_id(0) * BEADS + tl.arange(0, BEADS)
    row, own = slot // ROWS, slot % ROWS
    there = row < row_blocks
    bead = tl.load(first_bead + row, mask=there, other=0) + own
    inside = there & (bead < tl.load(molecule_end + row, mask=there, other=0))
    return row, own, bead, inside


@triton.jit
def gathered(
    row_sums,  # [row blocks, splits, ROWS, CHANNELS]
    column_sums,  # [row blocks * most_tiles, ROWS, CHANNELS]
    incoming_count,
    incoming,  # [row blocks, candidates]
    first_tile,  # that column sums begin with
    row,
    own,
    inside,
    candidates,
    splits,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Return the sum of all partial sums of some beads [BEADS, CHANNELS], in a fixed order."""
    w = tl.arange(0, CHANNELS)[None, :]
    total = tl.zeros([row.shape[0], CHANNELS], tl.float32)
    for split in range(0, splits):
        at = ((row.to(tl.int64) * splits + split) * ROWS + own) * CHANNELS
        total += tl.load(row_sums + at[:, None] + w, mask=inside[:, None], other=0.0)
    tiles = tl.load(incoming_count + row, mask=inside, other=0)  # [BEADS]
    line = row.to(tl.int64) * candidates
    # Several tiles at a time: their loads wait for each other otherwise.
    for several in range(0, tl.max(tiles, axis=0), STEPS):
        for one in tl.static_range(STEPS):
            there = several + one < tiles
            tile = tl.load(incoming + line + several + one, mask=there, other=0)
            at = ((tile - first_tile).to(tl.int64) * ROWS + own) * CHANNELS
            at = column_sums + at[:, None] + w
            if column_sums.dtype.element_ty == tl.bfloat16:  # written past the caches, read once
                part = tl.load(at, mask=there[:, None], other=0.0, eviction_policy="evict_first")
            else:
                part = tl.load(at, mask=there[:, None], other=0.0)
            total += part.to(tl.float32)
    return total


@triton.jit
def hidden_of(
    messages,
    matrices,
    scales,
    biases,
    block,
    WIDTH: tl.constexpr,
    PRODUCTS: tl.constexpr,
):
    """Return u = tanh(B m + b), the hidden layer of an update."""
    u = layer(messages, matrices, scales, 6 * block, WIDTH, WIDTH, PRODUCTS)
    return tanh(u + row_of(biases, 2 * block, WIDTH))


@triton.jit
def update_of(u, matrices, scales, biases, block, WIDTH: tl.constexpr, PRODUCTS: tl.constexpr):
    """Return D u + d, what an update adds to x."""
    y = layer(u, matrices, scales, 6 * block + 1, WIDTH, WIDTH, PRODUCTS)
    return y + row_of(biases, 2 * block + 1, WIDTH)


@triton.jit
def forward_kernel(
    row_sums,
    column_sums,
    x_in,  # [beads, WIDTH]
    x_out,
    h_out,  # [beads, CHANNELS], features of the next block
    u_out,  # [beads, WIDTH], float32 or float16
    matrices,
    scales,
    biases,
    first_bead,
    molecule_end,
    incoming_count,
    incoming,
    first_tile,
    block,
    row_blocks,
    candidates,
    splits,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    BEADS: tl.constexpr,
    PRODUCTS: tl.constexpr,
):
    """From the messages of a block to the features of the next; grid (row blocks ROWS / BEADS,).

    u = tanh(B m + b), x <- x + D u + d, h = A x. Deterministic.
    """
    row, own, bead, inside = beads_of(first_bead, molecule_end, row_blocks, BEADS, ROWS)
    messages = gathered(
        row_sums,
        column_sums,
        incoming_count,
        incoming,
        first_tile,
        row,
        own,
        inside,
        candidates,
        splits,
        ROWS,
        CHANNELS,
    )
    at = bead.to(tl.int64)[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]
    at_channels = bead.to(tl.int64)[:, None] * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    keep = inside[:, None]
    u = hidden_of(messages, matrices, scales, biases, block, WIDTH, PRODUCTS)
    tl.store(u_out + at, u.to(u_out.dtype.element_ty), mask=keep)  # for the backward
    y = update_of(u, matrices, scales, biases, block, WIDTH, PRODUCTS)
    x = tl.load(x_in + at, mask=keep, other=0.0) + y
    tl.store(x_out + at, x, mask=keep)
    h = layer(x, matrices, scales, 6 * block + 8, CHANNELS, WIDTH, PRODUCTS)  # A of the next block
    tl.store(h_out + at_channels, h, mask=keep)


@triton.jit
def turn_kernel(
    row_sums,
    column_sums,
    x_in,
    energy_out,  # [beads]
    g_x_out,  # [beads, WIDTH], dE/dx after the last block
    g_m_out,  # [beads, CHANNELS], dE/dm of the last block
    matrices,
    scales,
    biases,
    first_bead,
    molecule_end,
    incoming_count,
    incoming,
    first_tile,
    block,
    row_blocks,
    candidates,
    splits,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    BEADS: tl.constexpr,
    PRODUCTS: tl.constexpr,
    LAYERS: tl.constexpr,
    ENERGY_BIAS: tl.constexpr,
):
    """From the messages of the last block to the energy and back to their gradient.

    The output network is e1 = tanh(O1 x + o1), e2 = tanh(O2 e1 + o2), E = o e2, or E = o e1 of one
    layer, with a bias if ENERGY_BIAS. Grid and order as in `forward_kernel`.
    """
    row, own, bead, inside = beads_of(first_bead, molecule_end, row_blocks, BEADS, ROWS)
    messages = gathered(
        row_sums,
        column_sums,
        incoming_count,
        incoming,
        first_tile,
        row,
        own,
        inside,
        candidates,
        splits,
        ROWS,
        CHANNELS,
    )
    at = bead.to(tl.int64)[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]
    at_channels = bead.to(tl.int64)[:, None] * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    keep = inside[:, None]
    u = hidden_of(messages, matrices, scales, biases, block, WIDTH, PRODUCTS)
    y = update_of(u, matrices, scales, biases, block, WIDTH, PRODUCTS)
    x = tl.load(x_in + at, mask=keep, other=0.0) + y
    first = 6 * block + 6
    e1 = layer(x, matrices, scales, first, WIDTH, WIDTH, PRODUCTS)
    e1 = tanh(e1 + row_of(biases, 2 * block + 2, WIDTH))
    e2 = e1
    if LAYERS == 2:
        e2 = layer(e1, matrices, scales, first + 1, WIDTH, WIDTH, PRODUCTS)
        e2 = tanh(e2 + row_of(biases, 2 * block + 3, WIDTH))
    last = row_of(biases, 2 * block + 2 + LAYERS, WIDTH)
    energy = tl.sum(e2 * last, axis=1)
    if ENERGY_BIAS:
        energy += tl.load(biases + (2 * block + 3 + LAYERS) * WIDTH)
    tl.store(energy_out + bead, energy, mask=inside)
    if LAYERS == 2:
        g = layer(last * (1.0 - e2 * e2), matrices, scales, first + 3, WIDTH, WIDTH, PRODUCTS)
    else:
        g = last
    g_x = layer(g * (1.0 - e1 * e1), matrices, scales, first + LAYERS, WIDTH, WIDTH, PRODUCTS)
    tl.store(g_x_out + at, g_x, mask=keep)
    g_u = layer(g_x, matrices, scales, 6 * block + 4, WIDTH, WIDTH, PRODUCTS) * (1.0 - u * u)
    g_m = layer(g_u, matrices, scales, 6 * block + 3, CHANNELS, WIDTH, PRODUCTS)
    tl.store(g_m_out + at_channels, g_m, mask=keep)


@triton.jit
def backward_kernel(
    row_sums,  # of dE/dh of the next block
    column_sums,
    g_x_at,  # [beads, WIDTH], dE/dx: read, and written for the block before
    g_m_out,  # [beads, CHANNELS]
    u_in,  # [beads, WIDTH]
    matrices,
    scales,
    first_bead,
    molecule_end,
    incoming_count,
    incoming,
    first_tile,
    block,
    row_blocks,
    candidates,
    splits,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    BEADS: tl.constexpr,
    PRODUCTS: tl.constexpr,
):
    """From dE/dh of the next block to dE/dm of this one; grid and order as in `forward_kernel`.

    g_x <- g_x + A^T g_h, g_m = B^T (D^T g_x (1 - u^2)).
    """
    row, own, bead, inside = beads_of(first_bead, molecule_end, row_blocks, BEADS, ROWS)
    g_h = gathered(
        row_sums,
        column_sums,
        incoming_count,
        incoming,
        first_tile,
        row,
        own,
        inside,
        candidates,
        splits,
        ROWS,
        CHANNELS,
    )
    at = bead.to(tl.int64)[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]
    at_channels = bead.to(tl.int64)[:, None] * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    keep = inside[:, None]
    # The matrix is A of the next block.
    g_x = layer(g_h, matrices, scales, 6 * block + 11, WIDTH, WIDTH, PRODUCTS)
    g_x += tl.load(g_x_at + at, mask=keep, other=0.0)
    tl.store(g_x_at + at, g_x, mask=keep)
    u = tl.load(u_in + at, mask=keep, other=0.0).to(tl.float32)
    g_u = layer(g_x, matrices, scales, 6 * block + 4, WIDTH, WIDTH, PRODUCTS) * (1.0 - u * u)
    g_m = layer(g_u, matrices, scales, 6 * block + 3, CHANNELS, WIDTH, PRODUCTS)
    tl.store(g_m_out + at_channels, g_m, mask=keep)
