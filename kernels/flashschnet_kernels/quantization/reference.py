"""Linear layers in 16 bit with a scale per output channel, in plain PyTorch (the definition).

    W[o, k]  =  s_w[o] values[o, k]                                          values in 16 bit
    y[r, o]  =  s_x s_w[o] sum_k round16(x[r, k] / s_x) values[o, k]  +  bias[o]
    g[r, k]  =  t[r] sum_o round16(s_w[o] dE/dy[r, o] / t[r]) values[o, k]   the gradient dE/dx

Every scale is the power of two that brings the largest magnitude of its channel, tensor or row to
[1, 2): scaling rounds nothing, nothing overflows float16, and what it loses to its subnormals is
below 2^-25 of that largest magnitude. Products are summed in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_SMALLEST = 2.0**-100
_EXPONENT_BITS = 0x7F800000


@dataclass(frozen=True)
class QuantizedWeight:
    """The weight of a linear layer in 16 bit: scales[:, None] * values.

    Attributes:
        values: [out, in] float16 or bfloat16.
        scales: [out] float32.
    """

    values: Tensor
    scales: Tensor


def power_of_two(magnitudes: Tensor) -> Tensor:
    """Return the largest power of two not above each magnitude (>= 0), float32, same shape.

    Magnitudes below 2^-100, zero among them, give 2^-100; infinity and NaN give infinity. The
    mantissa is masked out of the bits: exact, and nothing waits for a GPU.
    """
    bits = magnitudes.float().clamp(min=_SMALLEST).view(torch.int32)
    return torch.bitwise_and(bits, _EXPONENT_BITS).view(torch.float32)


def quantize(weight: Tensor, dtype: torch.dtype) -> QuantizedWeight:
    """Return a weight [out, in] in 16 bit (float16 or bfloat16), scaled row by row."""
    weight = weight.detach().float()
    scales = power_of_two(weight.abs().amax(1))
    return QuantizedWeight((weight / scales[:, None]).to(dtype), scales)


def cast(weight: Tensor, dtype: torch.dtype) -> QuantizedWeight:
    """Return a weight [out, in] rounded to 16 bit as it is: what scales are compared with."""
    weight = weight.detach()
    return QuantizedWeight(weight.to(dtype), torch.ones_like(weight[:, 0], dtype=torch.float32))


def dequantize(quantized: QuantizedWeight) -> Tensor:
    """Return the weight [out, in] in float32 that the 16-bit values stand for."""
    return quantized.values.float() * quantized.scales[:, None]


def linear16(
    x: Tensor, quantized: QuantizedWeight, bias: Tensor | None, activation_scale: Tensor
) -> Tensor:
    """Return the output [rows, out] in float32 of an input [rows, in].

    Args:
        x: [rows, in].
        quantized: the weight.
        bias: [out] or None.
        activation_scale: s_x, one number.
    """
    x16 = (x / activation_scale).to(quantized.values.dtype)
    y = (x16.float() @ quantized.values.float().T) * (activation_scale * quantized.scales)
    return y if bias is None else y + bias


def input_gradient16(gradient: Tensor, quantized: QuantizedWeight, scaled: bool = True) -> Tensor:
    """Return dE/dx [rows, in] in float32 of dE/dy [rows, out]; not `scaled`: t = 1 in all rows."""
    gradient = gradient.float() * quantized.scales
    largest = gradient.abs().amax(1, keepdim=True)  # [rows, 1]
    t = power_of_two(largest) if scaled else torch.ones_like(largest)
    return ((gradient / t).to(quantized.values.dtype).float() @ quantized.values.float()) * t
