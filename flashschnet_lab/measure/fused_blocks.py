"""IO model of the fused convolution on a CPU.

A block of pairs stays in the cache, so only what has a row per bead or one number per pair passes
through memory. What the block takes is counted as memory all the same.
"""

from __future__ import annotations

from flashschnet_lab.measure.stages import (
    Moves,
    Sizes,
    Stage,
    choice,
    elementwise,
    gather,
    scatter_add,
)
from flashschnet_lab.potentials.schnet import SchNetShape

PAIRS_PER_BLOCK = 1024
"""Pairs that the convolution takes at a time."""

LISTED = 1.06
"""Pairs on a kept list over those within the cutoff."""

_INT32 = 4


def geometry(sizes: Sizes, word: int) -> tuple[Stage, Stage]:
    """Pairs within the cutoff, their distance, envelope and its slope; and from dE/dr to forces."""
    pairs, positions = sizes.all_edges / 2, (sizes.all_beads, 3)
    listed = LISTED * pairs
    index, scalars = 2 * _INT32 * pairs, word * pairs
    look = gather(listed, word, positions) * 2
    look += elementwise(listed, word, (6, 3), (6, 3), (3, 1), (1, 0.25), (2.25, 2))
    measured = gather(pairs, word, positions) * 2 + elementwise(pairs, word, (6, 3), (3, 1))
    # distance to envelope and to slope: scale, (co)sine, shift, compare, zeros, where
    measured += elementwise(pairs, word, *[(1, 1), (1, 1), (1, 1), (1, 1.25), (2.25, 1)] * 2)
    back = elementwise(pairs, word, (4, 3), (1, 0.25), (3.25, 3), (4, 3), (3, 3))
    back += scatter_add(pairs, word, positions) * 2
    return (
        Stage("radial basis", look + measured, index + 6 * scalars, index + 12 * scalars),
        Stage("radial basis, backward", back, kept=-index - 4 * scalars, extra=6 * scalars),
    )


def block(
    shape: SchNetShape, sizes: Sizes, plan: object, word: int, number: int
) -> tuple[Stage, Stage]:
    """Messages of one block of the network, forward and backward."""
    first, last = number == 0, number == shape.blocks - 1
    f, c, pairs = shape.radial_functions, shape.channels, sizes.all_edges / 2
    features, index, scalars = word * sizes.all_beads * c, 2 * _INT32 * pairs, word * pairs
    weights = word * (f * c + c + c * c)
    # Linear layers in 16 bit are unpacked for the block.
    unpacked = weights if choice(plan, "quantization") != "none" else 0.0
    flops = pairs * (2.0 * (f * c + c * c) + 8 * f + 8 * c)
    flops_back = pairs * (2.0 * (2 * f * c + (1 if first else 2) * c * c) + 15 * f + 18 * c)
    once = Moves(index + 2 * scalars + features + weights, features, flops)
    again = Moves(index + 3 * scalars + 2 * features + weights, scalars, flops_back)
    if not first:  # the embedding has no gradient
        again += Moves(written=features)
    if not last:  # dE/dr is added up over blocks
        again += elementwise(pairs, word, (2, 1))
    # Rows of a block that live at once, those that the block before it left included.
    rows = word * min(pairs, PAIRS_PER_BLOCK)
    ahead = rows * max(f + 4 * c, 4 * f + 2 * c)
    back = rows * max(2 * f + 10 * c, 5 * f + 8 * c) - (rows * c if first else 0.0)
    kept = -2 * features - unpacked
    kept += -3 * scalars if first else features
    kept += scalars if last else 0.0
    label = f"block {number} message passing"
    on_chip = pairs / PAIRS_PER_BLOCK * weights
    held = scalars + (0.0 if first else features)
    return (
        Stage(label, once, features + unpacked, features + unpacked + ahead, on_chip),
        Stage(label + ", backward", again, kept, held + back, 2 * on_chip),
    )
