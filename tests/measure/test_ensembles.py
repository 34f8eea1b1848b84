"""Whether plans sample alike, and how that is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from flashschnet_kernels.plan import KernelPlan, parse_plan
from flashschnet_lab.loading import load_system
from flashschnet_lab.measure.ensembles import (
    COORDINATES,
    compare_ensembles,
    energy_differences,
    observe,
    write_comparison,
)
from flashschnet_lab.system import build_force_field
from flashschnet_lab.units import BOLTZMANN


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
    energies = found["energy_difference"]
    assert energies["conformations"] == 2 * 4  # every 25th of 90 frames, two replicas
    assert 0.0 < energies["standard_deviation_kT"] < 1e-2
    assert 0.0 < energies["jensen_shannon_at_most"] < energies["standard_deviation_kT"]
    path = tmp_path / "found.json"
    for _ in range(2):  # the second takes the place of the first
        write_comparison(found, path, "flashschnet bench")
    (kept,) = json.loads(path.read_text(encoding="utf-8"))
    assert kept["plan"] == "balanced"
    assert kept["steps"] == 100


def test_differences_of_energies():
    """Of a network with other weights: as its own energies say, over kT."""
    system = load_system("chignolin")
    positions = system.reference + np.random.default_rng(2).normal(0.0, 0.1, (3, 2, 49, 3))
    plans = KernelPlan(), KernelPlan(quantization="bf16")
    found = energy_differences(system, plans, positions, 600.0, device="cpu")
    assert found.shape == (3, 2)
    alone = [
        build_force_field([system], device="cpu", dtype=torch.float32, plan=plan) for plan in plans
    ]
    x = torch.as_tensor(positions[1, 1], dtype=torch.float32)
    energies = [float(force_field(x).energy) for force_field in alone]
    assert abs(found[1, 1]) > 1e-3
    kT = BOLTZMANN * 600.0
    assert found[1, 1] == pytest.approx((energies[1] - energies[0]) / kT, abs=1e-4)


def test_a_system_without_a_fold_is_refused():
    from dataclasses import replace

    system = replace(load_system("chignolin"), reference=None)
    plan = parse_plan("reference")
    with pytest.raises(ValueError, match="no reference conformation"):
        compare_ensembles(system, plan, plan, device="cpu")
