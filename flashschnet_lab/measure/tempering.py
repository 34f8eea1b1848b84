"""Many replicas and parallel tempering, measured: speed by number of replicas, and what they see.

    python -m flashschnet_lab.measure.tempering chignolin FILE.json

measures both on the machine at hand and writes them down, for readers who have no such machine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch

from flashschnet_lab.analysis.landscape import Landscape, landscape
from flashschnet_lab.analysis.reweighting import tempering_weights
from flashschnet_lab.analysis.structure import c_alpha_indices, native_contacts, native_pairs, rmsd
from flashschnet_lab.devices import resolve_device
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_system
from flashschnet_lab.measure.recorded import plain
from flashschnet_lab.paths import data_folder
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.exchange import Tempering
from flashschnet_lab.simulation.exchange_record import Exchanges, acceptance, round_trips
from flashschnet_lab.simulation.receipt import describe_device, library_versions
from flashschnet_lab.simulation.temperature_ladder import geometric_ladder
from flashschnet_lab.system import System
from flashschnet_lab.training.distil import extended_start

WARM_UP_STEPS = 20
LOWEST, HIGHEST, RUNGS = 300.0, 650.0, 8
SETTLING = 0.2
"""Share of a run that is not counted: all replicas start extended."""


@dataclass(frozen=True)
class Observed:
    """What a tempering run saw, by replica: each column is one molecule over time.

    Attributes:
        steps: [frames].
        times_ps: [frames].
        rmsd: [frames, replicas] C-alpha RMSD from the reference, angstrom.
        contacts: [frames, replicas] share of native contacts Q, 0 to 1.
        energies: [frames, replicas] potential energy, kcal/mol.
        temperatures: [frames, replicas] of the rung that each replica was on, kelvin.
        exchanges: the record of the trades.
    """

    steps: np.ndarray
    times_ps: np.ndarray
    rmsd: np.ndarray
    contacts: np.ndarray
    energies: np.ndarray
    temperatures: np.ndarray
    exchanges: Exchanges


def observed(tempering: Tempering, steps: int, every: int = 100) -> Observed:
    """Run a tempering and return RMSD, contacts, energies and temperatures of its frames.

    Args:
        tempering: of a system with a reference conformation.
        steps: time steps.
        every: steps between frames.

    Raises:
        UserError: a system without a reference.
    """
    system = tempering.simulation.system
    if system.reference is None:
        raise UserError(f"{system.name} has no reference conformation to measure from")
    alphas, pairs = c_alpha_indices(system.protein), native_pairs(system.protein, system.reference)
    rows = []
    for frame in tempering.iterate(steps, every):
        distance = rmsd(frame.positions, system.reference, alphas)
        contacts = native_contacts(frame.positions, system.reference, pairs)
        rows.append((frame.step, frame.time_ps, distance, contacts, frame.potential_energy))
    made, times, distances, shares, energies = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    exchanges = tempering.exchanges
    temperatures = exchanges.temperatures_at(made)
    return Observed(made, times, distances, shares, energies, temperatures, exchanges)


def surface_at(run: Observed, target: float, *, skip: int = 0, bins: int = 30) -> Landscape:
    """Return the free energy over RMSD and Q at one temperature, from the frames of all of them.

    Args:
        run: of a tempering.
        target: kelvin.
        skip: frames at the start to leave out.
        bins: per coordinate.
    """
    weights = tempering_weights(run.energies[skip:], run.temperatures[skip:], target)
    return landscape(
        run.rmsd[skip:],
        run.contacts[skip:],
        temperature=target,
        bins=bins,
        ranges=[(0.0, float(run.rmsd[skip:].max())), (0.0, 1.0)],
        weights=weights,
    )


def throughput(
    system: System,
    counts: Sequence[int],
    *,
    device: str | torch.device | None = None,
    seconds: float = 0.5,
) -> list[float]:
    """Return how many replica steps per second a batch makes, for each number of replicas.

    Args:
        system: what moves, under the default plan.
        counts: numbers of replicas.
        device: default the GPU if there is one.
        seconds: about so long for each.
    """
    rates = []
    for replicas in counts:
        simulation = Simulation(system, replicas, device=device)
        simulation.run(WARM_UP_STEPS)
        steps, begun = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - begun) < seconds or not steps:
            simulation.run(20)
            steps += 20
        rates.append(replicas * steps / elapsed)
    return rates


def measure(
    system: System, *, ladders: int, time_ps: float, counts: Sequence[int], seconds: float = 2.0
) -> dict[str, object]:
    """Return throughput, a tempering run from extended chains and its surface, as plain JSON.

    Args:
        system: with a reference conformation.
        ladders: side by side, of 8 rungs from 300 to 650 K.
        time_ps: of every replica.
        counts: numbers of replicas for the throughput.
        seconds: for each of them.
    """
    rates = throughput(system, counts, seconds=seconds)
    ladder = geometric_ladder(LOWEST, HIGHEST, RUNGS)
    simulation = Simulation(
        system, ladders * RUNGS, positions=extended_start(system), minimise=True
    )
    steps = round(time_ps / simulation.settings.timestep_ps)
    every = max(1, steps // 500)
    begun, worked = time.perf_counter(), time.process_time()
    run = observed(Tempering(simulation, ladder), steps, every)
    elapsed, worked = time.perf_counter() - begun, time.process_time() - worked
    skip = int(SETTLING * len(run.steps))
    surface = surface_at(run, LOWEST, skip=skip)
    return {
        "protein": system.name,
        "model": system.model.name,
        "plan": simulation.plan.name,
        "throughput": {"replicas": list(counts), "replica_steps_per_second": plain(rates, 0)},
        "tempering": {
            "ladder": plain(ladder, 1),
            "ladders": ladders,
            "time_ps": time_ps,
            "seconds": round(elapsed, 1),
            "processor_seconds": round(worked, 1),
            "acceptance": plain(acceptance(run.exchanges), 3),
            "round_trips_per_replica": float(round_trips(run.exchanges).mean()),
        },
        "surface": {
            "temperature": surface.temperature,
            "edges": [plain(edges, 4) for edges in surface.edges],
            "free_energy": plain(surface.free_energy, 3),
            "error": plain(surface.error, 3),
        },
        "device": describe_device(resolve_device(None))["name"],
        "versions": library_versions(),
        "made": date.today().isoformat(),
    }


def recorded_tempering(name: str = "h200") -> dict:
    """Return what `measure` found on another machine; `recorded_by` says which.

    Raises:
        UserError: there is no such record.
    """
    path = _records() / f"{name}.json"
    if not path.is_file():
        known = ", ".join(recorded_names())
        raise UserError(f"there is no recorded tempering {name!r}; there are: {known}")
    return json.loads(path.read_text(encoding="utf-8"))


def recorded_names() -> list[str]:
    """Return the names of all that `recorded_tempering` knows."""
    return sorted(found.stem for found in _records().glob("*.json"))


def _records() -> Path:
    return data_folder() / "measurements" / "tempering"


def recorded_by(found: dict) -> str:
    """Return where a record comes from: device, date and version."""
    version = found["versions"]["flashschnet_lab"]
    return f"{found['device']}, {found['made']}, version {version}"


def recorded_surface(found: dict) -> Landscape:
    """Return the surface of a record that `measure` made."""
    surface = found["surface"]
    return Landscape(
        edges=tuple(np.array(edges) for edges in surface["edges"]),
        free_energy=np.array(surface["free_energy"], dtype=np.float64),
        error=np.array(surface["error"], dtype=np.float64),
        temperature=surface["temperature"],
    )


def main() -> None:
    """Measure, and write a file."""
    parser = argparse.ArgumentParser(description="Measure many replicas and parallel tempering.")
    parser.add_argument("protein")
    parser.add_argument("file", type=Path)
    parser.add_argument("--ladders", type=int, default=64)
    parser.add_argument("--time", type=float, default=500.0, help="ps of every replica")
    parser.add_argument("--most", type=int, default=4096, help="replicas of the throughput")
    chosen = parser.parse_args()
    counts = [1 << power for power in range(0, chosen.most.bit_length(), 2)]
    system = load_system(chosen.protein)
    found = measure(system, ladders=chosen.ladders, time_ps=chosen.time, counts=counts)
    command = f"python -m flashschnet_lab.measure.tempering {chosen.protein} FILE"
    command += f" --ladders {chosen.ladders} --time {chosen.time:g} --most {chosen.most}"
    text = {**found, "command": command}
    lines = [f' "{key}": {json.dumps(value)}' for key, value in text.items()]
    chosen.file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
