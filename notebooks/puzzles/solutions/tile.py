"""7. A tile of all pairs: no list, and each filter serves both directions."""

import triton
import triton.language as tl


@triton.jit
def tanh(x):
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def tile_kernel(
    positions,
    features,
    centres,
    width,
    cutoff,
    first_weight,
    first_bias,
    second_weight,
    messages,
    beads,
    T: tl.constexpr,
    F: tl.constexpr,
    C: tl.constexpr,
):
    if tl.program_id(0) <= tl.program_id(1):
        f, c = tl.arange(0, F), tl.arange(0, C)
        i = tl.program_id(0) * T + tl.arange(0, T)
        j = tl.program_id(1) * T + tl.arange(0, T)
        known_i, known_j = i < beads, j < beads
        dx = tl.load(positions + 3 * j, mask=known_j, other=0.0)[None, :]
        dy = tl.load(positions + 3 * j + 1, mask=known_j, other=0.0)[None, :]
        dz = tl.load(positions + 3 * j + 2, mask=known_j, other=0.0)[None, :]
        dx -= tl.load(positions + 3 * i, mask=known_i, other=0.0)[:, None]  # [T, T]
        dy -= tl.load(positions + 3 * i + 1, mask=known_i, other=0.0)[:, None]
        dz -= tl.load(positions + 3 * i + 2, mask=known_i, other=0.0)[:, None]
        distance = tl.sqrt(dx * dx + dy * dy + dz * dz)
        pair = (i[:, None] < j[None, :]) & known_j[None, :] & (distance < cutoff)
        r = tl.reshape(distance, [T * T])
        envelope = 0.5 * (tl.cos(r * (3.141592653589793 / cutoff)) + 1.0)
        envelope = tl.where(tl.reshape(pair, [T * T]), envelope, 0.0)[:, None]

        first = tl.load(first_weight + c[None, :] * F + f[:, None])
        second = tl.load(second_weight + c[None, :] * C + c[:, None])
        z = r[:, None] - tl.load(centres + f)[None, :]
        rbf = envelope * tl.exp(-width * z * z)  # [T * T, F]
        hidden = tl.dot(rbf, first, input_precision="ieee") + tl.load(first_bias + c)[None, :]
        filters = envelope * tl.dot(tanh(hidden), second, input_precision="ieee")
        filters = tl.reshape(filters, [T, T, C])

        inside_i, inside_j = known_i[:, None], known_j[:, None]
        at_i, at_j = i[:, None] * C + c[None, :], j[:, None] * C + c[None, :]
        h_i = tl.load(features + at_i, mask=inside_i, other=0.0)
        h_j = tl.load(features + at_j, mask=inside_j, other=0.0)
        to_i = tl.sum(filters * h_j[None, :, :], axis=1)  # [T, C]
        to_j = tl.sum(filters * h_i[:, None, :], axis=0)
        tl.atomic_add(messages + at_i, to_i, mask=inside_i)
        tl.atomic_add(messages + at_j, to_j, mask=inside_j)


def launch(
    positions,
    features,
    centres,
    width,
    cutoff,
    first_weight,
    first_bias,
    second_weight,
    messages,
):
    beads, channels = features.shape
    messages.zero_()
    tiles = triton.cdiv(beads, 8)
    tile_kernel[(tiles, tiles)](
        positions,
        features,
        centres,
        width,
        cutoff,
        first_weight,
        first_bias,
        second_weight,
        messages,
        beads,
        T=8,
        F=len(centres),
        C=channels,
    )
