"""The fused convolution as Triton kernels: a tile of pairs at a time, filters never leave the chip.

A tile is ROWS x TILE pairs of beads, taken COLUMNS columns at a time. Its filters are computed
once and serve both directions: rows receive from columns, summed in registers over all tiles of a
program, and columns receive from rows, summed per tile. Both sums are written as partial sums,
which `tile_sums` adds in a fixed order (ATOMIC false), or are added to the result atomically.

Shapes: P = ROWS * COLUMNS pairs, F radial functions, C channels; F and C are padded with zeros.
Pairs lie along the last axis, [C, P], and not along the first: the accumulator of a matrix unit
then keeps the pairs of one column bead in one thread, so that summing over rows needs no exchange.

Instructions per pair and channel are what these kernels cost, so powers of e are powers of two with
the logarithm folded into the constants (`first_scale`, `first_bias`, `widths` and `alpha` come from
`filter_network.pack`), and a reciprocal is a squared inverse root: the short forms on a GPU.

With a lower cutoff (LOWER above 0) the envelope of the basis is computed here, from the distance:
what is read is that on the filter. CUTOFF is the upper one, and only then used.
"""

from __future__ import annotations

import triton
import triton.language as tl

from flashschnet_kernels.envelope_triton import cosine_envelope, cosine_envelope_slope

SPLIT_HALF: tl.constexpr = tl.constexpr(0)


