"""16-bit linear layers: against float64, at the ends of the range, and what they refuse."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from flashschnet_kernels.quantization import reference
from flashschnet_kernels.quantization.calibration import calibrate, quantize_for_inputs
from flashschnet_kernels.quantization.linear import (
    DTYPES,
    Linear16,
    linear16,
    quantize_linear_layers,
)
from flashschnet_kernels.quantization.reference import cast, dequantize, power_of_two, quantize

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
UNIT = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
"""Largest relative error of one rounding. Two roundings of random sign: about 0.6 of it."""

SHAPES = [(0, 5, 3), (1, 64, 128), (7, 5, 3), (33, 64, 1), (130, 128, 65)]  # rows, in, out


@pytest.fixture(params=DEVICES)
def device(request) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(params=DTYPES.values(), ids=DTYPES)
def dtype(request) -> torch.dtype:
    return request.param


def random(*shape: int, seed: int = 1, device: torch.device | str = "cpu") -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(device)


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the worst relative error of an output channel (column)."""
    found, exact = found.detach().double(), exact.detach().double()
    return float(((found - exact).norm(dim=0) / exact.norm(dim=0)).max())


def run(x, quantized, bias=None, scale=None, scale_gradients=True):
    """Return the output and the gradient for dE/dy = random."""
    x = x.detach().requires_grad_()
    y = linear16(x, quantized, bias, scale, scale_gradients)
    (gradient,) = torch.autograd.grad(y, x, random(*y.shape, seed=9, device=y.device).to(y.dtype))
    return y.detach(), gradient


def test_power_of_two():
    found = power_of_two(torch.tensor([1.0, 1.99, 2.0, 0.75, 65504.0, 3e38, 1e-30]))
    assert found.tolist() == [1.0, 1.0, 2.0, 0.5, 2.0**15, 2.0**127, 2.0**-100]
    assert power_of_two(torch.tensor([0.0, 1e-40])).tolist() == [2.0**-100] * 2
    assert power_of_two(torch.tensor([math.inf, math.nan])).tolist() == [math.inf] * 2
    assert power_of_two(torch.zeros(0, 1)).shape == (0, 1)
    strided = torch.tensor([[3.0, 9.0], [5.0, 17.0]]).T
    assert power_of_two(strided).tolist() == [[2.0, 4.0], [8.0, 16.0]]


def test_every_weight_is_rounded_once(dtype):
    weight = random(20, 30) * torch.logspace(-8, 8, 20)[:, None]
    weight[3] = 0.0
    quantized = quantize(weight, dtype)
    largest = quantized.values.float().abs().amax(1)
    assert largest[3] == 0.0
    others = torch.arange(20) != 3
    assert ((largest[others] >= 1.0) & (largest[others] <= 2.0)).all()
    assert torch.equal(power_of_two(quantized.scales), quantized.scales)
    lost = weight.abs().amax(1, keepdim=True) * 2.0**-25  # to the subnormals of float16
    difference = (dequantize(quantized) - weight).abs()
    assert (difference <= torch.maximum(UNIT[dtype] * weight.abs(), lost)).all()


@pytest.mark.parametrize(("rows", "width", "out"), SHAPES)
def test_against_float64_and_the_reference(rows, width, out, dtype, device):
    x, weight = random(rows, width, device=device), random(out, width, seed=2, device=device)
    bias, scale = random(out, seed=3, device=device), torch.tensor(4.0, device=device)
    quantized = quantize(weight, dtype)
    y, gradient = run(x, quantized, bias, scale)
    assert y.dtype == gradient.dtype == torch.float32
    assert y.shape == (rows, out)
    defined = reference.linear16(x, quantized, bias, scale)
    torch.testing.assert_close(y, defined, rtol=2e-6, atol=2e-6 * width)
    g = random(rows, out, seed=9, device=device)
    defined = reference.input_gradient16(g, quantized)
    torch.testing.assert_close(gradient, defined, rtol=2e-6, atol=2e-6 * out)
    if rows > 5:
        assert error(y, x.double() @ weight.double().T + bias.double()) < 2 * UNIT[dtype]
        assert error(gradient, g.double() @ weight.double()) < 2 * UNIT[dtype]


def test_any_layout(dtype, device):
    x, quantized = random(4, 6, 8, device=device), quantize(random(5, 8, device=device), dtype)
    flat = linear16(x.reshape(24, 8), quantized).reshape(4, 6, 5)
    assert torch.equal(linear16(x, quantized), flat)
    strided = x.transpose(0, 1).contiguous().transpose(0, 1)
    assert not strided.is_contiguous()
    assert torch.equal(linear16(strided, quantized), flat)
    torch.testing.assert_close(linear16(x[0, 0], quantized), flat[0, 0])  # one vector, no rows
    y, gradient = run(x.double(), quantized)
    assert y.dtype == gradient.dtype == torch.float64
    assert torch.equal(y.float(), flat)
    y = linear16(x.requires_grad_(), quantized)
    y.sum().backward()  # a gradient whose strides are 0
    assert x.grad is not None and x.grad.isfinite().all()


