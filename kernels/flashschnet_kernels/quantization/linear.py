"""16-bit linear layers for a force field: tensor cores on a GPU, the same arithmetic on a CPU.

Forward and backward multiply 16-bit operands and sum in float32, as `reference.py` defines. The
gradient with respect to the input exists, once; weights are constants.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from flashschnet_kernels.quantization.calibration import (
    InputStatistics,
    linear_layers,
    quantize_for_inputs,
)
from flashschnet_kernels.quantization.reference import (
    QuantizedWeight,
    cast,
    dequantize,
    power_of_two,
    quantize,
)

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
"""The 16-bit formats by name."""


def linear16(
    x: Tensor,
    quantized: QuantizedWeight,
    bias: Tensor | None = None,
    activation_scale: Tensor | None = None,
    scale_gradients: bool = True,
) -> Tensor:
    """Return x W^T + bias with 16-bit operands, differentiable once with respect to x.

    Determinism: on a CPU and on one GPU model with one cuBLAS, the same bits every run.

    Args:
        x: [..., in], any strides, any number of rows, zero included.
        quantized: values [out, in] and scales [out].
        bias: [out] or None.
        activation_scale: one number on the device of `x`, a power of two; None is 1.
        scale_gradients: scale every row of the 16-bit gradient to its own largest value.

    Returns:
        [..., out] in float32; in float64 for a float64 `x` (the arithmetic is the same).

    Raises:
        RuntimeError: a gradient with respect to weight or bias would be needed.
    """
    constants = (quantized.values, quantized.scales, bias, activation_scale)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in constants):
        raise RuntimeError(
            "16-bit linear layers have no gradient with respect to weights or biases; train with "
            "nn.Linear (the reference plan) and quantise the trained network"
        )
    if activation_scale is None:
        activation_scale = torch.ones((), device=x.device)
    rows = x.reshape(-1, x.shape[-1]).float()
    y: Tensor = _Linear16.apply(
        rows, quantized.values, quantized.scales, bias, activation_scale, scale_gradients
    )
    y = y.reshape(*x.shape[:-1], y.shape[1])
    return y.double() if x.dtype == torch.float64 else y


def multiply16(a: Tensor, b: Tensor) -> Tensor:
    """Return a @ b in float32 of 16-bit [m, k] and [k, n]: exact products, sums in float32."""
    if a.is_cuda and 0 not in (*a.shape, *b.shape):
        return torch.mm(a, b, out_dtype=torch.float32)
    return a.float() @ b.float()


def _round16(x: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Return x / scale in 16 bit, in one pass over memory."""
    return torch.div(x, scale, out=torch.empty(x.shape, dtype=dtype, device=x.device))


class _Linear16(torch.autograd.Function):
    """Forward and input gradient; keeps the 16-bit weight for backward, and no activation."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        x: Tensor,
        values: Tensor,
        scales: Tensor,
        bias: Tensor | None,
        activation_scale: Tensor,
        scale_gradients: bool,
    ) -> Tensor:
        ctx.save_for_backward(values, scales)
        ctx.scale_gradients = scale_gradients
        y = multiply16(_round16(x, activation_scale, values.dtype), values.T)  # [rows, out]
        scales = activation_scale * scales
        return y * scales if bias is None else torch.addcmul(bias.float(), y, scales)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        values, scales = ctx.saved_tensors
        gradient = gradient * scales  # [rows, out]
        if not ctx.scale_gradients:
            return multiply16(gradient.to(values.dtype), values), *([None] * 5)
        largest = torch.linalg.vector_norm(gradient, math.inf, dim=1, keepdim=True)  # [rows, 1]
        t = power_of_two(largest)
        return multiply16(_round16(gradient, t, values.dtype), values) * t, *([None] * 5)


class Linear16(nn.Module):
    """An `nn.Linear` in 16 bit, constant.

    The 16-bit values are kept as bits in an int16 buffer, so that `.to(torch.float32)` of the
    network around them leaves them alone.

    Args:
        quantized: the weight.
        bias: [out] or None.
        activation_scale: s_x, a power of two.
        scale_gradients: see `linear16`.
    """

    bits: Tensor
    scales: Tensor
    activation_scale: Tensor
    bias: Tensor | None

    def __init__(
        self,
        quantized: QuantizedWeight,
        bias: Tensor | None = None,
        activation_scale: float = 1.0,
        scale_gradients: bool = True,
    ) -> None:
        super().__init__()
        self.dtype = quantized.values.dtype
        self.out_features, self.in_features = quantized.values.shape
        self.scale_gradients = scale_gradients
        scale = torch.tensor(activation_scale, device=quantized.scales.device)
        self.register_buffer("bits", quantized.values.view(torch.int16))
        self.register_buffer("scales", quantized.scales)
        self.register_buffer("activation_scale", scale)
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    @property
    def quantized(self) -> QuantizedWeight:
        """The 16-bit weight and its scales."""
        return QuantizedWeight(self.bits.view(self.dtype), self.scales.float())

    @property
    def weight(self) -> Tensor:
        """The weight [out, in] in float32 that the 16-bit values stand for."""
        return dequantize(self.quantized)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out], float32 (float64 for float64)."""
        scale = self.activation_scale.float()
        return linear16(x, self.quantized, self.bias, scale, self.scale_gradients)

    def extra_repr(self) -> str:
        """Describe the layer in the print of a network."""
        name = str(self.dtype).removeprefix("torch.")
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}, {name}"


def quantize_linear_layers(
    module: nn.Module,
    dtype: torch.dtype,
    calibration: Mapping[str, InputStatistics] | None = None,
    *,
    channel_scales: bool = True,
    calibrated_rounding: bool = True,
    scale_gradients: bool = True,
) -> nn.Module:
    """Return a copy of a network, all constant, with every `nn.Linear` as a `Linear16`.

    Names of layers stay as they are; the original is not touched.

    Args:
        module: any network.
        dtype: torch.float16 or torch.bfloat16.
        calibration: of `calibrate`; gives activation scales and the rounding of the weights.
        channel_scales: False: weights are plainly cast, which is what scales are compared with.
        calibrated_rounding: False: round weights to nearest, also with a calibration.
        scale_gradients: see `linear16`.

    Raises:
        ValueError: not a 16-bit type, a weight that is not finite, or a layer that the calibration
            does not know.
    """
    if dtype not in DTYPES.values():
        raise ValueError(f"linear layers run in {' or '.join(DTYPES)}, not in {dtype}")
    copied = copy.deepcopy(module).requires_grad_(False)
    for name, layer in linear_layers(copied):
        if not layer.weight.isfinite().all():
            raise ValueError(f"the weight of layer {name!r} is not finite")
        if calibration is not None and name not in calibration:
            raise ValueError(
                f"the calibration does not know layer {name!r}; calibrate this network"
            )
        seen = None if calibration is None else calibration[name]
        if not channel_scales:
            quantized = cast(layer.weight, dtype)
        elif seen is None or not calibrated_rounding:
            quantized = quantize(layer.weight, dtype)
        else:
            quantized = quantize_for_inputs(layer.weight, dtype, seen.moments)
        scale = 1.0 if seen is None else seen.activation_scale
        layer16 = Linear16(quantized, layer.bias, scale, scale_gradients)
        if not name:
            return layer16
        parent, _, child = name.rpartition(".")
        setattr(copied.get_submodule(parent), child, layer16)
    return copied
