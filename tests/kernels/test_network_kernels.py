"""A whole network in explicit order on a GPU, against its definition in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from flashschnet_kernels.filter_table.reference import expand
from flashschnet_kernels.message_passing import reference as message_passing
from flashschnet_kernels.neighbors.reference import pairs_within
from flashschnet_kernels.nodes import reference
from flashschnet_kernels.nodes.weights import NodeWeights
from tests.kernels.cases import CUTOFF, Case, case_from, poisoned, scattered
from tests.kernels.tables import table_of
from tests.kernels.test_balance import with_features
from tests.kernels.test_nodes import random_weights
from tests.kernels.tolerances import NETWORK, assert_within

pytest.importorskip("triton")

BATCHES = {
    "one molecule": (21,),
    "different molecules": (17, 1, 8, 5),
    "no neighbours": (1, 1, 1),
    "no beads": (),
}
SHAPE = {"hidden": 20, "channels": 40, "output": (24, 11)}


@pytest.fixture
def network(triton_device):
    from flashschnet_kernels.nodes import network_triton

    return network_triton


def batch_of(sizes: tuple[int, ...], channels: int = SHAPE["channels"]) -> Case:
    none = torch.zeros(2, 0, dtype=torch.int64)
    if not sizes:
        return Case(torch.zeros(0, 3).double(), (), none, channels=channels)
    case = case_from(torch.cat([scattered(n, 7.0, seed=n) for n in sizes]).double(), sizes)
    pairs = pairs_within(case.positions, sizes, CUTOFF)
    return replace(case, pairs=pairs, channels=channels)


def types_of(case: Case) -> Tensor:
    return torch.arange(case.beads) % 5


def by_definition(case: Case, weights: NodeWeights, table) -> tuple[Tensor, Tensor]:
    """Return the energy of every bead and the gradient of their sum, in float64."""
    x = case.positions.clone().requires_grad_()
    i, j = case.pairs
    r_ij = (x[j] - x[i]).norm(dim=1)
    features, h = reference.first_features(types_of(case), weights)
    for number, block in enumerate(weights.blocks):
        messages = message_passing.pass_messages(h, expand(r_ij, table, number), case.pairs)
        features, _ = reference.update(messages, features, block)
        if number + 1 < len(weights.blocks):
            h = reference.features(features, weights.blocks[number + 1])
    out = features
    for weight, bias in zip(weights.output_weights[:-1], weights.output_biases, strict=True):
        out = torch.tanh(out @ weight.T + bias)
    energy = (out @ weights.output_weights[-1].T)[:, 0]
    if weights.energy_bias is not None:
        energy = energy + weights.energy_bias
    if not case.pairs.shape[1]:
        return energy.detach(), torch.zeros_like(x)
    return energy.detach(), torch.autograd.grad(energy.sum(), x)[0]


def by_kernels(network, case: Case, weights: NodeWeights, table, device, precision="float32"):
    from flashschnet_kernels.filter_table.pack import pack_table
    from flashschnet_kernels.neighbors.tiles import TileSearch
    from flashschnet_kernels.nodes.pack import pack_nodes

    nodes = pack_nodes(on(weights, device))
    halves = precision == "float16" and nodes.fit_halves
    packed = pack_table(table.to(device), nodes.message_width, halves=halves)
    x = case.coordinates(torch.float32, device)
    tiles = TileSearch(case.molecule_sizes, CUTOFF, device)(x)
    start = network.batch_features(nodes, types_of(case).to(device))
    return network.evaluate(x, tiles, start, nodes, packed, precision)


def on(weights: NodeWeights, device: torch.device) -> NodeWeights:
    return NodeWeights(
        weights.embedding.to(device),
        tuple(
            type(block)(*(getattr(block, name).to(device) for name in block.__dataclass_fields__))
            for block in weights.blocks
        ),
        tuple(weight.to(device) for weight in weights.output_weights),
        tuple(bias.to(device) for bias in weights.output_biases),
        None if weights.energy_bias is None else weights.energy_bias.to(device),
    )


def check(network, case, weights, table, device, precision="float32"):
    energy, gradient = by_definition(case, weights, table)
    with poisoned():
        found = by_kernels(network, case, weights, table, device, precision)
    for part, exact in zip(found, (energy, gradient), strict=True):
        largest = exact.abs().max().item() if exact.numel() else 0.0
        assert part.dtype == torch.float32
        assert_within(part, exact, NETWORK[precision] * largest)


@pytest.mark.parametrize("sizes", BATCHES.values(), ids=list(BATCHES))
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_against_the_definition(network, triton_device, sizes, precision):
    case = batch_of(sizes)
    weights, form = random_weights(**SHAPE), "compact" if precision == "float16" else "cubic"
    check(network, case, weights, table_of(case, form=form, blocks=3), triton_device, precision)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_features_are_balanced(network, triton_device, precision):
    """What a network multiplies its features by, it divides its messages by: no bit changes."""
    case = batch_of((13, 6))
    weights, form = random_weights(**SHAPE), "compact" if precision == "float16" else "cubic"
    table = table_of(case, form=form, blocks=3)
    usual, huge = (
        by_kernels(network, case, with_features(weights, factor), table, triton_device, precision)
        for factor in (1.0, 2.0**30)
    )
    assert all(map(torch.equal, usual, huge))


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("form", ["cubic", "compact"])
def test_few_blocks(network, triton_device, blocks, form):
    case = batch_of((12,), channels=16)
    weights = random_weights(16, 16, (16, 16), blocks=blocks)
    check(network, case, weights, table_of(case, form=form, blocks=blocks), triton_device)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_one_hidden_output_layer(network, triton_device, biased, precision):
    case = batch_of((12,), channels=16)
    weights = random_weights(16, 16, (11,), blocks=2, biased=biased)
    check(network, case, weights, table_of(case, blocks=2), triton_device, precision)


def test_two_output_layers_and_a_bias(network, triton_device):
    case = batch_of((5, 1), channels=16)
    weights = random_weights(16, 16, (11, 7), blocks=1, biased=True)
    check(network, case, weights, table_of(case, blocks=1), triton_device)


WIDE = {
    "narrow messages": {"hidden": 256, "channels": 128, "output": (128, 64)},
    "wide messages and output": {"hidden": 256, "channels": 256, "output": (256,), "biased": True},
    "a wide output alone": {"hidden": 20, "channels": 40, "output": (24, 200), "biased": True},
}


@pytest.mark.parametrize(
    ("shape", "precision"),
    [
        ("narrow messages", "float32"),
        ("narrow messages", "float16"),
        ("wide messages and output", "float32"),
        ("a wide output alone", "float32"),
    ],
)
def test_layers_that_are_read_in_slabs(network, triton_device, shape, precision):
    case = batch_of((9, 1), WIDE[shape]["channels"])
    weights = random_weights(**WIDE[shape], blocks=2)
    check(network, case, weights, table_of(case, blocks=2), triton_device, precision)


def test_messages_of_a_wide_network_keep_their_width(network):
    from flashschnet_kernels.nodes.pack import pack_nodes

    widths = {}
    for hidden, channels in ((40, 20), (128, 40), (129, 128), (256, 40), (20, 150)):
        packed = pack_nodes(random_weights(hidden, channels, (11,)))
        widths[hidden, channels] = (packed.width, packed.message_width)
        assert packed.first_features.shape == (5, packed.message_width)
    assert widths == {
        (40, 20): (64, 64),
        (128, 40): (128, 128),
        (129, 128): (256, 128),
        (256, 40): (256, 64),
        (20, 150): (256, 256),
    }


def test_a_table_of_another_width_is_refused(network, triton_device, monkeypatch):
    from flashschnet_kernels.filter_table import pack

    case, pack_table = batch_of((3,)), pack.pack_table
    monkeypatch.setattr(pack, "pack_table", lambda table, width, **_: pack_table(table, 2 * width))
    with pytest.raises(ValueError, match="a table 128 wide, for messages of 64"):
        by_kernels(network, case, random_weights(**SHAPE), table_of(case, blocks=3), triton_device)


@pytest.mark.parametrize("factor", [1e6, 1e-6])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_features_of_any_size(network, triton_device, factor, precision):
    """A model may keep its features in any unit: 16-bit numbers are scaled before they are made."""
    case = batch_of((14,))
    scaled = with_features(random_weights(**SHAPE), factor)
    check(network, case, scaled, table_of(case, blocks=3), triton_device, precision)


def test_energies_of_any_size(network, triton_device):
    case = batch_of((14,))
    weights = random_weights(**SHAPE)
    *first, last = weights.output_weights
    small = replace(weights, output_weights=(*first, last * 1e-7))
    for form in ("cubic", "compact"):
        table = table_of(case, form=form, blocks=3)
        check(network, case, small, table, triton_device, "float16")


def test_same_bits_alone_and_in_a_batch(network, triton_device):
    case, alone = batch_of((17, 9)), batch_of((17,))
    weights = random_weights(**SHAPE)
    table = table_of(case, blocks=3)
    first = by_kernels(network, case, weights, table, triton_device)
    again = by_kernels(network, case, weights, table, triton_device)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    single = by_kernels(network, alone, weights, table, triton_device)
    for a, b in zip(first, single, strict=True):
        assert_within(a[:17], b.double().cpu(), 1e-5)


def test_parts_of_a_batch_give_the_same_bits(network, triton_device, monkeypatch):
    from flashschnet_kernels.nodes.parts import cut

    # Each part begins at a multiple of four row blocks; elsewhere nothing is cut.
    case, weights = batch_of((25, 28, 9)), random_weights(**SHAPE)
    table = table_of(case, blocks=3)
    whole = by_kernels(network, case, weights, table, triton_device)
    for count, lanes in ((2, 1), (3, 3)):

        def lanes_of(tiles, *_, count=count, lanes=lanes):
            parts = cut(tiles.layout, count)
            return [parts[lane::lanes] for lane in range(min(lanes, len(parts)))]

        monkeypatch.setattr(network, "lanes_of", lanes_of)
        with poisoned():
            in_parts = by_kernels(network, case, weights, table, triton_device)
        for a, b in zip(in_parts, whole, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"output": ()}, "1 or 2 hidden layers, not 0"),
        ({"output": (24, 12, 6)}, "1 or 2 hidden layers, not 3"),
        ({"channels": 257}, "up to 256 numbers, not 257"),
        ({"output": (24, 300)}, "up to 256 numbers, not 300"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(network, shape, words):
    from flashschnet_kernels.nodes.pack import pack_nodes

    with pytest.raises(ValueError, match=words):
        pack_nodes(random_weights(**(SHAPE | shape)))
