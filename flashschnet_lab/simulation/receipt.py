"""The receipt of a run: what was computed, on what, how fast, and how exactly."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from flashschnet_lab import __version__
from flashschnet_lab.measure.accuracy import force_error
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.exchange_record import Exchanges, acceptance, round_trips
from flashschnet_lab.simulation.restraint import restraint_forces
from flashschnet_lab.units import BOLTZMANN, nanoseconds_per_day

if TYPE_CHECKING:
    from rich.table import Table

CHECKED_REPLICAS = 4
"""Replicas whose last forces are recomputed in float64."""


def make_receipt(
    simulation: Simulation,
    *,
    first_step: int,
    wall_seconds: float,
    ending: str,
    times_ps: np.ndarray,
    total_energy: np.ndarray,
    exchanges: Exchanges | None = None,
) -> dict[str, object]:
    """Return the receipt of a run as plain JSON values.

    Args:
        simulation: at its end.
        first_step: step at which this run began (not 0 when it continued another).
        wall_seconds: time spent stepping and writing.
        ending: "finished", or why it stopped early.
        times_ps: [frames] of the frames of this run.
        total_energy: [frames, replicas], potential, kinetic and of restraints, kcal/mol.
        exchanges: where replicas trade temperatures.
    """
    settings, system = simulation.settings, simulation.system
    steps = simulation.state.step - first_step
    rate = steps / wall_seconds if wall_seconds > 0 else 0.0
    receipt: dict[str, object] = {
        "ending": ending,
        "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "protein": {
            "name": system.name,
            "beads": system.protein.beads,
            "residues": len(system.protein.residues),
            "mapping": system.protein.mapping,
            "fingerprint": system.protein.fingerprint(),
            "report": list(system.protein.report),
        },
        "model": {"name": system.model.name, "sha256": system.model.digest},
        "settings": settings.to_dict(),
        "replicas": simulation.replicas,
        "steps": steps,
        "last_step": simulation.state.step,
        "time_ps": simulation.time_ps,
        "wall_seconds": round(wall_seconds, 3),
        "steps_per_second": round(rate, 3),
        "replica_steps_per_second": round(rate * simulation.replicas, 3),
        "ns_per_day": round(
            nanoseconds_per_day(rate, settings.timestep_ps, simulation.replicas), 4
        ),
        "plan": {"name": simulation.plan.name, "explanation": simulation.plan.explain()},
        "cuda_graph": simulation.not_captured or "yes",
        "force_error": last_force_error(simulation),
        "stopped_replicas": [
            {"replica": f.replica, "step": f.step, "bead": f.bead_label}
            for f in simulation.failures()
        ],
        "device": describe_device(simulation.device),
        "versions": library_versions(),
    }
    if exchanges is not None:
        receipt["tempering"] = tempering_entry(exchanges)
    if simulation.restraints:
        receipt["restraints"] = [restraint.to_dict() for restraint in simulation.restraints]
        receipt["restraint_energy"] = simulation.restraint_energy().tolist()
    if settings.integrator == "verlet" and len(times_ps) > 1:
        drift = energy_drift(times_ps, total_energy, 3 * system.protein.beads)
        receipt["energy_drift"] = {
            "kcal_per_mol_per_ns_per_degree": drift,
            "kT_per_ns_per_degree": drift / (BOLTZMANN * 300.0),
        }
    return receipt


def tempering_entry(exchanges: Exchanges) -> dict[str, object]:
    """Return what a receipt says of a tempering; `settings.temperatures` are those at its end."""
    shares = [None if np.isnan(share) else round(share, 4) for share in acceptance(exchanges)]
    return {
        "ladder": list(exchanges.ladder),
        "ladders": exchanges.ladders,
        "every": exchanges.every,
        "seed": exchanges.seed,
        "attempts": exchanges.attempts,
        "acceptance": shares,
        "round_trips": round_trips(exchanges).tolist(),
        "temperatures_at_start": np.array(exchanges.ladder)[exchanges.rungs[0]].tolist(),
        "temperatures_at_end": np.array(exchanges.ladder)[exchanges.rungs[-1]].tolist(),
    }


def last_force_error(simulation: Simulation) -> float:
    """Return the force error of the present frame against float64, over the first replicas.

    Of the potential alone: restraints are computed in float64 anyway.
    """
    replicas, state = min(CHECKED_REPLICAS, simulation.replicas), simulation.state
    systems = [simulation.system] * replicas
    potential = state.forces - restraint_forces(simulation.restraints, state.positions)
    return force_error(systems, state.positions[:replicas], potential[:replicas])


def energy_drift(times_ps: np.ndarray, total_energy: np.ndarray, degrees: int) -> float:
    """Return the mean slope of the total energy, kcal/mol per ns and per degree of freedom.

    Args:
        times_ps: [frames].
        total_energy: [frames, replicas] in kcal/mol.
        degrees: degrees of freedom of one replica.
    """
    slopes = np.polyfit(times_ps * 1e-3, total_energy, 1)[0]  # [replicas]
    return float(np.mean(slopes)) / degrees


def describe_device(device: torch.device) -> dict[str, object]:
    """Return what the run ran on."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return {
            "type": "cuda",
            "name": properties.name,
            "memory_gb": round(properties.total_memory / 1e9, 1),
            "peak_memory_mb": round(torch.cuda.max_memory_allocated(device) / 1e6, 1),
        }
    threads = torch.get_num_threads()
    return {
        "type": device.type,
        "name": f"CPU ({platform.machine()}, {threads} threads)",
        "threads": threads,
    }


