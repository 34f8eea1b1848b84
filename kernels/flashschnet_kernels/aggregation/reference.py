"""Sum pair messages into beads, in plain PyTorch (the definition)."""

from __future__ import annotations

from torch import Tensor


def aggregate(values: Tensor, receiver: Tensor, beads: int) -> Tensor:
    """Return out[i] = sum of values[p] over all p with receiver[p] == i.

    Args:
        values: [pairs, features].
        receiver: [pairs] int64, bead that each row is summed into.
        beads: number of rows of the result; beads that receive nothing are zero.

    Returns:
        [beads, features], dtype of `values`. On a GPU the order of the additions, and so the last
        bits, may change from run to run.
    """
    return values.new_zeros(beads, values.shape[1]).index_add_(0, receiver, values)
