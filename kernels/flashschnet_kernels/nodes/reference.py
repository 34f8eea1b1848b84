"""All that happens to a bead between two sums over its neighbours, in plain PyTorch: definition.

Forward, block by block, with the messages m that the sums make of h:

    h = A x          u = tanh(B m + b)          x <- x + D u + d

then the output network, y_n = tanh(O_n y_(n-1) + o_n) from y_0 = x to the energy O y + o. Backward,
with g_v = dE/dv of anything v, from the output network to the first block:

    g_m = B^T ((D^T g_x) (1 - u^2))             g_x <- g_x + A^T g_h

No autograd: an evaluation is always both ways, and what it keeps is u of every block. Any dtype and
device; beads are rows, [beads, width].
"""

from __future__ import annotations

import torch
from torch import Tensor

from flashschnet_kernels.nodes.weights import BlockWeights, NodeWeights


def first_features(bead_types: Tensor, weights: NodeWeights) -> tuple[Tensor, Tensor]:
    """Return x and h that the first block starts with, of beads of some types [beads]."""
    x = weights.embedding.index_select(0, bead_types)
    return x, features(x, weights.blocks[0])


def features(x: Tensor, block: BlockWeights) -> Tensor:
    """Return h = A x, [beads, channels]."""
    return x @ block.to_channels.T


def update(messages: Tensor, x: Tensor, block: BlockWeights) -> tuple[Tensor, Tensor]:
    """Return the new x and the u that the backward needs, both [beads, hidden]."""
    u = torch.tanh(messages @ block.update_weight.T + block.update_bias)
    return x + u @ block.output_weight.T + block.output_bias, u


def turn(x: Tensor, weights: NodeWeights) -> tuple[Tensor, Tensor]:
    """Return the energy of every bead [beads] and its gradient g_x [beads, hidden]."""
    layers, y = [], x
    for weight, bias in zip(weights.output_weights, weights.output_biases, strict=False):
        y = torch.tanh(y @ weight.T + bias)
        layers.append(y)
    last = weights.output_weights[-1][0]  # [width]
    energy = y @ last
    if weights.energy_bias is not None:
        energy = energy + weights.energy_bias
    gradient = last.expand_as(y)
    for y, weight in zip(reversed(layers), reversed(weights.output_weights[:-1]), strict=True):
        gradient = (gradient * (1.0 - y * y)) @ weight
    return energy, gradient


def message_gradient(g_x: Tensor, u: Tensor, block: BlockWeights) -> Tensor:
    """Return g_m [beads, channels] of a block from the gradient of what it made of x."""
    return ((g_x @ block.output_weight) * (1.0 - u * u)) @ block.update_weight


def add_features_gradient(g_x: Tensor, g_h: Tensor, block: BlockWeights) -> Tensor:
    """Return g_x of what a block was given, from that of what it made and from g_h."""
    return g_x + g_h @ block.to_channels
