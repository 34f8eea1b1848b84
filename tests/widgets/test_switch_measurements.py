"""Plans beside baselines: what is measured when, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flashschnet_kernels.plan import BASELINE, parse_plan
from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.bench import Work
from flashschnet_lab.widgets import switch_measurements as module
from flashschnet_lab.widgets.switch_measurements import Measurements, check_room, recorded_row

CPU = torch.device("cpu")


@pytest.fixture
def measured(monkeypatch, made_record) -> list[Work]:
    """What was measured, in order; nothing really is."""
    works: list[Work] = []

    def measure(work: Work, device: torch.device, seconds: float) -> dict:
        works.append(work)
        return made_record(work, ms=8.0 if work.plan == BASELINE else 2.0)

    monkeypatch.setattr(module, "measure", measure)
    return works


@pytest.fixture
def work(system) -> Work:
    return Work(system, 2, parse_plan("exact", "cpu"), stage="step")


def test_a_baseline_is_measured_once_per_work(measured, work):
    log, told = Measurements(1.0, with_recorded=False), []
    log.listeners.append(told.append)
    works = [work, replace(work, plan=parse_plan("fast", "cpu")), replace(work, replicas=3)]
    said: list[str] = []
    for one in works:
        row, recorded = log.measure(one, CPU, said.append)
        assert recorded is None
        assert row.ratio("ms") == 4.0
        assert row.baseline["work"] == row.record["work"]
    plans = [(one.plan.name, one.replicas) for one in measured]
    assert plans == [("baseline", 2), ("exact", 2), ("fast", 2), ("baseline", 3), ("exact", 3)]
    assert told == log.records and len(said) == 5
    assert len(log.rows) == 3
    assert [row.record["plan"] for row in log.newest] == ["exact"]


def test_the_baseline_itself_is_a_row(measured, work):
    log = Measurements(1.0, with_recorded=False)
    row, _ = log.measure(replace(work, plan=BASELINE), CPU, print)
    assert len(measured) == 1 and row.ratio("ms") == 1.0 and len(log.records) == 1


def test_a_run_again_adds_a_row(measured, work):
    log = Measurements(1.0, with_recorded=False)
    for _ in range(2):
        log.measure(work, CPU, print)
    assert len(log.rows) == 2 and [one.plan.name for one in measured].count("exact") == 2


def test_what_was_recorded_stands_below_once(measured, work):
    work = replace(work, system=replace(work.system, protein=named(work.system, "chignolin")))
    log = Measurements(1.0, with_recorded=True)
    for _ in range(2):
        log.measure(work, CPU, print)
    log.measure(replace(work, plan=parse_plan("fast", "cpu")), CPU, print)
    kinds = [(row.record["plan"], row.recorded) for row in log.newest]
    assert kinds[:3] == [("exact", False), ("exact", False), ("fast", False)]
    assert kinds[3:] == [("exact", True), ("fast", True)]
    assert all("gpu" in row.record for row in log.newest if row.recorded)
    assert recorded_row(work).baseline["plan"] == "baseline"


def test_an_unknown_protein_has_no_recorded_numbers(work):
    assert recorded_row(work) is None


def test_what_does_not_fit_in_memory_is_refused_before_it_is_tried(work, monkeypatch):
    monkeypatch.setattr(module.os, "sysconf", lambda _: 1000)  # a megabyte
    with pytest.raises(UserError, match="take fewer replicas"):
        check_room(replace(work, plan=BASELINE), CPU)
    check_room(work, torch.device("cuda"))  # which says so itself


def named(system, name: str):
    return replace(system.protein, name=name)
