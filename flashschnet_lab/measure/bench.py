"""One measurement: a plan on a protein, judged first and timed only if its forces are right."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch

from flashschnet_kernels.neighbors.reference import pairs_within
from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.measure.accuracy import LIMITS, force_error
from flashschnet_lab.measure.memory import peak_bytes
from flashschnet_lab.measure.timing import time_calls
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.receipt import describe_device, library_versions
from flashschnet_lab.system import System
from flashschnet_lab.units import nanoseconds_per_day

STAGES = ("force", "step")
STEPS_PER_CALL = 10
WARM_UP_STEPS = 20
"""Steps before anything is measured, so that replicas differ as they do in a simulation."""


@dataclass(frozen=True)
class Work:
    """What is measured.

    Attributes:
        system: protein and model.
        replicas: copies.
        plan: implementation of every operator.
        precision: "float32" or "float64".
        stage: "force" (one evaluation of energies and forces) or "step" (a whole Langevin step).
    """

    system: System
    replicas: int
    plan: KernelPlan
    precision: str = "float32"
    stage: str = "force"


def measure(work: Work, device: torch.device, seconds: float = 2.0) -> dict[str, object]:
    """Return the record of one measurement, plain JSON values.

    A plan whose force error is above `LIMITS` gets a record without times: "failed" says why.

    Args:
        work: what.
        device: where.
        seconds: about so long for the timing.
    """
    simulation = Simulation(
        work.system,
        work.replicas,
        device=device,
        plan=work.plan,
        dtype=work.precision,
        deterministic=False,
    )
    simulation.run(WARM_UP_STEPS)
    state = simulation.state
    systems = [work.system] * work.replicas
    record = _description(work, device, _directed_edges(work, simulation))
    error = force_error(systems, state.positions, state.forces)
    record["force_error"] = error
    if not error <= LIMITS[work.precision]:
        record["failed"] = f"force error above {LIMITS[work.precision]:g}: no speed is shown"
        return record
    call, steps = _call(work, simulation)
    record["peak_bytes"] = peak_bytes(call, device)
    timing = time_calls(call, device, seconds=seconds)
    record["ms"] = {
        name: round(getattr(timing, name) / steps, 4) for name in ("min", "median", "max")
    }
    record["calls"] = timing.calls
    if work.stage == "step":
        rate = 1e3 * steps / timing.median
        nanoseconds = nanoseconds_per_day(rate, simulation.settings.timestep_ps, work.replicas)
        record["replica_steps_per_second"] = round(rate * work.replicas, 2)
        record["ns_per_day"] = round(nanoseconds, 3)
    return record


def _call(work: Work, simulation: Simulation) -> tuple[Callable[[], object], int]:
    """Return what is timed, and how many steps one call makes."""
    if work.stage == "force":
        positions = simulation.state.positions
        return lambda: simulation.force_field(positions), 1
    return lambda: simulation.run(STEPS_PER_CALL), STEPS_PER_CALL


def _directed_edges(work: Work, simulation: Simulation) -> int:
    """Return the directed edges of one replica below the network's cutoff, averaged."""
    network = work.system.model.network
    if network is None:
        return 0
    positions = simulation.state.positions.reshape(-1, 3)
    sizes = (work.system.protein.beads,) * work.replicas
    pairs = pairs_within(positions, sizes, network.shape.cutoff)
    return int(np.rint(2 * pairs.shape[1] / work.replicas))


def _description(work: Work, device: torch.device, edges: int) -> dict[str, object]:
    kind = "gpu" if device.type == "cuda" else "cpu"
    return {
        kind: str(describe_device(device)["name"]),
        "versions": library_versions(),
        "commit": commit(),
        "date": date.today().isoformat(),
        "work": {
            "protein": work.system.name,
            "replicas": work.replicas,
            "beads": work.system.protein.beads,
            "directed_edges": edges,
        },
        "model": work.system.model.digest[:12],
        "plan": work.plan.name,
        "precision": work.precision,
        "stage": work.stage,
    }


def commit() -> str:
    """Return the commit of the checkout that runs, "-dirty" if it is changed, or "unknown"."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()