def test_the_same_bits_every_run(dtype, device):
    x, quantized = random(300, 64, device=device), quantize(random(128, 64, device=device), dtype)
    for first, again in zip(run(x, quantized), run(x, quantized), strict=True):
        assert torch.equal(first, again)


def test_channels_of_any_size(dtype):
    """Weights of 1e-8 to 1e8: every output channel keeps its digits; a cast to float16 does not."""
    x, sizes = random(50, 64), torch.logspace(-8, 8, 33)
    weight = random(33, 64, seed=2) * sizes[:, None]
    exact = x.double() @ weight.double().T
    assert error(linear16(x, quantize(weight, dtype)), exact) < UNIT[dtype]
    plain = linear16(x, cast(weight, dtype))
    assert plain.isfinite().all() == (dtype == torch.bfloat16)
    if dtype == torch.float16:
        small = sizes < 1e-6
        assert error(plain[:, small], exact[:, small]) > 0.1


def test_scaling_a_channel_by_a_power_of_two_changes_no_digit(dtype):
    x, weight = random(20, 16), random(6, 16, seed=2)
    factor = torch.tensor([2.0**k for k in (-60, -30, 0, 10, 30, 60)])
    plain = linear16(x, quantize(weight, dtype))
    assert torch.equal(linear16(x, quantize(weight * factor[:, None], dtype)), plain * factor)


@pytest.mark.parametrize("size", [2.0**-40, 2.0**40])
def test_inputs_of_any_size(dtype, size):
    x, quantized = random(50, 64), quantize(random(20, 64, seed=2), dtype)
    scale = power_of_two(x.abs().max())
    found = linear16(x * size, quantized, activation_scale=scale * size)
    assert torch.equal(found, size * linear16(x, quantized, activation_scale=scale))
    unscaled = linear16(x * size, quantized)
    if dtype == torch.float16:
        assert not unscaled.isfinite().all() or not unscaled.any()


def test_gradients_of_any_size(dtype):
    """Rows of 1e-20 to 1e20, each as exact as ordinary ones; unscaled, float16 loses most."""
    weight, sizes = random(40, 64), torch.logspace(-20, 20, 41)[:, None]
    g, quantized = random(41, 40, seed=3) * sizes, quantize(weight, dtype)
    exact = g.double() @ weight.double()

    def gradient(scale_gradients):
        x = torch.zeros(41, 64, requires_grad=True)
        y = linear16(x, quantized, scale_gradients=scale_gradients)
        return torch.autograd.grad(y, x, g)[0]

    assert error(gradient(True).T, exact.T) < UNIT[dtype]
    if dtype == torch.float16:
        unscaled = gradient(False)
        assert not unscaled[:10].any()
        assert not unscaled[-10:].isfinite().any()