@triton.jit
def product(
    high,
    low,
    low_at,
    b,
    PRECISION: tl.constexpr,
    RELOAD: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """Return (high + low) @ b in float32; |b| at most about 100.

    PRECISION 0: three float16 products of halves, good to float32. 1, 2: one product in float16 or
    bfloat16. RELOAD reads the low half at `low_at` for this product alone instead of holding it.
    UPCAST multiplies the rounded numbers in float32, for an interpreter whose bfloat16 product is
    wrong.
    """
    if PRECISION == SPLIT_HALF:
        b_high = b.to(tl.float16)
        b_low = (b - b_high.to(tl.float32)).to(tl.float16)
        result = tl.dot(high, b_high)
        result = tl.dot(high, b_low, acc=result)
        if RELOAD:
            low = load_matrix(low_at, high.shape[0], high.shape[1])
        result = tl.dot(low, b_high, acc=result)
    else:
        rounded = b.to(high.dtype)
        if UPCAST:
            result = tl.dot(high.to(tl.float32), rounded.to(tl.float32))
        else:
            result = tl.dot(high, rounded)
    return result


@triton.jit
def load_matrix(matrix, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Return a matrix [ROWS, WIDTH]."""
    return tl.load(matrix + tl.arange(0, ROWS)[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :])


@triton.jit
def load_weights(
    high_at,
    low_at,
    K: tl.constexpr,
    C: tl.constexpr,
    PRECISION: tl.constexpr,
    RELOAD: tl.constexpr,
):
    """Return both halves of a weight matrix [C, K]; the first twice where the second is unused."""
    high = load_matrix(high_at, C, K)
    low = high
    if PRECISION == SPLIT_HALF and not RELOAD:
        low = load_matrix(low_at, C, K)
    return high, low


@triton.jit
def load_features(values, bead, inside, channel, channels):
    """Return values[bead, channel] as [C, beads], zero outside."""
    address = values + bead.to(tl.int64)[None, :] * channels + channel[:, None]
    return tl.load(address, mask=inside[None, :] & (channel < channels)[:, None], other=0.0)


@triton.jit
def store_features(at, values, bead, inside, channel, channels, ATOMIC: tl.constexpr):
    """Add values [C, beads] to rows of [beads, channels], or write them as a partial sum."""
    if ATOMIC:
        target = at + bead.to(tl.int64)[None, :] * channels + channel[:, None]
        keep = inside[None, :] & (channel < channels)[:, None]
        tl.atomic_add(target, values, mask=keep, sem="relaxed")
    else:
        C: tl.constexpr = values.shape[0]
        row = tl.arange(0, values.shape[1])
        tl.store(at + row[None, :] * C + channel[:, None], values)


@triton.jit
def basis(r, centres, widths, alpha, EXP_NORMAL: tl.constexpr, LOWER: tl.constexpr):
    """Return u(r) [P], and u - centre and 2^(width (u - centre)^2) [F, P]."""
    u = r
    if EXP_NORMAL:
        if LOWER > 0.0:
            u = tl.exp2(-alpha * (r - LOWER))
        else:
            u = tl.exp2(-alpha * r)
    z = u[None, :] - centres[:, None]
    return u, z, tl.exp2(widths[:, None] * z * z)


@triton.jit
def tanh(z):
    """Return tanh(z ln 2 / 2) = 1 - 2 / (1 + 2^z), to about 3e-7."""
    root = tl.rsqrt(1.0 + tl.exp2(z))
    return 1.0 - 2.0 * (root * root)


@triton.jit
def forward_kernel(
    r_at,  # [row blocks, most_tiles, ROWS, TILE], and so the envelope
    envelope_at,
    features,  # [beads, channels]
    first_bead,
    molecule_end,
    count,
    column,
    first_high,
    first_low,  # [C, F]
    second_high,
    second_low,  # [C, C]
    first_scale,
    second_scale,
    first_bias,  # [C]
    second_bias,  # [C], or None
    centres_at,
    widths_at,  # [F]
    row_sums,  # [row blocks, splits, ROWS, C], or [beads, channels] if ATOMIC
    column_sums,  # [row blocks, most_tiles, TILE, C], or the same [beads, channels]
    alpha,
    channels,
    most_tiles,
    splits,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
    COLUMNS: tl.constexpr,
    F: tl.constexpr,
    C: tl.constexpr,
    EXP_NORMAL: tl.constexpr,
    LOWER: tl.constexpr,
    CUTOFF: tl.constexpr,
    PRECISION: tl.constexpr,
    ATOMIC: tl.constexpr,
    RELOAD: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """Write m_i = sum_j W(r_ij) h_j as partial sums; grid (row blocks, splits).

    Products accumulate in float32. Deterministic unless ATOMIC. First-order.
    """
    row, split = tl.program_id(0), tl.program_id(1)
    P: tl.constexpr = ROWS * COLUMNS
    f, c, p = tl.arange(0, F), tl.arange(0, C), tl.arange(0, P)
    centres, widths = tl.load(centres_at + f), tl.load(widths_at + f)
    w1, w1_low = load_weights(first_high, first_low, F, C, PRECISION, RELOAD)
    w2, w2_low = load_weights(second_high, second_low, C, C, PRECISION, RELOAD)
    scale_1, scale_2 = tl.load(first_scale + c), tl.load(second_scale + c)
    bias = tl.load(first_bias + c)
    if second_bias is not None:
        added = tl.load(second_bias + c)

    end = tl.load(molecule_end + row)
    i = tl.load(first_bead + row) + tl.arange(0, ROWS)
    h_i = load_features(features, i, i < end, c, channels)  # [C, ROWS]
    received = tl.zeros([C, ROWS, COLUMNS], tl.float32)
    line = row.to(tl.int64) * most_tiles
    for piece in range(split, tl.load(count + row) * (TILE // COLUMNS), splits):
        place, part = piece // (TILE // COLUMNS), (piece % (TILE // COLUMNS)) * COLUMNS
        j = tl.load(column + line + place) + part + tl.arange(0, COLUMNS)
        at = (line + place) * (ROWS * TILE) + (p // COLUMNS) * TILE + part + p % COLUMNS
        r, envelope = tl.load(r_at + at), tl.load(envelope_at + at)  # [P]
        h_j = load_features(features, j, j < end, c, channels)  # [C, COLUMNS]
        u, z, e = basis(r, centres, widths, alpha, EXP_NORMAL, LOWER)
        inner = envelope  # that of the basis
        if LOWER > 0.0:
            inner = cosine_envelope(r, CUTOFF)
        hidden = product(w1, w1_low, first_low, inner[None, :] * e, PRECISION, RELOAD, UPCAST)
        t = tanh(hidden * scale_1[:, None] + bias[:, None])  # [C, P]
        filters = product(w2, w2_low, second_low, t * envelope[None, :], PRECISION, RELOAD, UPCAST)
        if second_bias is not None:
            filters += added[:, None] * envelope[None, :]
        filters = tl.reshape(filters, [C, ROWS, COLUMNS])  # without scale_2
        received += filters * h_j[:, None, :]
        sent = tl.sum(filters * h_i[:, :, None], axis=1) * scale_2[:, None]  # [C, COLUMNS]
        target = column_sums
        if not ATOMIC:
            target += ((line + place) * TILE + part) * C
        store_features(target, sent, j, j < end, c, channels, ATOMIC)
    total = tl.sum(received, axis=2) * scale_2[:, None]  # [C, ROWS]
    target = row_sums
    if not ATOMIC:
        target += (row.to(tl.int64) * splits + split) * (ROWS * C)
    store_features(target, total, i, i < end, c, channels, ATOMIC)


@triton.jit
def backward_kernel(
    r_at,
    envelope_at,
    envelope_slope_at,  # [row blocks, most_tiles, ROWS, TILE]
    features,  # [beads, channels]
    gradient,  # [beads, channels], dE/dm
    first_bead,
    molecule_end,
    count,
    column,
    first_high,
    first_low,
    second_high,
    second_low,
    first_scale,
    second_scale,
    first_bias,
    second_bias,
    centres_at,
    widths_at,
    slope_at,  # [row blocks, most_tiles, ROWS, TILE], dE/dr
    row_sums,  # as in forward_kernel, of dE/dh
    column_sums,
    alpha,
    channels,
    most_tiles,
    splits,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
    COLUMNS: tl.constexpr,
    F: tl.constexpr,
    C: tl.constexpr,
    EXP_NORMAL: tl.constexpr,
    LOWER: tl.constexpr,
    CUTOFF: tl.constexpr,
    PRECISION: tl.constexpr,
    ATOMIC: tl.constexpr,
    RELOAD: tl.constexpr,
    UPCAST: tl.constexpr,
    FEATURES: tl.constexpr,
):
    """Write dE/dr of every pair and, if FEATURES, dE/dh as partial sums; grid (row blocks, splits).

    Filters are computed again, not stored, and so is their slope, by the chain rule forwards: with
    t the hidden layer and z' = L1 rbf'(r),

        W' = L2 (C' t + C (1 - t^2) z') + C' b2,
        dE/dr = sum over channels of (G_i h_j + G_j h_i) W'.

    Forwards, because what is rounded to 16 bits then depends on the distance alone: no gradient
    passes through 16 bits, so none can under- or overflow. Products accumulate in float32.
    Deterministic unless ATOMIC. First-order.
    """
    row, split = tl.program_id(0), tl.program_id(1)
    P: tl.constexpr = ROWS * COLUMNS
    f, c, p = tl.arange(0, F), tl.arange(0, C), tl.arange(0, P)
    centres, widths = tl.load(centres_at + f), tl.load(widths_at + f)
    w1, w1_low = load_weights(first_high, first_low, F, C, PRECISION, RELOAD)
    w2, w2_low = load_weights(second_high, second_low, C, C, PRECISION, RELOAD)
    scale_1, scale_2 = tl.load(first_scale + c), tl.load(second_scale + c)
    bias = tl.load(first_bias + c)
    if second_bias is not None:
        added = tl.load(second_bias + c)

    end = tl.load(molecule_end + row)
    i = tl.load(first_bead + row) + tl.arange(0, ROWS)
    h_i = load_features(features, i, i < end, c, channels) * scale_2[:, None]  # [C, ROWS]
    g_i = load_features(gradient, i, i < end, c, channels)
    received = tl.zeros([C, ROWS, COLUMNS], tl.float32)
    line = row.to(tl.int64) * most_tiles
    for piece in range(split, tl.load(count + row) * (TILE // COLUMNS), splits):
        place, part = piece // (TILE // COLUMNS), (piece % (TILE // COLUMNS)) * COLUMNS
        j = tl.load(column + line + place) + part + tl.arange(0, COLUMNS)
        at = (line + place) * (ROWS * TILE) + (p // COLUMNS) * TILE + part + p % COLUMNS
        r, envelope = tl.load(r_at + at), tl.load(envelope_at + at)  # [P]
        envelope_slope = tl.load(envelope_slope_at + at)
        h_j = load_features(features, j, j < end, c, channels) * scale_2[:, None]  # [C, COLUMNS]
        g_j = load_features(gradient, j, j < end, c, channels)
        u, z, e = basis(r, centres, widths, alpha, EXP_NORMAL, LOWER)
        bend = 1.3862943611198906 * widths[:, None] * z  # 2 ln 2
        if EXP_NORMAL:
            bend = bend * (-0.6931471805599453 * alpha * u)[None, :]
        inner, inner_slope = envelope, envelope_slope  # those of the basis
        if LOWER > 0.0:
            inner, inner_slope = cosine_envelope(r, CUTOFF), cosine_envelope_slope(r, CUTOFF)
        e_slope = (inner_slope[None, :] + inner[None, :] * bend) * e  # rbf'
        hidden = product(w1, w1_low, first_low, inner[None, :] * e, PRECISION, RELOAD, UPCAST)
        hidden_slope = product(w1, w1_low, first_low, e_slope, PRECISION, RELOAD, UPCAST)
        t = tanh(hidden * scale_1[:, None] + bias[:, None])  # [C, P]
        t_slope = (1.0 - t * t) * (hidden_slope * (scale_1 * 0.34657359027997264)[:, None])
        if FEATURES:
            filters = product(
                w2, w2_low, second_low, t * envelope[None, :], PRECISION, RELOAD, UPCAST
            )
            if second_bias is not None:
                filters += added[:, None] * envelope[None, :]
            filters = tl.reshape(filters, [C, ROWS, COLUMNS])  # without scale_2
            received += filters * g_j[:, None, :]
            sent = tl.sum(filters * g_i[:, :, None], axis=1) * scale_2[:, None]  # [C, COLUMNS]
            target = column_sums
            if not ATOMIC:
                target += ((line + place) * TILE + part) * C
            store_features(target, sent, j, j < end, c, channels, ATOMIC)
        t_slope = envelope_slope[None, :] * t + envelope[None, :] * t_slope
        filter_slope = product(w2, w2_low, second_low, t_slope, PRECISION, RELOAD, UPCAST)
        if second_bias is not None:
            filter_slope += added[:, None] * envelope_slope[None, :]
        filter_slope = tl.reshape(filter_slope, [C, ROWS, COLUMNS])  # without scale_2
        g = g_i[:, :, None] * h_j[:, None, :] + g_j[:, None, :] * h_i[:, :, None]
        tl.store(slope_at + at, tl.sum(tl.reshape(g * filter_slope, [C, P]), axis=0))
    if FEATURES:
        total = tl.sum(received, axis=2) * scale_2[:, None]  # [C, ROWS]
        target = row_sums
        if not ATOMIC:
            target += (row.to(tl.int64) * splits + split) * (ROWS * C)
        store_features(target, total, i, i < end, c, channels, ATOMIC)
