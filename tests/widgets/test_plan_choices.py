"""Switches make plans, and every plan can be put on the switches."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from flashschnet_kernels.plan import LADDER, KernelPlan, parse_plan
from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.system import Model, System, as_plan
from flashschnet_lab.widgets.plan_choices import (
    PRESETS,
    SWITCHED,
    assemble,
    explain,
    implementations,
    on_gpu,
    reasons,
    switches_of,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", [*PRESETS, *LADDER])
def test_switches_give_back_the_plan_that_they_were_set_from(name: str, device: str) -> None:
    plan = parse_plan(name, device)
    assert assemble(switches_of(plan)) == plan


def test_every_position_of_the_switches_is_a_plan_or_an_explained_refusal() -> None:
    names = {operator: implementations(operator, CPU) for operator in SWITCHED}
    plans = refused = 0
    for chosen in product(*names.values()):
        try:
            plan = assemble(dict(zip(SWITCHED, chosen, strict=True)))
        except UserError as error:
            refused += 1
            assert len(str(error)) > 20
        else:
            plans += 1
            assert switches_of(plan) == dict(zip(SWITCHED, chosen, strict=True))
    assert plans > 20 and refused > 20


def test_only_what_can_run_is_offered() -> None:
    pytest.importorskip("numba")
    assert implementations("message_passing", CPU) == ["reference", "edge_list", "cpu"]
    assert len(reasons("filters", ["network", "table-exact"])) == 2
    assert "neighbors" not in SWITCHED


@pytest.mark.parametrize("name", [*PRESETS, "aggregation", "message_passing"])
def test_a_plan_has_a_namesake_on_a_gpu(name: str) -> None:
    kin = on_gpu(parse_plan(name, "cpu"))
    assert kin is not None and kin.name == parse_plan(name, "cuda").name


def test_a_text_that_is_no_plan_is_refused() -> None:
    assert as_plan(KernelPlan(), "cpu") == KernelPlan()
    with pytest.raises(UserError, match="unknown plan 'quick'"):
        as_plan("quick", "cpu")


def test_the_explanation_has_a_line_per_operator_and_the_reason_for_no_graph() -> None:
    system = System(build_chain("AG", "helix"), Model("nothing"))
    text = explain(parse_plan("exact", "cpu"), system, CPU)
    assert all(operator in text for operator in (*SWITCHED, "neighbors"))
    assert "CUDA graphs need a GPU" in text and "plan exact" in text
