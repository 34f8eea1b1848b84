"""The plan: which implementation runs is a value that is checked, named and explained."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest
import torch

from flashschnet_kernels import plan as module
from flashschnet_kernels.plan import (
    IMPLEMENTATIONS,
    PLANS,
    Implementation,
    KernelPlan,
    available,
    parse_plan,
)

OPERATORS = [field.name for field in fields(KernelPlan)]


@pytest.fixture
def with_fast_aggregation(monkeypatch):
    """A second implementation of one operator, which needs Triton."""
    fast = Implementation("segments", "same bits every run", needs_triton=True)
    monkeypatch.setitem(
        IMPLEMENTATIONS, "aggregation", {**IMPLEMENTATIONS["aggregation"], "fast": fast}
    )


def test_the_default_is_the_reference():
    plan = KernelPlan()
    assert plan.name == "reference"
    assert {getattr(plan, operator) for operator in OPERATORS} == {"reference"}


def test_every_operator_has_implementations():
    assert set(IMPLEMENTATIONS) == set(OPERATORS)
    assert all("reference" in known for known in IMPLEMENTATIONS.values())


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_unknown_implementation_is_refused_with_the_known_ones(operator):
    with pytest.raises(ValueError, match=f"{operator}.*'magic'.*reference"):
        KernelPlan(**{operator: "magic"})


def test_a_plan_is_a_value():
    plan = KernelPlan()
    assert plan == KernelPlan()
    assert hash(plan) == hash(KernelPlan())
    with pytest.raises(FrozenInstanceError):
        plan.aggregation = "other"


def test_explain_has_a_line_per_operator():
    lines = KernelPlan().explain().splitlines()
    assert [line.split()[0] for line in lines] == OPERATORS
    for line in lines:
        operator = line.split()[0]
        implementation = IMPLEMENTATIONS[operator]["reference"]
        assert implementation.reason in line
        assert implementation.determinism in line


def test_a_changed_operator_is_named_and_explained(with_fast_aggregation):
    plan = KernelPlan(aggregation="fast")
    assert plan.name == "aggregation=fast"
    assert plan != KernelPlan()
    assert "segments" in plan.explain()


def test_parse_plan():
    assert parse_plan("reference") == KernelPlan()
    assert parse_plan("baseline").message_passing == "edge_list"
    for name, plan in PLANS.items():
        assert parse_plan(plan.name) == plan
        assert plan.name == name
    with pytest.raises(ValueError, match="'quick'.*reference"):
        parse_plan("quick")


def test_references_run_everywhere():
    for device in ("cpu", "cuda"):
        rows = available(torch.device(device))
        assert list(dict.fromkeys(row.operator for row in rows)) == list(IMPLEMENTATIONS)
        assert all(row.usable for row in rows if row.implementation == "reference")


@pytest.mark.parametrize(
    ("triton", "device", "usable", "reason"),
    [
        (True, "cuda", True, "segments"),
        (True, "cpu", False, "needs a GPU"),
        (False, "cuda", False, "pip install triton"),
    ],
)
def test_what_cannot_run_says_why(
    monkeypatch, with_fast_aggregation, triton, device, usable, reason
):
    found = object() if triton else None
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: found)
    (row,) = [r for r in available(torch.device(device)) if r.implementation == "fast"]
    assert row.operator == "aggregation"
    assert row.usable is usable
    assert reason in row.reason
