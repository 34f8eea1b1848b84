"""Force errors while an extended chain collapses."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest
import torch

from flashschnet_kernels.plan import parse_plan
from flashschnet_lab.compiling import judged_conformations
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_system
from flashschnet_lab.measure import extended
from flashschnet_lab.measure.extended import force_errors
from flashschnet_lab.system import build_force_field

pytest.importorskip("numba")  # runs the plans with tables


def test_forces_grow_and_relative_errors_fall():
    system = load_system("chignolin")
    plans = [parse_plan(name, "cpu") for name in ("exact", "reference")]
    found = list(force_errors(system, plans, replicas=2, times_ps=(0.02, 8.0), device="cpu"))
    folded, _, built, first, last = found
    assert (folded["conformation"], built["replicas"]) == ("chignolin, folded", 1)
    assert (last["conformation"], last["replicas"]) == ("extended, after 8 ps", 2)
    assert built["norm"] < 0.2 * folded["norm"]
    assert first["norm"] < last["norm"]
    assert last["force_error"]["exact"] < built["force_error"]["exact"]
    for record in found:
        assert record["force_error"]["reference"] < record["force_error"]["exact"] < 2e-5


def test_the_norm_is_that_of_the_network_alone():
    system = load_system("chignolin")
    (record, *_) = force_errors(system, [parse_plan("reference", "cpu")], times_ps=(), device="cpu")
    (folded, *_) = judged_conformations(system)
    priors = replace(system, model=replace(system.model, network=None))
    total, classical = (
        build_force_field([which], dtype=torch.float64)(folded.positions[None]).forces
        for which in (system, priors)
    )
    assert record["norm"] == pytest.approx(float((total - classical).norm()), rel=1e-3)


def test_a_model_without_a_network_is_refused():
    system = load_system("chignolin")
    classical = replace(system, model=replace(system.model, network=None))
    with pytest.raises(UserError, match="the model of chignolin has no network"):
        next(force_errors(classical, [parse_plan("reference", "cpu")], device="cpu"))


def test_the_command_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    record = {
        "protein": "p",
        "conformation": "p, folded",
        "replicas": 1,
        "norm": 2.0,
        "force_error": {"exact": 1e-6},
    }
    monkeypatch.setattr(extended, "force_errors", lambda *_, **__: iter([record]))
    path = tmp_path / "new/errors.json"
    arguments = ["extended", "chignolin", "-o", str(path), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", arguments)
    extended.main()
    assert "p, folded" in capsys.readouterr().out
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["records"] == [record]
    assert written["device"]
