"""The convolution of a block under a kernel plan: messages from features and distances.

What all blocks share (distances, radial basis, envelope) is computed once, when `convolution` is
called; what it returns is then called for every block.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from flashschnet_kernels.edges import Edges
from flashschnet_kernels.message_passing import edge_list, reference
from flashschnet_kernels.message_passing.filter_network import (
    FilterNetwork,
    PackedFilter,
    pack,
    refuse_training,
)
from flashschnet_kernels.plan import KernelPlan

if TYPE_CHECKING:
    from flashschnet_kernels.filter_table.table import FilterTable
    from flashschnet_kernels.neighbors.tiles import Tiles
    from flashschnet_lab.potentials.radial import ExpNormalBasis, GaussianBasis
    from flashschnet_lab.potentials.schnet import InteractionBlock, SchNet

Neighbors = Any
"""[2, pairs] unordered pairs, `Edges` or `Tiles`, as the plan reads them."""

Convolution = Callable[["InteractionBlock", Tensor], Tensor]
"""Block and its features h [beads, channels] to messages [beads, channels]."""

_PRECISIONS = {"none": "float32", "fp16": "float16", "bf16": "bfloat16"}


def convolution(
    network: SchNet,
    positions: Tensor,
    neighbors: Neighbors,
    plan: KernelPlan,
    table: FilterTable | None = None,
) -> Convolution:
    """Return the convolution at some positions.

    Args:
        network: whose blocks it is for.
        positions: [beads, 3] in angstrom.
        neighbors: in the form that the plan reads.
        plan: which implementation of each operator runs.
        table: of the network's filters, on the device of the positions, for a plan that reads one.

    Raises:
        ValueError: a plan that reads a table, and none is given.
    """
    basis: Any = network.radial_basis
    if plan.tabulated:
        if table is None:
            raise ValueError(f"filters={plan.filters} needs a table of the network's filters")
        number = {id(block): n for n, block in enumerate(network.blocks)}
        return _tabulated(network, positions, neighbors, plan, table, number)
    if plan.message_passing == "triton":
        return _fused_tiles(basis, positions, neighbors, plan)
    if plan.message_passing == "cpu":
        return _fused_blocks(basis, positions, neighbors)
    return _materialised(basis, positions, neighbors, plan)


def _materialised(
    basis: GaussianBasis | ExpNormalBasis,
    positions: Tensor,
    neighbors: Tensor | Edges,
    plan: KernelPlan,
) -> Convolution:
    """Distances, basis, filters and messages as tensors with a row per link."""
    edges = neighbors if isinstance(neighbors, Edges) else None
    message_passing = edge_list if plan.message_passing == "edge_list" else reference
    if edges is not None:
        receiver, sender = edges.receiver, edges.sender
    else:
        links = message_passing.links(neighbors)
        receiver, sender = links[0], links[1]
    expand = _implementation("radial_basis", plan.radial_basis).expand
    fixed_order = edges if plan.aggregation != "reference" else None
    _, rbf, envelope = expand(positions, receiver, sender, basis.numbers(), fixed_order)
    if edges is not None:
        aggregation = _implementation("aggregation", plan.aggregation)
        return lambda block, h: edge_list.pass_messages_by_row(
            h, block.filters(rbf, envelope), edges, aggregation
        )
    return lambda block, h: message_passing.pass_messages(h, block.filters(rbf, envelope), links)


def _fused_tiles(
    basis: GaussianBasis | ExpNormalBasis, positions: Tensor, tiles: Tiles, plan: KernelPlan
) -> Convolution:
    """One pass per block over tiles of pairs, on a GPU."""
    from flashschnet_kernels.message_passing import tile_geometry, triton

    atomic = plan.aggregation == "reference"
    precision = _PRECISIONS[plan.quantization]
    numbers = basis.numbers()
    cutoffs = (numbers.cutoff, numbers.lower)
    pairs = tile_geometry.measure_tiles(positions, tiles, *cutoffs, atomic=atomic)

    def convolve(block: InteractionBlock, h: Tensor) -> Tensor:
        packed = _packed(block, numbers, precision)
        return triton.pass_messages(h, pairs, packed, atomic=atomic)

    return convolve


def _fused_blocks(
    basis: GaussianBasis | ExpNormalBasis, positions: Tensor, pairs: Tensor
) -> Convolution:
    """One pass per block over blocks of pairs, on a CPU."""
    from flashschnet_kernels.message_passing import cpu

    numbers = basis.numbers()
    listed = cpu.measure_pairs(positions, pairs, numbers.cutoff, numbers.lower)
    return lambda block, h: cpu.pass_messages(h, listed, _weights(block, numbers))


def _tabulated(
    network: SchNet,
    positions: Tensor,
    neighbors: Neighbors,
    plan: KernelPlan,
    table: FilterTable,
    number: dict[int, int],
) -> Convolution:
    """Filters looked up instead of computed: pair by pair, or over tiles of pairs on a GPU."""
    if plan.message_passing == "triton":
        from flashschnet_kernels.filter_table import triton
        from flashschnet_kernels.filter_table.pack import pack_table

        kept: tuple[FilterTable, Any] | None = getattr(network, "packed_table", None)
        if kept is None or kept[0] is not table:  # not in every step
            kept = (table, pack_table(table))
            network.packed_table = kept  # type: ignore[assignment]
        packed = kept[1]
        s = triton.convolution_coordinates(positions, neighbors, table.knots)
        return lambda block, h: triton.pass_messages(h, s, neighbors, packed, number[id(block)])
    from flashschnet_kernels.filter_table.reference import expand

    i, j = neighbors
    r_ij = (positions.index_select(0, j) - positions.index_select(0, i)).norm(dim=1)
    return lambda block, h: reference.pass_messages(
        h, expand(r_ij, table, number[id(block)]), neighbors
    )


def _implementation(operator: str, name: str) -> ModuleType:
    return import_module(f"flashschnet_kernels.{operator}.{name}")


def _weights(block: InteractionBlock, numbers: Any) -> FilterNetwork:
    first: Any = block.filter_network[0]
    second: Any = block.filter_network[2]
    return FilterNetwork(first.weight, first.bias, second.weight, numbers, second.bias)


def _packed(block: InteractionBlock, numbers: Any, precision: str) -> PackedFilter:
    """Return the weights of a block as the kernels read them, packed again only if they changed."""
    weights = _weights(block, numbers)
    refuse_training(weights)  # at every call: what is kept may be from one without gradients
    state = tuple((t.data_ptr(), t._version, t.device) for t in _tensors(block.filter_network))
    key = (precision, state)
    kept: tuple[Any, PackedFilter] | None = getattr(block, "packed_filter", None)
    if kept is None or kept[0] != key:
        kept = (key, pack(weights, precision))
        block.packed_filter = kept  # type: ignore[assignment]
    return kept[1]


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