def library_versions() -> dict[str, str]:
    """Return the versions that decide about numbers."""
    versions = {"python": platform.python_version(), "flashschnet_lab": __version__}
    for name in ("torch", "triton", "numpy"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def write_receipt(receipt: dict[str, object], path: Path) -> None:
    """Write a receipt as JSON."""
    path.write_text(json.dumps(receipt, indent=1) + "\n", encoding="utf-8")


def receipt_rows(receipt: Mapping[str, Any]) -> dict[str, str]:
    """Return what a receipt says, name by name, as a person reads it."""
    settings = receipt["settings"]
    temperatures = sorted(set(settings["temperatures"]))
    kelvin = " to ".join(f"{t:g}" for t in {temperatures[0]: 0, temperatures[-1]: 0})
    rows = {
        "ending": receipt["ending"],
        "protein": f"{receipt['protein']['name']}, {receipt['protein']['residues']} residues, "
        f"{receipt['protein']['beads']} beads",
        "model": f"{receipt['model']['name']} ({receipt['model']['sha256'][:12]})",
        "run": f"{receipt['replicas']} replicas x {receipt['steps']} steps of "
        f"{settings['timestep_fs']:g} fs, {settings['integrator']}, {kelvin} K, "
        f"seed {settings['seed']}",
        "speed": f"{receipt['steps_per_second']:.1f} steps/s, {receipt['ns_per_day']:.2f} ns/day "
        "of all replicas together",
        "plan": receipt["plan"]["name"],
        "force error": f"{receipt['force_error']:.1e} against float64 ({settings['dtype']} run)",
        "device": receipt["device"]["name"],
        "versions": ", ".join(f"{k} {v}" for k, v in receipt["versions"].items()),
    }
    if "tempering" in receipt:
        traded = receipt["tempering"]
        rows["tempering"] = (
            f"{traded['ladders']} x {len(traded['ladder'])} rungs, {traded['attempts']} attempts, "
            f"one every {traded['every']} steps; {sum(traded['round_trips'])} round trips"
        )
    if "restraints" in receipt:
        names = ", ".join(r["coordinate"]["name"] for r in receipt["restraints"])
        rows["restraints"] = f"on {names}; their energy is no part of the potential"
    if "energy_drift" in receipt:
        drift = receipt["energy_drift"]["kT_per_ns_per_degree"]
        rows["energy drift"] = f"{drift:.2e} kT(300 K) per ns and degree of freedom"
    if receipt["stopped_replicas"]:
        names = ", ".join(str(f["replica"]) for f in receipt["stopped_replicas"])
        rows["stopped"] = f"replicas {names} left physics (see receipt.json)"
    return rows


def receipt_table(receipt: Mapping[str, Any]) -> Table:
    """Return a receipt as a table for the terminal."""
    from rich.table import Table

    table = Table(title="Receipt", show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in receipt_rows(receipt).items():
        table.add_row(name, value)
    return table
