"""A network with tabulated filters as one evaluation: energies and gradient, without autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from flashschnet_kernels.first_order import first_order
from flashschnet_kernels.nodes.weights import BlockWeights, NodeWeights
from flashschnet_kernels.plan import KernelPlan

if TYPE_CHECKING:
    from flashschnet_kernels.filter_table.table import FilterTable
    from flashschnet_lab.potentials.convolution import Neighbors
    from flashschnet_lab.potentials.schnet import SchNet

Evaluate = Callable[[Tensor, Any], tuple[Tensor, Tensor]]
"""Positions [beads, 3] and neighbours to energies [beads] and gradient [beads, 3]."""


def node_weights(network: SchNet) -> NodeWeights:
    """Return the weights of all bead work of a network."""
    modules: Any = network.blocks
    blocks = tuple(
        BlockWeights(
            to_channels=block.to_channels.weight.detach(),
            update_weight=block.update[0].weight.detach(),
            update_bias=block.update[0].bias.detach(),
            output_weight=block.update[2].weight.detach(),
            output_bias=block.update[2].bias.detach(),
        )
        for block in modules
    )
    layers = [layer for layer in network.output if isinstance(layer, nn.Linear)]
    return NodeWeights(
        embedding=network.embedding.weight.detach(),
        blocks=blocks,
        output_weights=tuple(layer.weight.detach() for layer in layers),
        output_biases=tuple(layer.bias.detach() for layer in layers[:-1]),
        energy_bias=None if layers[-1].bias is None else layers[-1].bias.detach(),
    )


def fused_network(
    network: SchNet,
    table: FilterTable,
    bead_types: Tensor,
    molecule_sizes: tuple[int, ...],
    plan: KernelPlan,
) -> Evaluate:
    """Return the evaluation of a network for one batch, on the device of `bead_types`.

    Args:
        network: its weights are read now and not again.
        table: its filters.
        bead_types: [beads] int64.
        molecule_sizes: beads of each molecule, laid end to end.
        plan: with nodes=triton or cpu.

    Raises:
        ValueError: a network that the kernels cannot take, with the plan that can.
    """
    weights = node_weights(network)
    if plan.nodes == "cpu":
        from flashschnet_kernels.nodes.network_cpu import Network

        return Network(weights, table, bead_types, molecule_sizes).evaluate
    from flashschnet_kernels.filter_table.pack import pack_table
    from flashschnet_kernels.nodes.network_triton import batch_features, evaluate
    from flashschnet_kernels.nodes.pack import pack_nodes
    from flashschnet_kernels.nodes.parts import side_streams

    nodes = pack_nodes(weights)
    half = plan.quantization == "fp16"
    halves = half and nodes.fit_halves
    packed = pack_table(table.to(bead_types.device), nodes.message_width, halves=halves)
    start = batch_features(nodes, bead_types)
    precision = "float16" if half else "float32"
    streams = side_streams(bead_types.device)
    return lambda positions, tiles: evaluate(
        positions, tiles, start, nodes, packed, precision, streams
    )


def differentiable(positions: Tensor, neighbors: Neighbors, evaluate: Evaluate) -> Tensor:
    """Return the energies [beads] of an evaluation, differentiable once through its gradient.

    The gradient is that of the sum of all energies: it can only be weighted per molecule.
    """
    energy: Tensor = _Energy.apply(positions, neighbors, evaluate)
    return energy


class _Energy(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, positions: Tensor, neighbors: Neighbors, evaluate: Evaluate
    ) -> Tensor:
        energy, gradient = evaluate(positions.detach(), neighbors)
        ctx.save_for_backward(gradient)
        return energy

    @staticmethod
    @first_order
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        (gradient,) = ctx.saved_tensors
        return gradient * slope[:, None].to(gradient.dtype), None, None
