"""Whether a plan samples the same conformations: distributions under two plans, side by side.

A force error is a number at one conformation. What a user wants to know is whether the ensemble is
the same, and no two runs give the same ensemble to the last digit. So the reference plan runs twice
with different random numbers, and the distance of a plan from it is read beside the distance of the
reference from itself.

How close the plan is beneath that noise, its energies tell: evaluated at conformations of the
reference they say how far apart the two ensembles can be in any coordinate. They do not see the
forces, which 16-bit work rounds on their own; the plan's own run does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.analysis.ensembles import jensen_shannon, jensen_shannon_of_energies
from flashschnet_lab.analysis.structure import (
    c_alpha_indices,
    native_contacts,
    native_pairs,
    radius_of_gyration,
    rmsd,
)
from flashschnet_lab.devices import resolve_device
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.receipt import describe_device, library_versions
from flashschnet_lab.system import System, build_force_field
from flashschnet_lab.units import thermal_energy

SETTLING = 0.1
"""Share of a run that is not counted: all replicas start at the same conformation."""
FRAMES = 500
JUDGED_FRAMES = 20
"""About as many frames of the reference's run are evaluated under the plan, too."""
COORDINATES = ("rmsd", "radius_of_gyration", "native_contacts", "energy")


@dataclass(frozen=True)
class Sample:
    """What one run has seen.

    Attributes:
        coordinates: a name of `COORDINATES` to its values [frames, replicas].
        conformations: some frames, [frames, replicas, beads, 3] in angstrom.
        steps: of the run.
    """

    coordinates: dict[str, np.ndarray]
    conformations: np.ndarray
    steps: int


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

    Beside what was sampled, "energy_difference" has what the energies of both plans allow, at
    conformations of the reference's first half.

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

    def run(under: KernelPlan, copies: int, first: int) -> Sample:
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
        return _sample(simulation, time_ps, under.name, watch)

    both = run(reference, 2 * replicas, 0)
    other = run(plan, replicas, 2 * replicas).coordinates
    difference = energy_differences(
        system, (reference, plan), both.conformations[:, :replicas], temperature, device=device
    )
    halves = [{n: v[:, part] for n, v in both.coordinates.items()} for part in _halves(replicas)]
    return {
        "protein": system.name,
        "reference": reference.name,
        "plan": plan.name,
        "replicas": replicas,
        "time_ps": time_ps,
        "steps": both.steps,
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
        "energy_difference": {
            "standard_deviation_kT": _rounded(difference.std()),
            "jensen_shannon_at_most": _rounded(jensen_shannon_of_energies(difference)),
            "conformations": difference.size,
        },
        "device": describe_device(resolve_device(device))["name"],
        "versions": library_versions(),
        "made": date.today().isoformat(),
    }


def energy_differences(
    system: System,
    plans: tuple[KernelPlan, KernelPlan],
    positions: np.ndarray,
    temperature: float,
    *,
    device: str | torch.device | None = None,
) -> np.ndarray:
    """Return the energies under the second plan less those under the first, over kT.

    Args:
        system: protein and model.
        plans: in float32.
        positions: [frames, replicas, beads, 3] in angstrom; a frame is evaluated at a time.
        temperature: kelvin.
        device: default the GPU if there is one.

    Returns:
        [frames, replicas] float64.
    """
    where, replicas = resolve_device(device), positions.shape[1]
    energies = []
    for plan in plans:
        force_field = build_force_field(
            [system] * replicas, device=where, dtype=torch.float32, plan=plan
        )
        frames = (torch.as_tensor(x, dtype=torch.float32, device=where) for x in positions)
        energies.append(np.stack([force_field(x).energy.cpu().numpy() for x in frames]))
    return (energies[1] - energies[0]) / thermal_energy(temperature)


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


def _sample(
    simulation: Simulation,
    time_ps: float,
    name: str,
    watch: Callable[[str, float], None] | None,
) -> Sample:
    """Run a simulation that is at its start, and keep what is seen once it has settled."""
    steps = round(time_ps / simulation.settings.timestep_ps)
    seen: list[dict[str, np.ndarray]] = []
    kept: list[np.ndarray] = []
    for frame in simulation.iterate(steps, max(1, steps // FRAMES)):
        if frame.step > SETTLING * steps:
            if len(seen) % (FRAMES // JUDGED_FRAMES) == 0:
                kept.append(frame.positions)
            seen.append(observe(simulation.system, frame.positions, frame.potential_energy))
        if watch is not None:
            watch(name, frame.step / steps)
    coordinates = {n: np.stack([values[n] for values in seen]) for n in COORDINATES}
    return Sample(coordinates, np.stack(kept), steps)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return _rounded(jensen_shannon(a.ravel(), b.ravel()))


def _halves(replicas: int) -> tuple[slice, slice]:
    return slice(0, replicas), slice(replicas, 2 * replicas)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
