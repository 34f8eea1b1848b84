"""Fused convolution on a CPU: a block of pairs at a time, so that filters stay in the cache.

The same pass as on a GPU with the matrix products of PyTorch: each unordered pair once, nothing
with a row per pair and a column per feature outlives its block, and the backward computes the
filters again. float32 and float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flashschnet_kernels.first_order import first_order
from flashschnet_kernels.message_passing.filter_network import FilterNetwork, refuse_training
from flashschnet_kernels.radial_basis.reference import (
    cosine_envelope,
    cosine_envelope_slope,
    filter_envelope,
    filter_envelope_slope,
)

PAIRS_PER_BLOCK = 1024
"""A hidden layer of 128 channels then takes half a megabyte: a core's second-level cache."""


@dataclass(frozen=True)
class ListedPairs:
    """The pairs of beads within the cutoff, each unordered pair once.

    Attributes:
        pairs: [2, pairs] integer, i < j.
        r_ij: [pairs] distances in angstrom, differentiable.
        envelope: [pairs] C(r_ij), that on the filter.
        envelope_slope: [pairs] C'(r_ij).
    """

    pairs: Tensor
    r_ij: Tensor
    envelope: Tensor
    envelope_slope: Tensor


def measure_pairs(
    positions: Tensor, pairs: Tensor, cutoff: float, lower: float = 0.0
) -> ListedPairs:
    """Return the pairs between the cutoffs of a longer list, with distances and envelope.

    Args:
        positions: [beads, 3] in angstrom, differentiable.
        pairs: [2, pairs] integer, a superset of the neighbours.
        cutoff: in angstrom.
        lower: the lower cutoff in angstrom.
    """
    with torch.no_grad():
        moved = positions.index_select(0, pairs[1]) - positions.index_select(0, pairs[0])
        square = (moved * moved).sum(1)
        pairs = pairs[:, (square < cutoff * cutoff) & (square >= lower * lower)]
    r_ij = (positions.index_select(0, pairs[1]) - positions.index_select(0, pairs[0])).norm(dim=1)
    r = r_ij.detach()
    envelope = filter_envelope(r, lower, cutoff)
    return ListedPairs(pairs, r_ij, envelope, filter_envelope_slope(r, lower, cutoff))


def pass_messages(features: Tensor, pairs: ListedPairs, filter_network: FilterNetwork) -> Tensor:
    """Return m_i = sum_j W(r_ij) * features_j over all neighbours j of i.

    Differentiable once, with respect to features and distances; the weights are constants.

    Args:
        features: [beads, channels] float32 or float64.
        pairs: as `measure_pairs` returns them.
        filter_network: weights of the block.

    Returns:
        [beads, channels].

    Raises:
        RuntimeError: weights that want a gradient.
    """
    refuse_training(filter_network)
    result: Tensor = _Convolution.apply(features, pairs.r_ij, pairs, filter_network)
    return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, features: Tensor, r_ij: Tensor, pairs: ListedPairs, network: FilterNetwork
    ) -> Tensor:
        ctx.save_for_backward(features, r_ij, pairs.envelope, pairs.envelope_slope)
        ctx.pairs, ctx.network = pairs.pairs, network
        messages = torch.zeros_like(features)
        for block in _blocks(len(r_ij)):
            i, j = pairs.pairs[0, block], pairs.pairs[1, block]
            envelope = pairs.envelope[block, None]
            rbf, _ = _basis(network, r_ij[block], envelope, None)
            hidden = _hidden(network, rbf)
            filters = _second_layer(network, hidden.mul_(envelope), envelope)  # [block, channels]
            messages.index_add_(0, i, filters * features.index_select(0, j))
            messages.index_add_(0, j, filters.mul_(features.index_select(0, i)))
        return messages

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        features, r_ij, all_envelope, all_slope = ctx.saved_tensors
        network: FilterNetwork = ctx.network
        wants_features = ctx.needs_input_grad[0]
        feature_gradient = torch.zeros_like(features) if wants_features else None
        slope_r = torch.empty_like(r_ij)
        for block in _blocks(len(r_ij)):
            i, j = ctx.pairs[0, block], ctx.pairs[1, block]
            envelope, envelope_slope = all_envelope[block, None], all_slope[block, None]
            rbf, rbf_slope = _basis(network, r_ij[block], envelope, envelope_slope)
            hidden = _hidden(network, rbf)
            bend = rbf_slope @ network.first_weight.T
            bend.mul_(1.0 - hidden * hidden).mul_(envelope).addcmul_(hidden, envelope_slope)
            filter_slope = _second_layer(network, bend, envelope_slope)  # [block, channels]
            h_i, h_j = features.index_select(0, i), features.index_select(0, j)
            g_i, g_j = gradient.index_select(0, i), gradient.index_select(0, j)
            slope_r[block] = (filter_slope * (g_i * h_j).addcmul_(g_j, h_i)).sum(1)
            if feature_gradient is not None:
                filters = _second_layer(network, hidden.mul_(envelope), envelope)
                feature_gradient.index_add_(0, i, filters * g_j)
                feature_gradient.index_add_(0, j, filters.mul_(g_i))
        return feature_gradient, slope_r, None, None


def _blocks(pairs: int) -> list[slice]:
    return [slice(start, start + PAIRS_PER_BLOCK) for start in range(0, pairs, PAIRS_PER_BLOCK)]


def _hidden(network: FilterNetwork, rbf: Tensor) -> Tensor:
    """Return tanh(L1 rbf + b1) [pairs, channels], as 2 sigmoid(2 z) - 1: six times faster here."""
    z = torch.addmm(network.first_bias, rbf, network.first_weight.T, beta=2.0, alpha=2.0)
    return z.sigmoid_().mul_(2.0).sub_(1.0)


def _second_layer(network: FilterNetwork, hidden: Tensor, weight: Tensor) -> Tensor:
    """Return L2 hidden + b2 weight [pairs, channels], the bias weighted as `hidden` is."""
    if network.second_bias is None:
        return hidden @ network.second_weight.T
    return torch.addmm(weight * network.second_bias, hidden, network.second_weight.T)


def _basis(
    network: FilterNetwork, r_ij: Tensor, envelope: Tensor, envelope_slope: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return rbf [pairs, functions] and, with the envelope's slope, drbf / dr.

    With a lower cutoff the envelope of the basis is not that on the filter.
    """
    basis = network.basis
    if basis.lower > 0.0:
        envelope = cosine_envelope(r_ij, basis.cutoff)[:, None]
        if envelope_slope is not None:
            envelope_slope = cosine_envelope_slope(r_ij, basis.cutoff)[:, None]
    u = r_ij if basis.kind == "gaussian" else torch.exp(basis.alpha * (basis.lower - r_ij))
    z = u[:, None] - basis.centres
    # exp is several times slower where it underflows; e^-80 is nothing beside 1.
    e = (z * z).mul_(-basis.widths).clamp_(min=-80.0).exp_()
    rbf = e * envelope
    if envelope_slope is None:
        return rbf, rbf
    inner = z.mul_(basis.widths).mul_(envelope).mul_(-2.0)  # C times d/du of the exponent
    if basis.kind == "exp_normal":
        inner.mul_((-basis.alpha * u)[:, None])
    return rbf, inner.add_(envelope_slope).mul_(e)
