"""What a way of rounding weights costs: the forces of a network whose weights alone are rounded."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from flashschnet_kernels.quantization.calibration import linear_layers
from flashschnet_kernels.quantization.reference import power_of_two
from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.accuracy import force_error, network_alone
from flashschnet_lab.potentials.schnet import SchNet
from flashschnet_lab.system import System, build_force_field

Rounding = Callable[[Tensor], Tensor]
"""From a weight [out, in] to the weight that a format can hold, both float32."""


def scaled_cast(weight: Tensor, dtype: torch.dtype, per: str) -> Tensor:
    """Return a weight rounded to a 16-bit float after scaling by powers of two, and scaled back.

    Args:
        weight: [out, in].
        dtype: torch.float16 or torch.bfloat16.
        per: "none", "tensor" for one scale, or "channel" for one for each row.

    Raises:
        UserError: an unknown `per`.
    """
    scale = _largest(weight, per)
    scale = torch.ones_like(scale) if per == "none" else power_of_two(scale)
    return (weight / scale).to(dtype).float() * scale


def integer_grid(weight: Tensor, bits: int, per: str) -> Tensor:
    """Return a weight rounded to evenly spaced numbers, which have no exponent of their own.

    Args:
        weight: [out, in].
        bits: 8 gives the integers from -127 to 127 times a step.
        per: "tensor" for one step, or "channel" for one for each row.

    Raises:
        UserError: an unknown `per`, or "none": a grid needs a step.
    """
    if per == "none":
        raise UserError('a grid needs a step: use per="tensor" or per="channel"')
    step = (_largest(weight, per) / (2 ** (bits - 1) - 1)).clamp(min=torch.finfo().tiny)
    return torch.round(weight / step) * step


def round_weights(network: SchNet, rounding: Rounding) -> SchNet:
    """Return a copy of a network whose linear layers have rounded weights; biases stay."""
    copied = copy.deepcopy(network).requires_grad_(False)
    for _, layer in linear_layers(copied):
        layer.weight.copy_(rounding(layer.weight.float()))
    return copied


def rounding_force_error(system: System, positions: Tensor, network: SchNet) -> float:
    """Return |F - F64| / |F64| of the network alone, F from other weights.

    Args:
        system: protein and model; its own network in float64 gives the exact forces.
        positions: [conformations, beads, 3] in angstrom.
        network: with other weights, evaluated in float64, so that nothing else rounds.
    """
    alone = network_alone(system)
    rounded = replace(alone, model=replace(alone.model, network=network))
    exact = positions.double()
    forces = build_force_field([rounded] * len(positions), dtype=torch.float64)(exact).forces
    return force_error([alone] * len(positions), exact, forces)


def _largest(weight: Tensor, per: str) -> Tensor:
    """Return the largest magnitude of the tensor [1, 1], or of each row [out, 1]."""
    if per not in ("none", "tensor", "channel"):
        raise UserError(f'there is no scale per {per!r}: use "none", "tensor" or "channel"')
    magnitudes = weight.abs()
    return magnitudes.amax(1, keepdim=True) if per == "channel" else magnitudes.amax().view(1, 1)
