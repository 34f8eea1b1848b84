"""6. Backward of the fused convolution: W(r) and W'(r) together, and one bead per program.

The slope is carried forward through the filter network, beside the value: for each quantity a
second one, its derivative with respect to r. That needs no memory at all.
"""

import triton
import triton.language as tl


@triton.jit
def tanh(x):
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def backward_kernel(
    positions,
    features,
    message_gradient,
    row_start,
    sender,
    centres,
    width,
    cutoff,
    first_weight,
    first_bias,
    second_weight,
    gradient,
    E: tl.constexpr,
    F: tl.constexpr,
    C: tl.constexpr,
):
    i = tl.program_id(0)
    f, c = tl.arange(0, F), tl.arange(0, C)
    centre = tl.load(centres + f)
    first = tl.load(first_weight + c[None, :] * F + f[:, None])
    second = tl.load(second_weight + c[None, :] * C + c[:, None])
    bias = tl.load(first_bias + c)
    h_i = tl.load(features + i * C + c)
    g_i = tl.load(message_gradient + i * C + c)
    x_i, y_i, z_i = (
        tl.load(positions + 3 * i),
        tl.load(positions + 3 * i + 1),
        tl.load(positions + 3 * i + 2),
    )
    sum_x, sum_y, sum_z = 0.0, 0.0, 0.0
    end = tl.load(row_start + i + 1)
    k = 3.141592653589793 / cutoff
    for start in range(tl.load(row_start + i), end, E):
        e = start + tl.arange(0, E)
        inside = e < end
        j = tl.load(sender + e, mask=inside, other=0)
        dx = tl.load(positions + 3 * j) - x_i
        dy = tl.load(positions + 3 * j + 1) - y_i
        dz = tl.load(positions + 3 * j + 2) - z_i
        r = tl.where(inside, tl.sqrt(dx * dx + dy * dy + dz * dz), 1.0)
        within = inside & (r < cutoff)
        envelope = tl.where(within, 0.5 * (tl.cos(k * r) + 1.0), 0.0)[:, None]
        envelope_slope = tl.where(within, -0.5 * k * tl.sin(k * r), 0.0)[:, None]

        z = r[:, None] - centre[None, :]
        gaussian = tl.exp(-width * z * z)
        rbf = envelope * gaussian
        rbf_slope = (envelope_slope - 2.0 * width * z * envelope) * gaussian
        hidden = tanh(tl.dot(rbf, first, input_precision="ieee") + bias[None, :])
        hidden_slope = (1.0 - hidden * hidden) * tl.dot(rbf_slope, first, input_precision="ieee")
        filters_slope = envelope_slope * tl.dot(hidden, second, input_precision="ieee")
        filters_slope += envelope * tl.dot(hidden_slope, second, input_precision="ieee")

        at = j[:, None] * C + c[None, :]
        product = g_i[None, :] * tl.load(features + at)
        product += h_i[None, :] * tl.load(message_gradient + at)
        over_r = tl.sum(product * filters_slope, axis=1) / r  # [E]
        sum_x -= tl.sum(over_r * dx, axis=0)
        sum_y -= tl.sum(over_r * dy, axis=0)
        sum_z -= tl.sum(over_r * dz, axis=0)
    tl.store(gradient + 3 * i, sum_x)
    tl.store(gradient + 3 * i + 1, sum_y)
    tl.store(gradient + 3 * i + 2, sum_z)


def launch(
    positions,
    features,
    message_gradient,
    row_start,
    sender,
    centres,
    width,
    cutoff,
    first_weight,
    first_bias,
    second_weight,
    gradient,
):
    beads, channels = features.shape
    backward_kernel[(beads,)](
        positions,
        features,
        message_gradient,
        row_start,
        sender,
        centres,
        width,
        cutoff,
        first_weight,
        first_bias,
        second_weight,
        gradient,
        E=16,
        F=len(centres),
        C=channels,
    )
