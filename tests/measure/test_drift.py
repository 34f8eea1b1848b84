"""The drift of the total energy, and how it is told."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flashschnet_kernels.plan import parse_plan
from flashschnet_lab.loading import load_system
from flashschnet_lab.measure import drift
from flashschnet_lab.measure.drift import drifts_table, energy_drifts, slopes, write_drifts


def test_the_slope_of_a_wobbling_line():
    times = np.linspace(0.0, 10.0, 401)
    wobble = np.sin(2 * np.pi * times)  # whole periods
    energies = np.stack([3.0 + 0.5 * times + wobble, -2.0 - 0.1 * times], axis=1)
    slope, about = slopes(times, energies)
    assert slope == pytest.approx([0.5, -0.1], abs=0.02)
    assert about == pytest.approx([np.sqrt(0.5), 0.0], abs=0.02)


def test_plans_start_alike_and_are_recorded_once(tmp_path, monkeypatch):
    monkeypatch.setattr(drift, "WARM_UP_PS", 0.2)  # both plans start from whatever it leaves
    plans = [parse_plan(name, "cpu") for name in ("reference", "message_passing")]
    system = load_system("chignolin")
    found = energy_drifts(system, plans, replicas=2, time_ps=0.06, device="cpu")
    assert [record["plan"] for record in found] == ["reference", "message_passing"]
    assert all(np.isfinite([record["drift"], record["worst"]]).all() for record in found)
    # The same start and nearly the same forces: the wobble of the integrator is the same.
    assert found[0]["wobble"] == pytest.approx(found[1]["wobble"], rel=0.05)
    assert drifts_table(found).row_count == 2
    path = tmp_path / "drift.json"
    for _ in range(2):  # the second takes the place of the first
        write_drifts(found, path, "flashschnet bench")
    assert len(json.loads(path.read_text(encoding="utf-8"))) == 2
