"""What 16 bit costs: the error of every layer and of the forces, against float64.

Judged on the conformations that are given, calibrated on others. The forces of the network alone
are what counts: priors dominate the norm of the total force and would hide its error.

Trained networks have weights and activations of ordinary size, where a plain cast does no harm. So
two networks with the same energy but less ordinary numbers are judged too; scales exist for them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flashschnet_kernels.quantization.calibration import InputStatistics, calibrate, linear_layers
from flashschnet_kernels.quantization.linear import DTYPES, Linear16, quantize_linear_layers
from flashschnet_kernels.quantization.reference import input_gradient16
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.schnet import SchNet
from flashschnet_lab.potentials.sum import ForceField
from flashschnet_lab.system import System, build_force_field


@dataclass(frozen=True)
class Variant:
    """One way to bring linear layers to 16 bit.

    Attributes:
        channel_scales: a scale for every row of a weight; without them it is a plain cast.
        calibrated: activation scales from real conformations.
        calibrated_rounding: weights rounded for the inputs that were seen.
        scale_gradients: a scale for every row of the gradient.
    """

    channel_scales: bool = True
    calibrated: bool = False
    calibrated_rounding: bool = False
    scale_gradients: bool = True

    def apply(
        self, network: SchNet, dtype: torch.dtype, seen: dict[str, InputStatistics]
    ) -> SchNet:
        """Return the network with its linear layers in 16 bit."""
        network16 = quantize_linear_layers(
            network,
            dtype,
            seen if self.calibrated else None,
            channel_scales=self.channel_scales,
            calibrated_rounding=self.calibrated_rounding,
            scale_gradients=self.scale_gradients,
        )
        assert isinstance(network16, SchNet)
        return network16


VARIANTS = {
    "plain cast": Variant(channel_scales=False, scale_gradients=False),
    "channel scales": Variant(scale_gradients=False),
    "+ activation scales": Variant(calibrated=True, scale_gradients=False),
    "+ scaled gradients": Variant(calibrated=True),
    "+ calibrated rounding": Variant(calibrated=True, calibrated_rounding=True),
}
"""From the plain cast to everything, each with what it adds."""

AS_TRAINED, UNEVEN, LARGE = "as trained", "uneven channels", "large messages"
NETWORKS = (AS_TRAINED, UNEVEN, LARGE)

_FACTOR = 2.0**20


def precision_report(
    system: System,
    positions: Tensor,
    dtypes: Sequence[str] = tuple(DTYPES),
    networks: Sequence[str] = NETWORKS,
) -> list[dict[str, Any]]:
    """Return the errors of 16-bit linear layers on real conformations, as plain data.

    Rows of kind "layer" (network as trained): "dtype", "variant", "layer", and the relative errors
    "output_error" and "gradient_error" (of the gradient that the layer hands back; None in the
    first layer, whose input does not depend on positions). Rows of kind "forces": "dtype"
    ("float32" too, for comparison), "variant", "network", and "force_error", of the network's own
    forces, and "total_force_error", the same error relative to the total force. An error is
    infinite where a result is not finite.

    Args:
        system: a protein whose model has a network.
        positions: [conformations, beads, 3] in angstrom, at least 2, on the device to judge; the
            first half calibrates, the second is judged.
        dtypes: of "float16" and "bfloat16".
        networks: of `NETWORKS`; the others have the energy of the trained one.

    Raises:
        UserError: no network, too few conformations, or unknown names.
    """
    trained = system.model.network
    if trained is None:
        raise UserError(f"model {system.model.name} has no network whose precision could be judged")
    if len(positions) < 2:
        raise UserError("give at least 2 conformations: half of them calibrate, the rest is judged")
    unknown = [n for n in (*dtypes, *networks) if n not in (*DTYPES, *NETWORKS)]
    if unknown:
        raise UserError(f"{unknown[0]!r} is unknown; known: {', '.join((*DTYPES, *NETWORKS))}")
    half = len(positions) // 2
    judge = _Judge(system, positions[half:])
    trained = copy.deepcopy(trained).to(positions.device)
    rows: list[dict[str, Any]] = []
    for name in networks:
        network = reshaped(trained, name)
        rows.append({**judge.forces(network), "dtype": "float32", "variant": "", "network": name})
        seen = _calibrate(system, network, positions[:half].float())
        for dtype in dtypes:
            networks16 = {v: VARIANTS[v].apply(network, DTYPES[dtype], seen) for v in VARIANTS}
            for variant, network16 in networks16.items():
                errors = judge.forces(network16)
                rows.append({**errors, "dtype": dtype, "variant": variant, "network": name})
            if name == AS_TRAINED:
                rows += [{**row, "dtype": dtype} for row in judge.layers(networks16)]
    return rows


def reshaped(network: SchNet, name: str) -> SchNet:
    """Return a network of the same energy (all factors are powers of two) with awkward numbers.

    "uneven channels": messages are products of a filter and a feature; in every second channel one
    is 2^20 times larger and the other as much smaller, in the others the reverse. "large messages":
    messages are 2^20 times larger, and the layer that reads them scales them back; so do gradients.
    """
    network = copy.deepcopy(network).requires_grad_(False)
    layers = dict(linear_layers(network))
    for block in range(network.shape.blocks if name != AS_TRAINED else 0):
        features = layers[f"blocks.{block}.to_channels"].weight  # [channels, hidden]
        filters = layers[f"blocks.{block}.filter_network.2"].weight  # [channels, channels]
        if name == LARGE:
            filters.mul_(_FACTOR)
            layers[f"blocks.{block}.update.0"].weight.div_(_FACTOR)
        else:
            exponent = 1.0 - 2.0 * (torch.arange(len(features)) % 2)  # 1, -1, 1, ..
            factor = (_FACTOR**exponent)[:, None].to(features)  # [channels, 1]
            features.mul_(factor)
            filters.div_(factor)
    return network


class _Judge:
    """The exact answers on some conformations, and how far others are from them."""

    def __init__(self, system: System, positions: Tensor) -> None:
        self.system, self.positions = system, positions
        systems = [system] * len(positions)
        whole = build_force_field(systems, device=positions.device, dtype=torch.float64)
        assert whole.network is not None
        self.network = whole.network
        self.alone = ForceField(whole.batch, network=self.network, bead_types=whole.bead_types)
        self.exact = self.alone(positions.double()).forces
        self.total = float(whole(positions.double()).forces.norm())

    def forces(self, network: SchNet) -> dict[str, Any]:
        """Return the force errors of a float32 network."""
        alone = _alone(self.system, network, self.positions)
        error = alone(self.positions.float()).forces.double() - self.exact
        return {
            "kind": "forces",
            "force_error": _ratio(error, self.exact),
            "total_force_error": _ratio(error, torch.tensor(self.total)),
        }

    def layers(self, networks16: dict[str, SchNet]) -> list[dict[str, Any]]:
        """Return the errors of every layer on its exact inputs and gradients."""
        rows: list[dict[str, Any]] = []
        hooks = []
        for name, layer in linear_layers(self.network):
            layers16 = {v: network.get_submodule(name) for v, network in networks16.items()}
            watch = _watch(name, layer.weight, layers16, rows)
            hooks.append(layer.register_forward_hook(watch))
        self.alone(self.positions.double())
        for hook in hooks:
            hook.remove()
        return rows


def _watch(name: str, weight: Tensor, layers16: dict[str, Any], rows: list[dict]) -> Any:
    """Return a hook that adds a row for each variant of a layer."""

    def forward(layer: torch.nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
        new: dict[str, dict] = {}
        for variant, layer16 in layers16.items():
            error = layer16(inputs[0].detach()) - y.detach()
            new[variant] = {
                "kind": "layer",
                "layer": name,
                "variant": variant,
                "output_error": _ratio(error, y.detach()),
                "gradient_error": None,
            }
        rows.extend(new.values())
        if y.requires_grad:
            y.register_hook(lambda gradient: backward(gradient, new))

    def backward(gradient: Tensor, new: dict[str, dict]) -> None:
        exact = gradient @ weight
        for variant, layer16 in layers16.items():
            assert isinstance(layer16, Linear16)
            found = input_gradient16(gradient, layer16.quantized, layer16.scale_gradients)
            new[variant]["gradient_error"] = _ratio(found - exact, exact)

    return forward


def _alone(system: System, network: SchNet, positions: Tensor) -> ForceField:
    """Return the force field of a network without its priors, for positions of this shape."""
    whole = build_force_field([system] * len(positions), device=positions.device)
    return ForceField(whole.batch, network=network, bead_types=whole.bead_types)


def _calibrate(system: System, network: SchNet, positions: Tensor) -> dict[str, InputStatistics]:
    """Return what the layers see on some conformations."""
    alone = _alone(system, network, positions)
    return calibrate(network, [lambda: alone(positions)])


def _ratio(error: Tensor, exact: Tensor) -> float:
    ratio = float(error.double().norm() / exact.double().norm())
    return ratio if math.isfinite(ratio) else math.inf
