"""A whole network with tabulated filters on a CPU, against the definition in float64."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from flashschnet_kernels.filter_table.reference import expand
from flashschnet_kernels.filter_table.table import FilterTable
from flashschnet_kernels.message_passing.reference import pass_messages
from flashschnet_kernels.nodes import reference
from flashschnet_kernels.nodes.weights import NodeWeights
from tests.kernels.cases import CASES, Case, case_from, poisoned, scattered
from tests.kernels.test_nodes import SHAPES, random_weights
from tests.kernels.tolerances import assert_as_exact_as_eager

pytest.importorskip("numba")
from flashschnet_kernels import numba_vectors
from flashschnet_kernels.nodes.network_cpu import Network
from tests.kernels.test_filter_table_cpu import BLOCKS, table_of


def types_of(case: Case) -> Tensor:
    return torch.arange(case.beads) % 5


def weights_for(case: Case, shape: str) -> NodeWeights:
    return random_weights(**(SHAPES[shape] | {"channels": case.channels, "blocks": BLOCKS}))


def cast(weights: NodeWeights, dtype: torch.dtype) -> NodeWeights:
    """Return the weights in another dtype."""

    def part(value):
        if value is None:
            return None
        if isinstance(value, Tensor):
            return value.to(dtype)
        if isinstance(value, tuple):
            return tuple(part(one) for one in value)
        return replace(value, **{f.name: part(getattr(value, f.name)) for f in fields(value)})

    return part(weights)


def by_definition(case: Case, weights: NodeWeights, table: FilterTable, dtype: torch.dtype):
    """Return energies and the gradient of their sum."""
    weights = cast(weights, dtype)
    x = case.positions.to(dtype, copy=True).requires_grad_()
    i, j = case.pairs
    r_ij = (x[j] - x[i]).norm(dim=1)
    features, h = reference.first_features(types_of(case), weights)
    for number, block in enumerate(weights.blocks):
        if number > 0:
            h = reference.features(features, block)
        messages = pass_messages(h, expand(r_ij, table, number), case.pairs)
        features, _ = reference.update(messages, features, block)
    energy, _ = reference.turn(features, weights)
    (gradient,) = torch.autograd.grad(energy.sum(), x)
    return energy.detach(), gradient


def network_of(case: Case, weights: NodeWeights, table: FilterTable) -> Network:
    return Network(weights, table, types_of(case), case.molecule_sizes)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].beads])
def test_against_the_definition(name):
    case = CASES[name]
    weights, table = weights_for(case, "odd widths"), table_of(case)
    exact = by_definition(case, weights, table, torch.float64)
    eager = by_definition(case, weights, table, torch.float32)
    with poisoned():
        network = network_of(case, weights, table)
        found = network.evaluate(case.coordinates(torch.float32), case.pairs)
    for parts in zip(found, eager, exact, strict=True):
        assert_as_exact_as_eager(*parts)


def test_no_beads():
    case = CASES["no beads"]
    network = network_of(case, weights_for(case, "odd widths"), table_of(case))
    energy, gradient = network.evaluate(torch.zeros(0, 3), case.pairs)
    assert energy.shape == (0,) and gradient.shape == (0, 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_network(shape):
    case = replace(case_from(scattered(20, 10.0, seed=1)), channels=SHAPES[shape]["channels"])
    weights, table = weights_for(case, shape), table_of(case)
    exact = by_definition(case, weights, table, torch.float64)
    eager = by_definition(case, weights, table, torch.float32)
    found = network_of(case, weights, table).evaluate(case.coordinates(torch.float32), case.pairs)
    # An energy is a sum of weights times numbers up to 1, which cancel.
    terms = max(float(weights.output_weights[-1].norm()), float(exact[0].abs().max()))
    assert_as_exact_as_eager(found[0], eager[0], exact[0], terms)
    assert_as_exact_as_eager(found[1], eager[1], exact[1])


def test_nothing_is_left_from_the_evaluation_before():
    """Other positions, then another list: as a new network finds it."""
    case = CASES["odd sizes"]
    weights, table = weights_for(case, "odd widths"), table_of(case)
    used = network_of(case, weights, table)
    x = case.coordinates(torch.float32)
    for positions in (x, x * 1.1, x * 0.9):
        for pairs in (case.pairs, case.pairs[:, ::2].contiguous(), case.pairs.int()):
            found = used.evaluate(positions, pairs)
            fresh = network_of(case, weights, table).evaluate(positions, pairs)
            assert all(map(torch.equal, found, fresh))


def test_a_list_that_is_changed_in_place_is_read_again():
    case = CASES["odd sizes"]
    network = network_of(case, weights_for(case, "odd widths"), table_of(case))
    x, pairs = case.coordinates(torch.float32), case.pairs.clone()
    network.evaluate(x, pairs)
    pairs[:] = case.pairs.flip(1)[:, torch.argsort(case.pairs.flip(1)[0], stable=True)]
    pairs[:, 1:] = pairs[:, :1]  # one pair many times over: nonsense, but another list
    changed = network.evaluate(x, pairs)
    fresh = network_of(case, weights_for(case, "odd widths"), table_of(case)).evaluate(x, pairs)
    assert all(map(torch.equal, changed, fresh))


def test_same_bits_alone_in_a_batch_and_on_any_threads():
    molecule = scattered(21, 10.0, seed=3)
    alone = replace(case_from(molecule), channels=40)
    batch = replace(case_from(molecule.repeat(3, 1), (21, 21, 21)), channels=40)
    weights, table = weights_for(alone, "three hidden layers"), table_of(alone)
    expected = network_of(alone, weights, table).evaluate(
        alone.coordinates(torch.float32), alone.pairs
    )
    network = Network(weights, table, types_of(alone).repeat(3), batch.molecule_sizes)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found = network.evaluate(batch.coordinates(torch.float32), batch.pairs)
            for part, whole in zip(found, expected, strict=True):
                assert all(torch.equal(copy, whole) for copy in part.split(21))
    finally:
        torch.set_num_threads(threads)


def test_tanh_of_vectors():
    x = torch.cat([torch.linspace(-12.0, 12.0, 1 << 16), torch.logspace(-30, 0, 1 << 10)])
    found = torch.zeros_like(x)
    _tanh(x.numpy(), found.numpy())
    error = (found.double() - x.double().tanh()).abs()
    assert float((error / x.double().tanh().abs().clamp(min=1e-30)).max()) < 2e-7
    assert float(found.abs().max()) <= 1.0
    x[:16] = torch.nan
    _tanh(x.numpy(), found.numpy())
    assert found[:16].isnan().all() and found[16:].isfinite().all()


def test_wrong_input_is_refused():
    case = CASES["odd sizes"]
    weights, table = weights_for(case, "odd widths"), table_of(case)
    network = network_of(case, weights, table)
    x = case.coordinates(torch.float32)
    with pytest.raises(TypeError, match="float64"):
        network.evaluate(x.double(), case.pairs)
    with pytest.raises(ValueError, match="22, 3.* for 23 beads"):
        network.evaluate(x[1:], case.pairs)
    with pytest.raises(ValueError, match="3 blocks and 21 channels"):
        Network(random_weights(8, 21, ()), table, types_of(case), case.molecule_sizes)
    with pytest.raises(ValueError, match="22 beads"):
        Network(weights, table, types_of(case)[1:], case.molecule_sizes)


def _tanh(x, out):
    _compiled_tanh()(x, out)


def _compiled_tanh():
    from numba import njit

    load, store, tanh = numba_vectors.load, numba_vectors.store, numba_vectors.tanh

    @njit
    def all_of(x, out):
        for at in range(0, x.shape[0], 16):
            store(out, at, tanh(load(x, at)))

    return all_of
