"""Continuous-filter convolution over a list of directed edges: the CGSchNet baseline.

Written as that baseline is, so that a comparison is honest: every pair of beads is two edges, and
basis, hidden layer, filters, gathered features and messages are all materialised, a row per edge.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from flashschnet_kernels.aggregation.reference import scatter_add
from flashschnet_kernels.edges import Edges


def links(pairs: Tensor) -> Tensor:
    """Return the rows that filters are evaluated on: edges [2, 2 pairs], receiver and sender."""
    return torch.cat((pairs, pairs.flip(0)), dim=1)


def pass_messages(features: Tensor, filters: Tensor, links: Tensor) -> Tensor:
    """Return m_i = sum_j filters(r_ij) * features_j over all edges from j to i.

    Args:
        features: [beads, channels].
        filters: [edges, channels], the envelope included.
        links: [2, edges] int64 as `links` returns them.

    Returns:
        [beads, channels].
    """
    receiver, sender = links[0], links[1]
    messages = filters * features.index_select(0, sender)  # [edges, channels]
    return scatter_add(messages, receiver, features.shape[0])


def pass_messages_by_row(
    features: Tensor, filters: Tensor, edges: Edges, aggregation: ModuleType
) -> Tensor:
    """Return the same messages, summed over rows of sorted edges instead of scattered.

    Args:
        features: [beads, channels].
        filters: [edges, channels] in the order of `edges`.
        edges: rows of neighbours.
        aggregation: an implementation of the operator, with `gather` and `aggregate`.
    """
    messages: Tensor = aggregation.aggregate(filters * aggregation.gather(features, edges), edges)
    return messages
