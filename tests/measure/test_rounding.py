"""Ways of rounding weights obey the bounds that their formats promise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flashschnet_kernels.quantization.reference import dequantize, quantize
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_sequence
from flashschnet_lab.measure.rounding import (
    integer_grid,
    round_weights,
    rounding_force_error,
    scaled_cast,
)
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.system import System


@pytest.fixture
def weight() -> torch.Tensor:
    """Rows whose sizes span many decades."""
    rows = torch.randn(12, 40, generator=torch.Generator().manual_seed(0))
    return rows * torch.logspace(-12, 6, 12)[:, None]


@pytest.fixture(scope="module")
def system() -> System:
    torch.manual_seed(0)
    shape = SchNetShape(hidden=12, channels=10, blocks=2, radial_functions=8, output_widths=(8,))
    chain = load_sequence("GAWPK")
    return replace(chain, model=replace(chain.model, network=SchNet(shape)))


def test_a_scale_per_channel_keeps_every_channel(weight: torch.Tensor) -> None:
    rounded = scaled_cast(weight, torch.float16, "channel")
    assert torch.equal(rounded, dequantize(quantize(weight, torch.float16)))
    row_error = (rounded - weight).norm(dim=1) / weight.norm(dim=1)
    assert row_error.max() <= 2.0**-11


def test_one_scale_for_all_loses_small_channels(weight: torch.Tensor) -> None:
    rounded = scaled_cast(weight, torch.float16, "tensor")
    assert rounded.isfinite().all() and (rounded[0] == 0).all()
    assert not scaled_cast(weight, torch.float16, "none").isfinite().all()


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_an_integer_grid_is_off_by_half_a_step(weight: torch.Tensor, bits: int) -> None:
    levels = 2 ** (bits - 1) - 1
    for per, largest in (
        ("tensor", weight.abs().max()),
        ("channel", weight.abs().amax(1, keepdim=True)),
    ):
        off = (integer_grid(weight, bits, per) - weight).abs()
        assert (off <= 0.51 * largest / levels).all()


def test_only_weights_of_linear_layers_change(system: System) -> None:
    network = system.model.network
    assert network is not None
    zero = round_weights(network, torch.zeros_like)
    for name, tensor in zero.state_dict().items():
        linear = name.endswith("weight") and not name.startswith("embedding")
        expected = torch.zeros_like(tensor) if linear else network.state_dict()[name]
        assert torch.equal(tensor, expected), name


def test_the_force_error_follows_the_digits(system: System) -> None:
    network = system.model.network
    assert network is not None
    positions = torch.from_numpy(system.protein.positions)[None]

    def error(dtype: torch.dtype) -> float:
        rounded = round_weights(network, lambda weight: scaled_cast(weight, dtype, "channel"))
        return rounding_force_error(system, positions, rounded)

    assert rounding_force_error(system, positions, network) < 1e-12
    assert 1e-5 < error(torch.float16) < 2e-3
    assert 2 < error(torch.bfloat16) / error(torch.float16) < 30  # 8 by their digits


def test_refusals(weight: torch.Tensor) -> None:
    with pytest.raises(UserError, match="per 'row'"):
        scaled_cast(weight, torch.float16, "row")
    with pytest.raises(UserError, match="needs a step"):
        integer_grid(weight, 8, "none")
