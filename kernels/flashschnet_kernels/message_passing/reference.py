"""Continuous-filter convolution over unordered pairs, in plain PyTorch (the definition)."""

from __future__ import annotations

from torch import Tensor

from flashschnet_kernels.aggregation.reference import scatter_add


def links(pairs: Tensor) -> Tensor:
    """Return the rows that filters are evaluated on: the pairs themselves, [2, pairs]."""
    return pairs


def pass_messages(features: Tensor, filters: Tensor, links: Tensor) -> Tensor:
    """Return m_i = sum_j filters(r_ij) * features_j over all neighbours j of i.

    A filter depends on the distance alone, so each unordered pair carries one row that serves both
    directions: half the filters of an edge list.

    Args:
        features: [beads, channels].
        filters: [pairs, channels], the envelope included.
        links: [2, pairs] int64, each unordered pair once, no self pairs.

    Returns:
        [beads, channels].
    """
    i, j = links[0], links[1]
    beads = features.shape[0]
    to_i = scatter_add(filters * features.index_select(0, j), i, beads)
    return to_i + scatter_add(filters * features.index_select(0, i), j, beads)
