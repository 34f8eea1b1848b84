"""5. Fused convolution: a program owns a bead, and filters live and die on the chip."""

import triton
import triton.language as tl


@triton.jit
def tanh(x):
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def cfconv_kernel(
    positions,
    features,
    row_start,
    sender,
    centres,
    width,
    cutoff,
    first_weight,
    first_bias,
    second_weight,
    messages,
    E: tl.constexpr,  # edges at once
    F: tl.constexpr,  # functions
    C: tl.constexpr,  # channels
):
    i = tl.program_id(0)
    f, c = tl.arange(0, F), tl.arange(0, C)
    centre = tl.load(centres + f)
    first = tl.load(first_weight + c[None, :] * F + f[:, None])  # [F, C], transposed
    second = tl.load(second_weight + c[None, :] * C + c[:, None])  # [C, C], transposed
    bias = tl.load(first_bias + c)
    x_i, y_i, z_i = (
        tl.load(positions + 3 * i),
        tl.load(positions + 3 * i + 1),
        tl.load(positions + 3 * i + 2),
    )
    total = tl.zeros([C], dtype=tl.float32)
    end = tl.load(row_start + i + 1)
    for start in range(tl.load(row_start + i), end, E):
        e = start + tl.arange(0, E)
        inside = e < end
        j = tl.load(sender + e, mask=inside, other=0)
        dx = tl.load(positions + 3 * j) - x_i
        dy = tl.load(positions + 3 * j + 1) - y_i
        dz = tl.load(positions + 3 * j + 2) - z_i
        r = tl.sqrt(dx * dx + dy * dy + dz * dz)
        envelope = 0.5 * (tl.cos(r * (3.141592653589793 / cutoff)) + 1.0)
        envelope = tl.where(inside & (r < cutoff), envelope, 0.0)
        z = r[:, None] - centre[None, :]
        rbf = envelope[:, None] * tl.exp(-width * z * z)  # [E, F]
        hidden = tanh(tl.dot(rbf, first, input_precision="ieee") + bias[None, :])  # [E, C]
        filters = envelope[:, None] * tl.dot(hidden, second, input_precision="ieee")
        h_j = tl.load(features + j[:, None] * C + c[None, :])
        total += tl.sum(filters * h_j, axis=0)
    tl.store(messages + i * C + c, total)


def launch(
    positions,
    features,
    row_start,
    sender,
    centres,
    width,
    cutoff,
    first_weight,
    first_bias,
    second_weight,
    messages,
):
    beads, channels = features.shape
    cfconv_kernel[(beads,)](
        positions,
        features,
        row_start,
        sender,
        centres,
        width,
        cutoff,
        first_weight,
        first_bias,
        second_weight,
        messages,
        E=16,
        F=len(centres),
        C=channels,
    )
