"""How many replicas fit: by prediction, and as measured at one, two and four."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flashschnet_kernels.plan import PLANS, parse_plan
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_system
from flashschnet_lab.measure.bytes import Sizes, predicted_peak_bytes, sizes_of, stage_costs
from flashschnet_lab.measure.memory import peak_bytes
from flashschnet_lab.measure.memory_plan import (
    bytes_needed,
    fit_table,
    parse_memory,
    replicas_that_fit,
)
from flashschnet_lab.measure.work import directed_edges
from flashschnet_lab.potentials.schnet import SchNetShape
from flashschnet_lab.system import build_force_field

MEASURED = ("baseline", "reference", "radial_basis", "aggregation", "flash-float32")
FLASH = parse_plan("flash-float32", "cuda")


@pytest.mark.parametrize("name", MEASURED)
def test_the_peak_grows_with_replicas_as_predicted(name, system, cpu):
    plan = parse_plan(name)
    shape, sizes = system.model.network.shape, sizes_of(system, 1, directed_edges(system))
    x = torch.from_numpy(system.protein.positions).float()
    measured, predicted = [], []
    for replicas in (1, 2, 4):
        force_field = build_force_field([system] * replicas, plan=plan)
        batch = x.expand(replicas, -1, -1).contiguous()
        force_field(batch)  # makes the lists that stay
        measured.append(peak_bytes(lambda f=force_field, b=batch: f(b), cpu))
        costs = stage_costs(shape, replace(sizes, replicas=replicas), plan)
        predicted.append(predicted_peak_bytes(costs))
    assert predicted == pytest.approx(measured, rel=0.12)
    if not plan.fused:  # the block of pairs grows until it is full
        grown = measured[2] - measured[1]
        assert grown == pytest.approx(2 * (measured[1] - measured[0]), rel=0.02)


@pytest.mark.parametrize("name", ["flash-float32", "message_passing"])
def test_a_fused_plan_grows_linearly_once_its_blocks_are_full(name):
    plan, measured = parse_plan(name), []
    system = load_system("chignolin")
    x = torch.from_numpy(system.protein.positions).float()
    for replicas in (2, 4, 8):
        force_field = build_force_field([system] * replicas, plan=plan)
        batch = x.expand(replicas, -1, -1).contiguous()
        force_field(batch)
        measured.append(peak_bytes(lambda f=force_field, b=batch: f(b), torch.device("cpu")))
    assert measured[2] - measured[1] == pytest.approx(2 * (measured[1] - measured[0]), rel=0.05)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("plan", PLANS)
def test_the_count_is_the_largest_that_fits(plan, precision):
    shape, sizes, memory = SchNetShape(), Sizes(269, 44036, repulsion=33000), 24e9
    count = replicas_that_fit(shape, sizes, PLANS[plan], memory, precision=precision, reserve=0.0)

    def need(replicas):
        copies = replace(sizes, replicas=replicas)
        return bytes_needed(shape, copies, PLANS[plan], precision=precision)

    assert need(count) <= memory < need(count + 1)
    assert count > 10
    assert replicas_that_fit(shape, sizes, PLANS[plan], 1e6) == 0


def test_a_fused_plan_fits_many_times_as_many():
    shape, sizes = SchNetShape(), Sizes(269, 44036, repulsion=33000)
    fit = {
        name: replicas_that_fit(shape, sizes, plan, 24e9)
        for name, plan in {**PLANS, "flash": FLASH}.items()
    }
    assert fit["flash"] > 10 * fit["reference"] > 10 * fit["baseline"]


def test_memory_as_people_write_it():
    assert parse_memory("24GB") == 24 * 10**9
    assert parse_memory(" 80 GiB ") == 80 * 2**30
    assert parse_memory("16e9") == 16 * 10**9
    for wrong in ("much", "-3GB", "1.2.3GB", "0", ""):
        with pytest.raises(UserError, match="no size of memory"):
            parse_memory(wrong)


def test_the_table(system):
    table = fit_table([system], list(PLANS.values()), ["float32", "float64"], 10**9)
    assert table.row_count == 2
    assert [column.header for column in table.columns][-2:] == list(PLANS)
