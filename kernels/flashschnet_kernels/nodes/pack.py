"""The weights of all bead work of a network, laid out for matrix units: 16-bit halves and scales.

Every matrix is padded to one square width, so that a kernel finds them by number.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flashschnet_kernels.nodes.balance import balanced, fit_halves
from flashschnet_kernels.nodes.weights import NodeWeights

PER_BLOCK = 6
"""Matrices of a block: of the update B and D, of to_channels A, then the three for the backward."""
NARROWEST = 32
"""Width of a slice of channels of the filters."""
WHOLE = 128
"""Width whose matrices are read whole, 32 KB in 16 bit. One that fits has messages of that width;
in a wider network messages have a width of their own, as sums over neighbours are what costs."""
WIDEST = 256
"""Width whose rows, 16 of them, fit in the registers of a program."""


@dataclass(frozen=True)
class PackedNodes:
    """Matrices [K, N] so that x @ matrix is a layer: scale_n (high + low), scaled per output.

    A scale is a power of two, so `high` is W16 with a scale per channel, and both halves together
    hold 22 bits.

    Attributes:
        matrices: [6 blocks + 2 layers, 2, width, width] float16. Block b: 6b + 0, 1, 2 are B^T,
            D^T, A^T and 6b + 3, 4, 5 are B, D, A. Then O1^T, O2^T, O1, O2 of the output network, or
            O1^T, O1 where it has one hidden layer.
        scales: [6 blocks + 2 layers, width] float32.
        biases: [2 blocks + layers + 2, width] float32: b and d of every block, o1, o2, last layer,
            and the bias of that in the first column, which is left out where there is none.
        first_features: [types, message_width] float32, A_0 embedding: h of the first block, by
            bead type.
        embedding: [types, width] float32.
        blocks: interaction blocks.
        message_width: that messages, and the features that are summed, are padded to: the first
            so many rows or columns of the matrices A and B are theirs.
        channels: width of the messages before padding.
        hidden: width of the beads before padding.
        layers: hidden layers of the output network, 1 or 2.
        energy_bias: whether the last layer has a bias.
        fit_halves: whether products of features and their gradient may be float16.
    """

    matrices: Tensor
    scales: Tensor
    biases: Tensor
    first_features: Tensor
    embedding: Tensor
    blocks: int
    message_width: int
    channels: int
    hidden: int
    layers: int
    energy_bias: bool
    fit_halves: bool

    @property
    def width(self) -> int:
        """Width that matrices and all but messages are padded to."""
        return self.matrices.shape[-1]


def pack_nodes(weights: NodeWeights) -> PackedNodes:
    """Return the weights as the kernels read them, balanced (see `balance.py`).

    Raises:
        ValueError: widths that do not fit, or an output network without one or two hidden layers.
    """
    *hidden_layers, last = weights.output_weights
    if len(hidden_layers) not in (1, 2):
        raise ValueError(
            f"nodes=triton needs an output network with 1 or 2 hidden layers, not "
            f"{len(hidden_layers)}; use nodes=reference"
        )
    weights = balanced(weights)
    matrices: list[Tensor] = []
    biases: list[Tensor] = []
    for block in weights.blocks:
        update = (block.update_weight, block.output_weight, block.to_channels)
        matrices += [m.T for m in update] + list(update)
        biases += [block.update_bias, block.output_bias]
    matrices += [m.T for m in hidden_layers] + hidden_layers
    biases += [*weights.output_biases, last.reshape(-1)]
    if weights.energy_bias is not None:
        biases.append(weights.energy_bias)
    widest = max(max(m.shape) for m in matrices)
    width = _power_of_two(widest)
    if width > WIDEST:
        raise ValueError(
            f"nodes=triton takes layers of up to {WIDEST} numbers, not {widest}; use "
            "nodes=reference, or the plan flash-float32 for messages of up to 128 channels"
        )
    halves, scales = zip(*(_halves(_padded(m, width, width)) for m in matrices), strict=True)
    channels = weights.blocks[0].to_channels.shape[0]
    message_width = width if width <= WHOLE else _power_of_two(channels)
    embedding = weights.embedding.float()
    h0 = (weights.embedding.double() @ weights.blocks[0].to_channels.double().T).float()
    return PackedNodes(
        matrices=torch.stack(halves).contiguous(),
        scales=torch.stack(scales).contiguous(),
        biases=torch.stack([_padded(b[None].float(), 1, width)[0] for b in biases]).contiguous(),
        first_features=_padded(h0, len(h0), message_width).contiguous(),
        embedding=_padded(embedding, len(h0), width).contiguous(),
        blocks=len(weights.blocks),
        message_width=message_width,
        channels=channels,
        hidden=embedding.shape[1],
        layers=len(hidden_layers),
        energy_bias=weights.energy_bias is not None,
        fit_halves=fit_halves(weights),
    )


def _power_of_two(width: int) -> int:
    """Return the width, at least `NARROWEST`, that another is padded to."""
    return max(NARROWEST, 1 << (width - 1).bit_length())


def _halves(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return [2, K, N] float16 and the scale [N], a power of two, of a matrix [K, N]."""
    largest = matrix.double().abs().amax(0).clamp(min=1e-30)
    scale = torch.exp2(torch.ceil(torch.log2(largest)))
    scaled = matrix.double() / scale
    high = scaled.half()
    low = (scaled - high.double()).half()
    return torch.stack([high, low]), scale.float()


def _padded(matrix: Tensor, rows: int, columns: int) -> Tensor:
    result = matrix.new_zeros(rows, columns)
    result[: matrix.shape[0], : matrix.shape[1]] = matrix
    return result
