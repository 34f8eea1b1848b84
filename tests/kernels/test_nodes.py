"""The explicit formulas of bead work against autograd."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flashschnet_kernels.nodes import reference
from flashschnet_kernels.nodes.weights import BlockWeights, NodeWeights

BEADS = 11
SHAPES = {
    "odd widths": {"hidden": 19, "channels": 21, "output": (13, 7)},
    "no hidden layer": {"hidden": 40, "channels": 8, "output": ()},
    "three hidden layers": {"hidden": 32, "channels": 64, "output": (70, 33, 5)},
    "one hidden layer and a bias": {"hidden": 24, "channels": 24, "output": (11,), "biased": True},
    "wide features": {"hidden": 256, "channels": 128, "output": (128, 64)},
}


def random_weights(
    hidden: int,
    channels: int,
    output: tuple[int, ...],
    blocks: int = 3,
    types: int = 5,
    biased: bool = False,
) -> NodeWeights:
    """Return weights in float64 that are exact in float32."""
    generator = torch.Generator().manual_seed(5)

    def random(*shape: int) -> Tensor:
        numbers = torch.randn(shape, generator=generator) / math.sqrt(shape[-1])
        return numbers.double()

    widths = (hidden, *output)
    return NodeWeights(
        embedding=random(types, hidden),
        blocks=tuple(
            BlockWeights(
                to_channels=random(channels, hidden),
                update_weight=random(hidden, channels),
                update_bias=random(hidden),
                output_weight=random(hidden, hidden),
                output_bias=random(hidden),
            )
            for _ in range(blocks)
        ),
        output_weights=(
            *(random(n, k) for k, n in zip(widths[:-1], widths[1:], strict=True)),
            random(1, widths[-1]),
        ),
        output_biases=tuple(random(n) for n in output),
        energy_bias=random(1) if biased else None,
    )


def random_rows(width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BEADS, width, generator=generator).double().requires_grad_()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_turn(shape):
    weights = random_weights(**SHAPES[shape])
    x = random_rows(SHAPES[shape]["hidden"], 1)
    energy, gradient = reference.turn(x.detach(), weights)
    y = x
    for weight, bias in zip(weights.output_weights, weights.output_biases, strict=False):
        y = torch.nn.functional.linear(y, weight, bias).tanh()
    last = (weights.output_weights[-1], weights.energy_bias)
    exact = torch.nn.functional.linear(y, *last).squeeze(1)
    torch.testing.assert_close(energy, exact.detach(), rtol=1e-12, atol=1e-12)
    (slope,) = torch.autograd.grad(exact.sum(), x)
    torch.testing.assert_close(gradient, slope, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_block(shape):
    """From messages of a block to features of the next one, and back."""
    weights = random_weights(**SHAPES[shape])
    block, following = weights.blocks[:2]
    x, m = random_rows(SHAPES[shape]["hidden"], 1), random_rows(SHAPES[shape]["channels"], 2)
    after, u = reference.update(m.detach(), x.detach(), block)
    h = reference.features(after, following)

    linear = torch.nn.functional.linear
    hidden = linear(m, block.update_weight, block.update_bias).tanh()
    exact = x + linear(hidden, block.output_weight, block.output_bias)
    exact_h = linear(exact, following.to_channels)
    torch.testing.assert_close(after, exact.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(h, exact_h.detach(), rtol=1e-12, atol=1e-12)

    g_after, g_h = torch.randn_like(after), torch.randn_like(h)
    total = (exact * g_after).sum() + (exact_h * g_h).sum()
    exact_g_x, exact_g_m = torch.autograd.grad(total, (x, m))
    g_x = reference.add_features_gradient(g_after, g_h, following)
    g_m = reference.message_gradient(g_x, u, block)
    torch.testing.assert_close(g_x, exact_g_x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(g_m, exact_g_m, rtol=1e-12, atol=1e-12)


def test_the_bias_of_the_last_layer_is_packed_behind_it():
    from flashschnet_kernels.nodes.pack import pack_nodes

    weights = random_weights(**SHAPES["one hidden layer and a bias"], blocks=2)
    packed = pack_nodes(weights)
    assert (packed.layers, packed.energy_bias, len(packed.matrices)) == (1, True, 2 * 6 + 2)
    assert packed.biases.shape == (2 * 2 + 1 + 2, 32)
    assert torch.equal(packed.biases[5, :11], weights.output_weights[-1][0].float())
    assert packed.biases[6, 0] == weights.energy_bias.float()


def test_the_first_features():
    weights = random_weights(**SHAPES["odd widths"])
    types = torch.tensor([4, 0, 0, 2])
    x, h = reference.first_features(types, weights)
    assert torch.equal(x, weights.embedding[types])
    exact = weights.embedding[types] @ weights.blocks[0].to_channels.T
    torch.testing.assert_close(h, exact, rtol=1e-12, atol=1e-12)
