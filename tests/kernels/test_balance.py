"""Features and gradients of one size: the same network, to the bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flashschnet_kernels.filter_table.pack import LARGEST_HALF
from flashschnet_kernels.nodes import reference
from flashschnet_kernels.nodes.balance import (
    LARGEST,
    balanced,
    fit_halves,
    sizes_of_isolated_beads,
)
from flashschnet_kernels.nodes.weights import NodeWeights
from tests.kernels.test_nodes import random_weights

SHAPE = {"hidden": 20, "channels": 40, "output": (24, 11)}


def with_features(weights: NodeWeights, factor: float) -> NodeWeights:
    """Return the same network with features as many times as large."""
    return replace(
        weights,
        blocks=tuple(
            replace(
                block,
                to_channels=block.to_channels * factor,
                update_weight=block.update_weight / factor,
            )
            for block in weights.blocks
        ),
    )


def with_energies(weights: NodeWeights, factor: float) -> NodeWeights:
    *others, last = weights.output_weights
    return replace(weights, output_weights=(*others, last * factor))


@pytest.mark.parametrize("factor", [2.0**-20, 1.0, 2.0**20])
def test_it_is_the_same_network(factor):
    weights = with_features(random_weights(**SHAPE), factor)
    torch.manual_seed(0)
    x, g_x = torch.randn(2, 7, SHAPE["hidden"], dtype=torch.float64)
    for old, new in zip(weights.blocks, balanced(weights).blocks, strict=True):
        h, h_new = reference.features(x, old), reference.features(x, new)
        power = (h / h_new).unique()
        assert power.numel() == 1  # one power of two for all of them
        assert torch.frexp(power).mantissa == 0.5
        after, u = reference.update(h, x, old)
        assert all(map(torch.equal, reference.update(h_new, x, new), (after, u)))
        g_m, g_m_new = (reference.message_gradient(g_x, u, block) for block in (old, new))
        assert torch.equal(g_m_new, g_m * power)


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_features_and_gradients_are_of_one_size(factor):
    h, g = sizes_of_isolated_beads(balanced(with_features(random_weights(**SHAPE), factor))).T
    assert ((h / g) < 4.0).all()
    assert ((g / h) < 4.0).all()


def test_the_sizes_are_those_of_a_network_without_messages():
    weights = random_weights(**SHAPE, blocks=2)
    x = weights.embedding.clone().requires_grad_()
    messages = torch.zeros(len(x), SHAPE["channels"], dtype=torch.float64, requires_grad=True)
    after, _ = reference.update(messages, x, weights.blocks[0])
    last, _ = reference.update(torch.zeros_like(messages), after, weights.blocks[1])
    energy, _ = reference.turn(last, weights)
    (g_m,) = torch.autograd.grad(energy.sum(), messages)
    sizes = sizes_of_isolated_beads(weights)
    assert sizes.shape == (2, 2)
    torch.testing.assert_close(sizes[0, 1], g_m.abs().max())
    torch.testing.assert_close(
        sizes[1, 0], reference.features(after, weights.blocks[1]).abs().max().detach()
    )


def test_which_networks_fit_sixteen_bit():
    weights = random_weights(**SHAPE)
    assert fit_halves(weights)
    assert fit_halves(with_features(weights, 1e6))  # balanced away
    assert not fit_halves(with_energies(weights, 1e6))
    assert not fit_halves(with_energies(weights, 1e-6))


def test_what_fits_does_not_overflow():
    """A slope times two products of beads, each four times as large as those of isolated beads."""
    assert LARGEST_HALF * 2 * 4 * LARGEST < torch.finfo(torch.float16).max


def test_a_network_of_zeros_stays_as_it_is():
    weights = with_features(random_weights(**SHAPE), 0.5)
    silent = replace(
        weights,
        blocks=tuple(replace(b, to_channels=0.0 * b.to_channels) for b in weights.blocks),
    )
    for old, new in zip(silent.blocks, balanced(silent).blocks, strict=True):
        assert torch.equal(old.update_weight, new.update_weight)
    assert not fit_halves(silent)
