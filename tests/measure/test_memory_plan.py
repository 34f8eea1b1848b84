"""How many replicas fit: by prediction, and as measured at one, two and four."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.errors import UserError
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

PLANS = {"baseline": KernelPlan(message_passing="edge_list"), "reference": KernelPlan()}


@pytest.mark.parametrize("plan", PLANS)
def test_the_peak_grows_with_replicas_as_predicted(plan, system, cpu):
    shape, sizes = system.model.network.shape, sizes_of(system, 1, directed_edges(system))
    x = torch.from_numpy(system.protein.positions).float()
    measured, predicted = [], []
    for replicas in (1, 2, 4):
        force_field = build_force_field([system] * replicas, plan=PLANS[plan])
        batch = x.expand(replicas, -1, -1).contiguous()
        measured.append(peak_bytes(lambda f=force_field, b=batch: f(b), cpu))
        costs = stage_costs(shape, replace(sizes, replicas=replicas), PLANS[plan])
        predicted.append(predicted_peak_bytes(costs))
    assert predicted == pytest.approx(measured, rel=0.12)
    assert measured[2] - measured[1] == pytest.approx(2 * (measured[1] - measured[0]), rel=0.02)


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
    assert [column.header for column in table.columns][-2:] == ["baseline", "reference"]