def test_nan_and_infinity_stay_visible(dtype):
    x, quantized = random(4, 8), quantize(random(5, 8, seed=2), dtype)
    x[1, 3], x[2, 3] = math.nan, math.inf
    y = linear16(x, quantized)
    assert y.isfinite().all(1).tolist() == [True, False, False, True]
    g = random(4, 5, seed=3)
    g[0, 2], g[3, 2] = math.nan, math.inf
    x = random(4, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(linear16(x, quantized), x, g)
    assert gradient.isfinite().all(1).tolist() == [False, True, True, False]


def test_weights_and_biases_have_no_gradient(dtype):
    x, quantized, bias = random(4, 8), quantize(random(5, 8), dtype), random(5)
    with pytest.raises(RuntimeError, match="train with nn.Linear"):
        linear16(x, quantized, bias.clone().requires_grad_())
    quantized.scales.requires_grad_()
    with pytest.raises(RuntimeError, match="no gradient with respect to weights"):
        linear16(x, quantized, bias)
    with torch.no_grad():
        assert linear16(x, quantized, bias).shape == (4, 5)


def test_the_second_derivative_is_refused(dtype):
    x, quantized = random(4, 8).requires_grad_(), quantize(random(5, 8), dtype)
    y = linear16(x, quantized).square().sum()
    (gradient,) = torch.autograd.grad(y, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


class Network(nn.Module):
    """Linear layers in all the places where networks have them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first = nn.Linear(6, 16)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Tanh(), nn.Linear(16, 16)) for _ in range(2))
        self.shared = self.blocks[0][1]
        self.last = nn.Linear(16, 1, bias=False)

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(self.shared(x))


def test_quantise_a_network(dtype):
    network, x = Network(), random(30, 6)
    before = copy.deepcopy(network.state_dict())
    network16 = quantize_linear_layers(network, dtype)
    assert not any(isinstance(m, nn.Linear) for m in network16.modules())
    for name, layer in network.named_modules(remove_duplicate=False):
        if isinstance(layer, nn.Linear):
            layer16 = network16.get_submodule(name)
            assert isinstance(layer16, Linear16)
            assert (layer16.in_features, layer16.out_features) == layer.weight.shape[::-1]
            assert torch.equal(layer16.weight, dequantize(quantize(layer.weight, dtype)))
    assert all(torch.equal(network.state_dict()[name], t) for name, t in before.items())
    assert not any(p.requires_grad for p in network16.parameters())
    assert all(p.requires_grad for p in network.parameters())
    y, exact = network16(x), network.double()(x.double())
    assert error(y, exact) < 4 * UNIT[dtype]
    assert str(dtype).removeprefix("torch.") in repr(network16)
    assert isinstance(quantize_linear_layers(nn.Linear(3, 2), dtype), Linear16)


def test_a_change_of_dtype_around_them_leaves_the_16_bit_values_alone(dtype):
    network16, x = quantize_linear_layers(Network(), dtype), random(30, 6)
    y = network16(x)
    there = copy.deepcopy(network16).to(torch.float64)
    assert there(x.double()).dtype == torch.float64
    assert there.first.quantized.values.dtype == dtype
    assert torch.equal(there.to(torch.float32)(x), y)
    other = quantize_linear_layers(nn.Sequential(nn.Linear(6, 16)), dtype)
    assert other[0].bits.element_size() == 2
    fresh = quantize_linear_layers(Network().requires_grad_(False), dtype)
    fresh.load_state_dict(network16.state_dict())
    assert torch.equal(fresh(x), y)


def test_calibration():
    network, x = Network(), random(30, 6)
    seen = calibrate(network, [lambda: network(x), lambda: network(3.0 * x[:0])])
    assert set(seen) == {"first", "blocks.0.1", "blocks.1.1", "shared", "last"}
    first = seen["first"]
    assert first.largest == float(x.abs().max())
    assert 1.0 <= first.largest / first.activation_scale < 2.0
    torch.testing.assert_close(first.moments, (x.double().T @ x.double()) / 30)
    assert not network.first._forward_pre_hooks
    zero = calibrate(network, [lambda: network(torch.zeros(2, 6))])
    assert zero["first"].activation_scale == 1.0
    quantize_linear_layers(network, torch.float16, zero)  # moments that are all zero


def test_calibrated_rounding_makes_smaller_errors(dtype):
    """Functions of one distance, as a filter network sees them."""
    r = torch.linspace(2.0, 15.0, 500)[:, None]
    x = torch.exp(-((r - torch.linspace(2.0, 15.0, 32)) ** 2)).double()
    weight = random(40, 32)
    exact = x @ weight.double().T
    nearest, calibrated = (
        x @ dequantize(quantized).double().T
        for quantized in (
            quantize(weight, dtype),
            quantize_for_inputs(weight, dtype, x.T @ x / len(x)),
        )
    )
    assert (calibrated - exact).norm() < 0.7 * (nearest - exact).norm()


def test_a_calibrated_network(dtype):
    network, x = Network(), 2.0**30 * random(30, 6)
    seen = calibrate(network, [lambda: network(x)])
    exact = copy.deepcopy(network).double()(x.double())
    for rounding in (False, True):
        network16 = quantize_linear_layers(network, dtype, seen, calibrated_rounding=rounding)
        assert error(network16(x), exact) < 4 * UNIT[dtype]
    if dtype == torch.float16:
        assert not quantize_linear_layers(network, dtype)(x).isfinite().any()


def test_what_is_refused(dtype):
    network = Network()
    with pytest.raises(ValueError, match="float16 or bfloat16, not in torch.float32"):
        quantize_linear_layers(network, torch.float32)
    seen = calibrate(network, [lambda: network(random(3, 6))])
    del seen["last"]
    with pytest.raises(ValueError, match="does not know layer 'last'"):
        quantize_linear_layers(network, dtype, seen)
    with pytest.raises(ValueError, match="'first' saw no input"):
        calibrate(network, [])
    with pytest.raises(ValueError, match="not finite"):
        calibrate(network, [lambda: network(math.nan * random(3, 6))])
    network.first.weight.data[0, 0] = math.inf
    with pytest.raises(ValueError, match="layer 'first' is not finite"):
        quantize_linear_layers(network, dtype)
