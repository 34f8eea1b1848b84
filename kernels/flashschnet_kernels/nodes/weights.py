"""The weights of all that happens to a bead between two sums over its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class BlockWeights:
    """One interaction block: h = A x, then x <- x + D tanh(B m + b) + d with its messages m.

    Attributes:
        to_channels: A [channels, hidden].
        update_weight, update_bias: B [hidden, channels] and b [hidden].
        output_weight, output_bias: D [hidden, hidden] and d [hidden].
    """

    to_channels: Tensor
    update_weight: Tensor
    update_bias: Tensor
    output_weight: Tensor
    output_bias: Tensor


@dataclass(frozen=True)
class NodeWeights:
    """All bead work of a network: embedding, blocks, output network.

    Attributes:
        embedding: [types, hidden].
        blocks: of the interaction blocks, in order.
        output_weights: of the output network, [width, hidden], ..., [1, width]; tanh between.
        output_biases: of all its layers but the last.
        energy_bias: [1] of the last layer, or None.
    """

    embedding: Tensor
    blocks: tuple[BlockWeights, ...]
    output_weights: tuple[Tensor, ...]
    output_biases: tuple[Tensor, ...]
    energy_bias: Tensor | None = None
