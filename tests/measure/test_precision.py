"""The precision report on chignolin: what it says about 16 bit, and that it would notice."""

from __future__ import annotations

import math

import pytest
import torch

import flashschnet_lab as fl
from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.precision import (
    AS_TRAINED,
    LARGE,
    NETWORKS,
    UNEVEN,
    VARIANTS,
    precision_report,
    reshaped,
)
from flashschnet_lab.measure.precision_view import layer_table, precision_picture, precision_table
from flashschnet_lab.measure.table_precision import (
    table_errors_table,
    table_picture,
    table_report,
)

EVERYTHING = "+ calibrated rounding"


@pytest.fixture(scope="module")
def system():
    return fl.load_system("chignolin")


@pytest.fixture(scope="module")
def positions(system) -> torch.Tensor:
    simulation = fl.Simulation(system, replicas=2, seed=4)
    simulation.run(100)
    return simulation.state.positions


@pytest.fixture(scope="module")
def report(system, positions) -> list[dict]:
    return precision_report(system, positions)


def forces(report, dtype, variant, network=AS_TRAINED, key="force_error") -> float:
    (row,) = [
        row
        for row in report
        if row["kind"] == "forces"
        and (row["dtype"], row["variant"], row["network"]) == (dtype, variant, network)
    ]
    return row[key]


def test_errors_on_the_trained_network(report):
    for network in NETWORKS:
        assert forces(report, "float32", "", network) < 1e-5
    for variant in VARIANTS:
        assert 1e-4 < forces(report, "float16", variant) < 1e-3
        assert 1e-3 < forces(report, "bfloat16", variant) < 1e-2
        total = forces(report, "float16", variant, key="total_force_error")
        assert total < 0.1 * forces(report, "float16", variant)


def test_a_plain_cast_is_as_good_where_numbers_are_ordinary(report):
    plain = forces(report, "float16", "plain cast")
    for variant in ("channel scales", "+ activation scales", "+ scaled gradients"):
        assert forces(report, "float16", variant) == pytest.approx(plain, rel=0.3)
    assert forces(report, "float16", EVERYTHING) < plain


def test_where_float16_needs_its_scales(report):
    assert forces(report, "float16", "plain cast", UNEVEN) == math.inf
    assert forces(report, "float16", "channel scales", UNEVEN) < 1e-3
    assert forces(report, "float16", "channel scales", LARGE) == math.inf
    assert forces(report, "float16", "+ activation scales", LARGE) > 0.1  # gradients vanish
    assert forces(report, "float16", "+ scaled gradients", LARGE) < 1e-3
    for network in NETWORKS:
        assert forces(report, "float16", EVERYTHING, network) < 1e-3
        assert forces(report, "bfloat16", "plain cast", network) < 1e-2


def test_every_layer_is_judged(report, system):
    layers = [row for row in report if row["kind"] == "layer"]
    names = {row["layer"] for row in layers}
    assert len(names) == 4 * 5 + 3
    assert len(layers) == len(names) * len(VARIANTS) * 2
    for row in layers:
        unit = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[row["dtype"]]
        assert 0.05 * unit < row["output_error"] < 2 * unit
        if row["layer"] == "blocks.0.to_channels":
            assert row["gradient_error"] is None
        else:
            assert 0.05 * unit < row["gradient_error"] < 2 * unit


def test_reshaped_networks_have_the_same_energy(system, positions):
    network = system.model.network
    types = torch.arange(system.protein.beads)
    pairs = torch.triu_indices(system.protein.beads, system.protein.beads, 1)
    x = positions[0].float()
    exact = network(types, x, pairs)
    for name in NETWORKS:
        torch.testing.assert_close(reshaped(network, name)(types, x, pairs), exact)
    assert reshaped(network, LARGE).blocks[0].update[0].weight.abs().max() < 1e-5
    assert network.blocks[0].update[0].weight.abs().max() > 1e-2


def test_tables_and_picture(report, tmp_path):
    table = precision_table(report, "chignolin:")
    assert table.row_count == 1 + 2 * len(VARIANTS)
    assert layer_table(report, "float16").row_count == 23
    figure = precision_picture(report, "chignolin")
    figure.savefig(tmp_path / "precision.png")
    assert (tmp_path / "precision.png").read_bytes()[:4] == b"\x89PNG"


def test_what_is_refused(system, positions):
    with pytest.raises(UserError, match="at least 2 conformations"):
        precision_report(system, positions[:1])
    with pytest.raises(UserError, match="'float8' is unknown"):
        precision_report(system, positions, dtypes=("float8",))
    teacher = fl.structure_based_model(system.protein)
    with pytest.raises(UserError, match="no network"):
        precision_report(fl.System(system.protein, teacher), positions)


def test_tables_of_filters(system, positions, tmp_path):
    rows = table_report(system, positions, pieces=(256, 1024))
    assert len(rows) == 2 * 2 * 2
    errors = {
        (row["form"], row["stretch"] > 0.0, row["pieces"]): row["force_error"] for row in rows
    }
    for form in ("cubic", "compact"):
        for stretched in (False, True):
            assert errors[form, stretched, 1024] < 0.2 * errors[form, stretched, 256]
        assert errors[form, True, 1024] < errors[form, False, 1024]
    assert errors["cubic", True, 1024] < 1e-5 < errors["compact", True, 1024] < 1e-3
    sizes = {(row["form"], row["pieces"]): row["bytes"] for row in rows if row["stretch"]}
    assert sizes["cubic", 1024] == pytest.approx(1.5 * sizes["compact", 1024], rel=1e-3)
    assert sizes["cubic", 1024] == pytest.approx(4 * sizes["cubic", 256], rel=1e-2)
    assert table_errors_table(rows, "chignolin:").row_count == 2
    table_picture(rows, "chignolin").savefig(tmp_path / "tables.png")
    assert (tmp_path / "tables.png").read_bytes()[:4] == b"\x89PNG"
    teacher = fl.structure_based_model(system.protein)
    with pytest.raises(UserError, match="no network"):
        table_report(fl.System(system.protein, teacher), positions)
