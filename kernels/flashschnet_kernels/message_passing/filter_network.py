"""The weights of one block's filter network, as fused kernels take them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flashschnet_kernels.radial_basis.parameters import RadialParameters

LN2 = math.log(2.0)
PRECISIONS = {"float32": 0, "float16": 1, "bfloat16": 2}


@dataclass(frozen=True)
class FilterNetwork:
    """W(r) = C(r) (L2 tanh(L1 rbf(r) + b1) + b2), the filter of one interaction block.

    Attributes:
        first_weight: [channels, functions].
        first_bias: [channels].
        second_weight: [channels, channels].
        basis: the radial basis, envelope included, and the cutoffs that make C.
        second_bias: [channels], or None for no b2.
    """

    first_weight: Tensor
    first_bias: Tensor
    second_weight: Tensor
    basis: RadialParameters
    second_bias: Tensor | None = None

    @property
    def channels(self) -> int:
        """Width of filters and messages."""
        return self.second_weight.shape[0]


@dataclass(frozen=True)
class PackedFilter:
    """A filter network laid out for matrix units: 16-bit halves, powers of two on the side.

    A weight is scale * (high + low): `high` alone is W16, both together hold 22 bits or more, so
    that three 16-bit products give a float32 product. Widths are padded with zeros to powers of
    two.

    Attributes:
        first_high, first_low: [channels, functions] 16 bit; `low` is empty where it is not used.
        second_high, second_low: [channels out, channels in] 16 bit.
        first_scale, first_bias: [channels] float32, times 2 / ln 2: tanh becomes a power of two.
        second_scale: [channels] float32, of the output channels.
        second_bias: [channels] float32 in units of that scale, or None.
        centres: [functions] float32.
        widths: [functions] float32, times -1 / ln 2, and alpha times 1 / ln 2, likewise.
        kind, cutoff, lower: as in `RadialParameters`.
        channels: width before padding.
        precision: a key of `PRECISIONS`.
    """

    first_high: Tensor
    first_low: Tensor
    second_high: Tensor
    second_low: Tensor
    first_scale: Tensor
    second_scale: Tensor
    first_bias: Tensor
    second_bias: Tensor | None
    centres: Tensor
    widths: Tensor
    kind: str
    alpha: float
    cutoff: float
    lower: float
    channels: int
    precision: str


def refuse_training(network: FilterNetwork) -> None:
    """Refuse weights that want a gradient, which no fused convolution has.

    Raises:
        RuntimeError: one of them does, while gradients are recorded.
    """
    basis = network.basis
    layers = (network.first_weight, network.first_bias, network.second_weight, network.second_bias)
    if torch.is_grad_enabled() and any(
        weight is not None and weight.requires_grad
        for weight in (*layers, basis.centres, basis.widths)
    ):
        raise RuntimeError(
            "the fused convolution has no gradient with respect to its weights; train with the "
            "plan 'reference', or freeze the network: network.requires_grad_(False)"
        )


def pack(network: FilterNetwork, precision: str) -> PackedFilter:
    """Lay a filter network out for the fused kernels.

    Args:
        network: weights of any floating dtype; they are not differentiated.
        precision: "float32" (three 16-bit products), "float16" or "bfloat16" (one).

    Raises:
        RuntimeError: weights that want a gradient.
        ValueError: an unknown precision.
    """
    refuse_training(network)
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is unknown; known: {', '.join(PRECISIONS)}")
    functions = _power_of_two(len(network.basis.centres))
    channels = _power_of_two(network.channels)
    first = _pad(network.first_weight.detach(), channels, functions)
    second = _pad(network.second_weight.detach(), channels, channels)
    bias = network.second_bias
    if bias is not None:
        bias = _pad(bias.detach()[None], 1, channels)[0]
    # What a scale is for is the sum of the products and the bias: neither may be far above it.
    first_scale = _scale(first)
    second_scale = _scale(second if bias is None else torch.cat([second, bias[:, None]], dim=1))
    first_high, first_low = _halves(first / first_scale[:, None], precision)
    second_high, second_low = _halves(second / second_scale[:, None], precision)
    basis = network.basis
    return PackedFilter(
        first_high=first_high,
        first_low=first_low,
        second_high=second_high,
        second_low=second_low,
        first_scale=(first_scale * (2.0 / LN2)).float(),
        second_scale=second_scale.float(),
        first_bias=(_pad(network.first_bias.detach()[None], 1, channels)[0] * (2.0 / LN2)).float(),
        second_bias=None if bias is None else (bias / second_scale).float(),
        centres=_pad(basis.centres.detach()[None], 1, functions)[0].float(),
        widths=(_pad(basis.widths.detach()[None], 1, functions)[0] * (-1.0 / LN2)).float(),
        kind=basis.kind,
        alpha=basis.alpha / LN2,
        cutoff=basis.cutoff,
        lower=basis.lower,
        channels=network.channels,
        precision=precision,
    )


def _scale(weight: Tensor) -> Tensor:
    """Return the power of two that brings each row of [out, in] to at most 1, exactly."""
    largest = weight.abs().amax(dim=1)
    return torch.exp2(torch.ceil(torch.log2(largest.clamp_min(torch.finfo(torch.float32).tiny))))


def _halves(weight: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    if precision == "float32":
        high = weight.to(torch.float16)
        return high, (weight - high.to(weight.dtype)).to(torch.float16)
    return weight.to(getattr(torch, precision)), weight.new_zeros(0, 0, dtype=torch.float16)


def _power_of_two(width: int) -> int:
    """Return the smallest power of two that holds `width`; matrix units start at 16."""
    return max(16, 1 << (width - 1).bit_length())


def _pad(matrix: Tensor, rows: int, columns: int) -> Tensor:
    padded = matrix.new_zeros(rows, columns)
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    return padded
