"""Whether a plan conserves energy: the drift of the total energy without a thermostat.

A force that is not the gradient of the energy beside it heats or cools a molecule, however small
its error is at one conformation. So replicas that a thermostat has warmed go on without one, under
each plan from the same state, and a line is fitted to the total energy of each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.devices import resolve_device
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.receipt import describe_device, library_versions
from flashschnet_lab.system import System
from flashschnet_lab.units import BOLTZMANN

if TYPE_CHECKING:
    from rich.table import Table

FRAMES = 500
WARM_UP_PS = 4.0


def energy_drifts(
    system: System,
    plans: Sequence[KernelPlan],
    *,
    replicas: int = 8,
    time_ps: float = 20.0,
    timestep_fs: float = 2.0,
    temperature: float = 300.0,
    seed: int = 1,
    device: str | torch.device | None = None,
    watch: Callable[[str, float], None] | None = None,
) -> list[dict[str, object]]:
    """Return one record for each plan, plain JSON values.

    `drift` is the median over replicas of the slope's magnitude, `worst` the largest, both in kT
    per nanosecond and degree of freedom; `heating` is the mean slope with its sign; `wobble` is the
    standard deviation about the line, kcal/mol.

    Args:
        system: starts at its reference conformation, or its positions without one.
        plans: each starts from the same warm positions with the same velocities.
        replicas: independent copies.
        time_ps: length of a run.
        timestep_fs: of the velocity Verlet integrator.
        temperature: of the warm start, kelvin.
        seed: of the random streams.
        device: default the GPU if there is one.
        watch: called with the name of the plan and the finished share.
    """
    where = resolve_device(device)
    warm = _warm_positions(system, replicas, timestep_fs, temperature, seed, where)
    records = []
    for plan in plans:
        simulation = Simulation(
            system,
            replicas,
            temperature,
            positions=warm,
            device=where,
            plan=plan,
            integrator="verlet",
            timestep_fs=timestep_fs,
            seed=seed,
        )
        steps = round(time_ps / simulation.settings.timestep_ps)
        times, energies = [], []
        for frame in simulation.iterate(steps, max(1, steps // FRAMES)):
            times.append(frame.time_ps)
            energies.append(frame.potential_energy + frame.kinetic_energy)
            if watch is not None:
                watch(plan.name, frame.step / steps)
        slope, wobble = slopes(np.array(times), np.array(energies))
        scaled = slope * 1e3 / (3 * system.protein.beads * BOLTZMANN * temperature)
        records.append(
            {
                "protein": system.name,
                "beads": system.protein.beads,
                "plan": plan.name,
                "replicas": replicas,
                "time_ps": time_ps,
                "timestep_fs": timestep_fs,
                "temperature": temperature,
                "drift": _rounded(np.median(np.abs(scaled))),
                "worst": _rounded(np.abs(scaled).max()),
                "heating": _rounded(scaled.mean()),
                "wobble": _rounded(np.median(wobble)),
                "device": describe_device(where)["name"],
                "versions": library_versions(),
                "made": date.today().isoformat(),
            }
        )
    return records


def slopes(times_ps: np.ndarray, energies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the slope [replicas] in kcal/mol/ps of fitted lines and the deviation about them.

    Args:
        times_ps: [frames].
        energies: [frames, replicas] in kcal/mol.
    """
    line = np.polynomial.polynomial.polyfit(times_ps, energies, 1)  # [2, replicas]
    about = energies - (line[0] + line[1] * times_ps[:, None])
    return line[1], about.std(0)


def write_drifts(found: Sequence[dict[str, Any]], path: Path, command: str) -> None:
    """Add records to a JSON file, in place of earlier ones of the same protein and plan."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    new = {(record["protein"], record["plan"]) for record in found}
    kept = [old for old in kept if (old["protein"], old["plan"]) not in new]
    text = json.dumps([*kept, *({**record, "command": command} for record in found)], indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def drifts_table(found: Sequence[dict[str, Any]]) -> Table:
    """Return records of one system as a table for a terminal."""
    from rich.table import Table

    first = found[0]
    title = f"{first['replicas']} x {first['protein']}, {first['time_ps']:g} ps of "
    title += f"{first['timestep_fs']:g} fs without a thermostat"
    table = Table(title=title, title_justify="left")
    for heading in ("plan", "drift, kT/ns/dof", "worst replica", "mean with sign", "wobble"):
        table.add_column(heading, justify="left" if heading == "plan" else "right")
    for record in found:
        numbers = (f"{record[key]:.2g}" for key in ("drift", "worst", "heating"))
        table.add_row(record["plan"], *numbers, f"{record['wobble']:.2g} kcal/mol")
    return table


def _warm_positions(
    system: System,
    replicas: int,
    timestep_fs: float,
    temperature: float,
    seed: int,
    device: torch.device,
) -> np.ndarray:
    """Return positions [replicas, beads, 3] that a strong thermostat has warmed."""
    simulation = Simulation(
        system,
        replicas,
        temperature,
        positions=system.reference,
        device=device,
        friction=5.0,
        timestep_fs=timestep_fs,
        seed=seed,
        minimise=True,
    )
    simulation.run(round(WARM_UP_PS / simulation.settings.timestep_ps))
    return simulation.state.positions.double().cpu().numpy()


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
