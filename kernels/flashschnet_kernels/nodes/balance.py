"""Features and their gradient brought to one size, so that 16-bit numbers hold their products.

Messages are linear in features, m = sum W h. So h may be divided by a number, if B, which reads m,
is multiplied by it: the energy stays, and dE/dm is multiplied by it as well. With a power of two
that is exact in any precision. Their product g h stays, too: it is an energy, and if that is in
kcal/mol, neither very large nor very small.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from flashschnet_kernels.nodes import reference
from flashschnet_kernels.nodes.weights import NodeWeights
from flashschnet_kernels.quantization.reference import power_of_two

SMALLEST, LARGEST = 2.0**-10, 2.0**6
"""What the product of the largest feature and the largest gradient lies between where float16 does.
Two such products, several times as large in a molecule, times a slope of at most 64 stay below
65504; and most are some 100 times smaller, where float16 still has all its digits."""


def balanced(weights: NodeWeights) -> NodeWeights:
    """Return weights of the same network, h and dE/dm of every block of about one size."""
    h, g = sizes_of_isolated_beads(weights).T  # [blocks] each
    both = (h > 0.0) & (g > 0.0)
    powers = power_of_two(torch.where(both, h / g, 1.0).sqrt())
    blocks = tuple(
        replace(
            block,
            to_channels=block.to_channels / power,
            update_weight=block.update_weight * power,
        )
        for block, power in zip(weights.blocks, powers.to(weights.embedding.dtype), strict=True)
    )
    return replace(weights, blocks=blocks)


def fit_halves(weights: NodeWeights) -> bool:
    """Whether float16 holds products of balanced features and gradients."""
    product = sizes_of_isolated_beads(weights).prod(1)  # [blocks]
    return bool(product.min() > SMALLEST) and bool(product.max() < LARGEST)


def sizes_of_isolated_beads(weights: NodeWeights) -> Tensor:
    """Return the largest h and dE/dm of every block over beads without neighbours, [blocks, 2].

    What occurs in a molecule is of their size: in 64 x 1ENH at 300 K the largest were 0.7 to 1.5
    times these.
    """
    x, features, hidden = weights.embedding, [], []
    for block in weights.blocks:
        h = reference.features(x, block)
        features.append(h.abs().max())
        x, u = reference.update(torch.zeros_like(h), x, block)
        hidden.append(u)
    _, g_x = reference.turn(x, weights)
    pairs = zip(hidden, weights.blocks, strict=True)
    gradients = [reference.message_gradient(g_x, u, block).abs().max() for u, block in pairs]
    return torch.stack([torch.stack(features), torch.stack(gradients)], 1)
