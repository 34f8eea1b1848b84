"""Whether plans sample alike, and how that is told."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flashschnet_kernels.plan import parse_plan
from flashschnet_lab.loading import load_system
from flashschnet_lab.measure.ensembles import (
    COORDINATES,
    compare_ensembles,
    observe,
    write_comparison,
)


def test_what_is_observed_of_the_native_state():
    system = load_system("chignolin")
    native = system.reference[None]
    seen = observe(system, native, np.array([-3.0]))
    assert tuple(seen) == COORDINATES
    assert seen["rmsd"] == pytest.approx([0.0], abs=1e-5)
    assert seen["native_contacts"][0] > 0.8
    assert 4.0 < seen["radius_of_gyration"][0] < 10.0


def test_a_comparison(tmp_path):
    pytest.importorskip("numba")
    system = load_system("chignolin")
    exact, balanced = parse_plan("exact", "cpu"), parse_plan("balanced", "cpu")
    found = compare_ensembles(
        system, exact, balanced, replicas=2, time_ps=0.4, temperature=300.0, device="cpu"
    )
    distances = found["jensen_shannon"]
    assert set(distances) == set(COORDINATES)
    for entry in distances.values():
        assert 0.0 <= entry["seed_to_seed"] <= 1.0
        assert len(entry["plan_to_reference"]) == 2
    path = tmp_path / "found.json"
    for _ in range(2):  # the second takes the place of the first
        write_comparison(found, path, "flashschnet bench")
    (kept,) = json.loads(path.read_text(encoding="utf-8"))
    assert kept["plan"] == "balanced"
    assert kept["steps"] == 100


def test_a_system_without_a_fold_is_refused():
    from dataclasses import replace

    system = replace(load_system("chignolin"), reference=None)
    plan = parse_plan("reference")
    with pytest.raises(ValueError, match="no reference conformation"):
        compare_ensembles(system, plan, plan, device="cpu")
