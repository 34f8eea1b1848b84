"""Measuring: what is counted, and that a wrong plan shows no speed."""

from __future__ import annotations

import json

import pytest
import torch

from flashschnet_kernels.plan import PLANS
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import default_prior
from flashschnet_lab.measure import bench as module
from flashschnet_lab.measure.accuracy import force_error
from flashschnet_lab.measure.bench import Work, measure
from flashschnet_lab.measure.memory import peak_bytes
from flashschnet_lab.measure.report import draw_records, records_tables, write_records
from flashschnet_lab.measure.timing import time_calls
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.system import Model, System, build_force_field

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def system() -> System:
    torch.manual_seed(2)
    shape = SchNetShape(hidden=16, channels=16, blocks=2, radial_functions=12, output_widths=(16,))
    protein = build_chain("AGPWYK", "helix")
    return System(protein, Model("tiny", default_prior("five_bead"), SchNet(shape)))


@pytest.fixture(scope="module")
def records(system) -> list[dict]:
    works = [Work(system, 2, PLANS[name], stage=s) for s in module.STAGES for name in PLANS]
    return [measure(work, CPU, seconds=0.01) for work in works]


def test_a_record_has_what_is_promised(records):
    for record in records:
        assert record["work"]["replicas"] == 2
        assert record["work"]["directed_edges"] > 0
        assert record["ms"]["min"] <= record["ms"]["median"] <= record["ms"]["max"]
        assert record["peak_bytes"] > 0
        assert record["force_error"] < 1e-4
        assert record["cpu"] and record["date"] and record["commit"] and record["versions"]
        assert record["calls"] >= 5
        assert ("ns_per_day" in record) is (record["stage"] == "step")
    assert {record["plan"] for record in records} == set(PLANS)


def test_the_baseline_holds_more(records):
    peak = {(r["plan"], r["stage"]): r["peak_bytes"] for r in records}
    assert peak["baseline", "force"] > peak["reference", "force"]


def test_a_plan_with_wrong_forces_shows_no_speed(system, monkeypatch):
    monkeypatch.setattr(module, "force_error", lambda *_: 0.3)
    record = measure(Work(system, 1, PLANS["reference"]), CPU, seconds=0.01)
    assert "force error" in record["failed"]
    assert "ms" not in record
    (table,) = records_tables([record])
    assert table.row_count == 1


def test_force_error(system):
    x = torch.from_numpy(system.protein.positions)[None]
    exact = build_force_field([system], dtype=torch.float64)(x).forces
    assert force_error([system], x, exact) < 1e-14
    assert force_error([system], x, 1.01 * exact) == pytest.approx(0.01)


def test_peak_bytes_counts_what_lives_at_once():
    def two_at_once():
        a = torch.zeros(1000)
        b = a + 1
        del a
        c = b * 2
        del b
        return c.view(10, 100).T

    assert peak_bytes(two_at_once, CPU) == 8000
    kept = torch.zeros(1000)
    assert peak_bytes(lambda: kept.mul_(2), CPU) == 0
    assert peak_bytes(lambda: [kept + i for i in range(5)], CPU) == 20000


def test_time_calls():
    done = []
    timing = time_calls(lambda: done.append(1), CPU, seconds=0.001, at_least=3, at_most=7)
    assert 3 <= timing.calls <= 7
    assert len(done) == timing.calls + 1
    assert 0 <= timing.min <= timing.median <= timing.max


def test_records_are_added_to_a_file_and_drawn(records, tmp_path):
    path = tmp_path / "some" / "bench.json"
    write_records(records[:1], path)
    write_records(records[1:], path)
    assert json.loads(path.read_text()) == {"records": records}
    draw_records(records, path.with_suffix(".png"))
    assert path.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    path.write_text("[]")
    with pytest.raises(UserError, match="not a measurement file"):
        write_records(records, path)
