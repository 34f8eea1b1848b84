"""Which table a network needs: judged against the network itself, on whole conformations."""

from __future__ import annotations

import math

import pytest
import torch

from flashschnet_kernels.filter_table.knots import Knots
from flashschnet_kernels.filter_table.table import build_table
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials import tables as module
from flashschnet_lab.potentials.batch import Batch
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.potentials.sum import ForceField
from flashschnet_lab.potentials.table_errors import Conformation, TableJudge, filter_networks
from flashschnet_lab.potentials.tables import (
    CLASSES,
    CompiledTable,
    choose_table,
    class_of,
    network_digest,
    table_bytes,
)
from flashschnet_lab.proteins.builder import build_chain

KINDS = ("gaussian", "exp_normal")


def network_of(kind: str, seed: int = 2) -> SchNet:
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    network = SchNet(
        SchNetShape(
            hidden=16,
            channels=16,
            blocks=2,
            radial_functions=64,
            radial_basis=kind,
            output_widths=(16,),
        )
    )
    torch.random.set_rng_state(state)
    return network


@pytest.fixture(scope="module")
def conformations() -> list[Conformation]:
    found = []
    for shape in ("helix", "extended"):
        protein = build_chain("AGPWYKAC", shape)
        found.append(
            Conformation(
                shape,
                torch.from_numpy(protein.positions),
                torch.from_numpy(protein.bead_types),
            )
        )
    return found


@pytest.fixture(scope="module", params=KINDS)
def judge(request, conformations) -> TableJudge:
    return TableJudge(network_of(request.param), conformations)


@pytest.fixture(scope="module")
def chosen(judge) -> dict[str, CompiledTable]:
    return {name: choose_table(judge, name) for name in CLASSES}


def table_of(network: SchNet, pieces: int, form: str = "cubic", stretch: float = 0.2):
    cutoff = network.shape.cutoff
    return build_table(filter_networks(network), Knots(pieces, stretch, cutoff), form)


def exact_forces(network: SchNet, conformation: Conformation) -> torch.Tensor:
    batch = Batch((len(conformation.positions),))
    types = conformation.bead_types
    alone = ForceField(batch, network=network, bead_types=types).double()
    return alone(conformation.positions).forces


def test_the_judge_knows_the_forces_of_the_network(conformations):
    """With a table that is exact to rounding, its forces are those of autograd."""
    network = network_of("exp_normal")
    for conformation in conformations:
        judge = TableJudge(network, [conformation])
        witness = judge._witnesses[0]
        exact = exact_forces(network_of("exp_normal"), conformation)
        torch.testing.assert_close(witness._forces, exact, rtol=1e-9, atol=1e-12)
        assert judge.error(table_of(network, 4096)) < 1e-6


def test_the_worst_conformation_counts(judge, conformations):
    table = table_of(judge.network, 256)
    alone = [TableJudge(judge.network, [c]).error(table) for c in conformations]
    assert judge.error(table) == max(alone)
    assert judge.names == ("helix", "extended")


@pytest.mark.parametrize("form", ["cubic", "compact"])
@pytest.mark.parametrize("pieces", [100, 400, 1600])
def test_an_estimate_is_close(judge, pieces, form):
    table = table_of(judge.network, pieces, form)
    assert judge.estimate(table) == pytest.approx(judge.error(table), rel=0.5)


def test_the_network_stays_as_it_is(judge):
    for tensor in judge.network.state_dict().values():
        assert tensor.dtype == torch.float32
    assert all(weight.requires_grad for weight in judge.network.parameters())


@pytest.mark.parametrize("name", CLASSES)
def test_the_table_of_a_class_keeps_its_promise(judge, chosen, name):
    compiled = chosen[name]
    wanted = class_of(name)
    assert compiled.table.form == wanted.form
    assert compiled.precision_class == name
    assert compiled.achieved_error == judge.error(compiled.table)
    assert 0.0 < compiled.achieved_error <= wanted.table_tolerance < wanted.promise
    assert compiled.verified_on == judge.names
    assert compiled.digest == network_digest(judge.network)


def test_classes_ask_for_less_and_less(chosen):
    sizes = [table_bytes(chosen[name].table, 2.0) for name in CLASSES]
    assert sizes[0] > sizes[1] > 0
    assert [kind.promise for kind in CLASSES.values()] == [1e-5, 1e-4, 3e-3]


def test_a_smaller_table_would_not_do(judge, chosen):
    """The one before it in the list, with the same stretch."""
    knots = chosen["exact"].table.knots
    number = module.PIECES.index(knots.pieces)
    assert number > 0
    smaller = Knots(module.PIECES[number - 1], knots.stretch, knots.cutoff)
    table = build_table(filter_networks(judge.network), smaller, "cubic")
    assert judge.error(table) > 0.8 * class_of("exact").table_tolerance


def test_the_same_table_every_time(conformations):
    one, two = (
        choose_table(TableJudge(network_of("exp_normal"), conformations), "balanced")
        for _ in range(2)
    )
    assert one.table.knots == two.table.knots
    assert torch.equal(one.table.coefficients, two.table.coefficients)
    assert one.achieved_error == two.achieved_error


def test_a_network_that_no_table_holds(conformations, monkeypatch):
    """A filter that bends within a hundredth of an angstrom."""
    network = network_of("gaussian")
    with torch.no_grad():
        network.blocks[0].filter_network[0].weight.mul_(3e4)
    judge = TableJudge(network, conformations)
    with pytest.raises(UserError, match=r"'exact'.* force error of .*6e-06.*flash-float32"):
        choose_table(judge, "exact")


def test_what_is_refused(judge, conformations):
    with pytest.raises(UserError, match="'rough' is unknown; known: exact, balanced, fast"):
        choose_table(judge, "rough")
    lonely = Conformation("one bead", torch.zeros(1, 3).double(), torch.ones(1).long())
    with pytest.raises(ValueError, match="pairs within the cutoff"):
        TableJudge(judge.network, [lonely])
    assert TableJudge(judge.network, [lonely, *conformations]).names == judge.names


def test_the_digest_is_of_all_weights():
    network = network_of("exp_normal")
    before = network_digest(network)
    assert network_digest(network_of("exp_normal")) == before
    assert network_digest(network_of("gaussian")) != before
    assert network_digest(network.double()) == before  # the same numbers
    with torch.no_grad():
        weight = network.output[0].weight
        weight[0, 0] = math.nextafter(float(weight[0, 0]), 1e9) * (1.0 + 1e-6)
    assert network_digest(network) != before
