"""Whether a plan samples the same conformations: distributions under two plans, side by side.

A force error is a number at one conformation. What a user wants to know is whether the ensemble is
the same, and no two runs give the same ensemble to the last digit. So the reference plan runs twice
with different random numbers, and the distance of a plan from it is read beside the distance of the
reference from itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import torch

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.analysis.ensembles import jensen_shannon
from flashschnet_lab.analysis.structure import (
    c_alpha_indices,
    native_contacts,
    native_pairs,
    radius_of_gyration,
    rmsd,
)
from flashschnet_lab.simulation.engine import Simulation, resolve_device
from flashschnet_lab.simulation.receipt import describe_device, library_versions
from flashschnet_lab.system import System

SETTLING = 0.1
"""Share of a run that is not counted: all replicas start at the same conformation."""
FRAMES = 500
COORDINATES = ("rmsd", "radius_of_gyration", "native_contacts", "energy")


def compare_ensembles(
    system: System,
    reference: KernelPlan,
    plan: KernelPlan,
    *,
    replicas: int = 64,
    time_ps: float = 1000.0,
    temperature: float = 300.0,
    seed: int = 1,
    device: str | torch.device | None = None,
    watch: Callable[[str, float], None] | None = None,
) -> dict[str, object]:
    """Return the Jensen-Shannon distances of a plan from a reference plan, plain JSON values.

    Args:
        system: with a reference conformation, where all replicas start.
        reference: runs twice as many replicas, in two halves with random numbers of their own.
        plan: runs the replicas with random numbers of its own.
        replicas: of each ensemble.
        time_ps: of each replica.
        temperature: kelvin.
        seed: of the random streams.
        device: default the GPU if there is one.
        watch: called with the name of the plan and the finished share.

    Raises:
        ValueError: a system without a reference conformation.
    """
    if system.reference is None:
        raise ValueError(f"{system.name} has no reference conformation to start from")

    def run(under: KernelPlan, copies: int, first: int) -> tuple[dict[str, np.ndarray], float]:
        simulation = Simulation(
            system,
            copies,
            temperature,
            positions=system.reference,
            device=device,
            plan=under,
            seed=seed,
            first_replica=first,
        )
        steps = round(time_ps / simulation.settings.timestep_ps)
        series: list[dict[str, np.ndarray]] = []
        for frame in simulation.iterate(steps, max(1, steps // FRAMES)):
            if frame.step > SETTLING * steps:
                series.append(observe(system, frame.positions, frame.potential_energy))
            if watch is not None:
                watch(under.name, frame.step / steps)
        return {name: np.stack([s[name] for s in series]) for name in COORDINATES}, steps

    both, steps = run(reference, 2 * replicas, 0)
    other, _ = run(plan, replicas, 2 * replicas)
    halves = [{n: v[:, part] for n, v in both.items()} for part in _halves(replicas)]
    return {
        "protein": system.name,
        "reference": reference.name,
        "plan": plan.name,
        "replicas": replicas,
        "time_ps": time_ps,
        "steps": int(steps),
        "temperature": temperature,
        "jensen_shannon": {
            name: {
                "seed_to_seed": _distance(halves[0][name], halves[1][name]),
                "plan_to_reference": [_distance(half[name], other[name]) for half in halves],
            }
            for name in COORDINATES
        },
        "mean": {
            name: {
                "reference": [_rounded(half[name].mean()) for half in halves],
                "plan": _rounded(other[name].mean()),
                # A replica is one independent sample: its own frames are correlated.
                "standard_error": _rounded(
                    other[name].mean(0).std(ddof=1) / np.sqrt(replicas) if replicas > 1 else 0.0
                ),
            }
            for name in COORDINATES
        },
        "device": describe_device(resolve_device(device))["name"],
        "versions": library_versions(),
        "made": date.today().isoformat(),
    }


def observe(system: System, positions: np.ndarray, energy: np.ndarray) -> dict[str, np.ndarray]:
    """Return every coordinate of `COORDINATES` of a frame, [replicas] each."""
    alpha = c_alpha_indices(system.protein)
    pairs = native_pairs(system.protein, system.reference)
    return {
        "rmsd": rmsd(positions, system.reference, alpha),
        "radius_of_gyration": radius_of_gyration(positions),
        "native_contacts": native_contacts(positions, system.reference, pairs),
        "energy": np.asarray(energy, dtype=np.float64),
    }


def write_comparison(found: dict[str, object], path: Path, command: str) -> None:
    """Add a comparison to a JSON file, in place of an earlier one of the same plans and protein."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    same = ("protein", "reference", "plan", "replicas")
    kept = [old for old in kept if any(old[key] != found[key] for key in same)]
    text = json.dumps([*kept, {**found, "command": command}], indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return _rounded(jensen_shannon(a.ravel(), b.ravel()))


def _halves(replicas: int) -> tuple[slice, slice]:
    return slice(0, replicas), slice(replicas, 2 * replicas)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
