"""Umbrella sampling, measured: a free-energy profile of a protein, and the time that it takes.

    python -m flashschnet_lab.measure.umbrella chignolin FILE.json

pulls the ends of a folded protein apart, all windows in one batch, and writes the profile down.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np

from flashschnet_lab.analysis.coordinates import end_to_end
from flashschnet_lab.analysis.umbrella import overlap, umbrella_profile
from flashschnet_lab.analysis.umbrella_run import profile_entry
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_system
from flashschnet_lab.measure.recorded import plain
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.receipt import describe_device, library_versions
from flashschnet_lab.simulation.umbrella import pull_into_windows, sample_windows, windows
from flashschnet_lab.system import System

TEMPERATURE = 300.0
SETTLING = 0.25
"""Share of the sampling that is made once more before it, and not counted."""


def measure(
    system: System,
    *,
    centres: np.ndarray,
    strength: float,
    pulling_ps: float,
    time_ps: float,
    bins: int = 24,
    every: int = 25,
) -> dict[str, object]:
    """Return the profile along the end-to-end distance at 300 K, as plain JSON values.

    Args:
        system: with a reference conformation, from which the windows are filled.
        centres: [windows] angstrom.
        strength: of each, kcal/mol/A^2.
        pulling_ps: in which the replicas get into their windows.
        time_ps: of sampling, in every window.
        bins: of the profile.
        every: steps between frames.

    Raises:
        UserError: a system without a reference.
    """
    if system.reference is None:
        raise UserError(f"{system.name} has no reference conformation to start from")
    restraint = windows(end_to_end(system.protein), centres, strength)
    simulation = Simulation(
        system, len(centres), TEMPERATURE, positions=system.reference, restraints=[restraint]
    )
    timestep = simulation.settings.timestep_ps
    begun, worked = time.perf_counter(), time.process_time()
    pull_into_windows(simulation, round(pulling_ps / timestep))
    simulation.run(round(SETTLING * time_ps / timestep))
    values = sample_windows(simulation, round(time_ps / timestep), every)
    elapsed, worked = time.perf_counter() - begun, time.process_time() - worked
    profile = umbrella_profile(values, restraint, TEMPERATURE, bins=bins)
    return {
        "protein": system.name,
        "model": system.model.name,
        "plan": simulation.plan.name,
        "coordinate": restraint.coordinate.label,
        "temperature": TEMPERATURE,
        "windows": {
            "centres": plain(centres, 3),
            "strength": strength,
            "pulling_ps": pulling_ps,
            "settling_ps": SETTLING * time_ps,
            "time_ps": time_ps,
            "frames": len(values),
            "means": plain(values.mean(0), 3),
            "overlap": plain(overlap(values, restraint), 3),
        },
        "seconds": round(elapsed, 1),
        "processor_seconds": round(worked, 1),
        "profile": profile_entry(profile, 3),
        "device": describe_device(simulation.device)["name"],
        "versions": {**library_versions(), "pymbar": version("pymbar")},
        "made": date.today().isoformat(),
    }


def main() -> None:
    """Measure, and write a file."""
    parser = argparse.ArgumentParser(description="Measure umbrella sampling along the ends.")
    parser.add_argument("protein")
    parser.add_argument("file", type=Path)
    parser.add_argument("--from", type=float, default=4.0, dest="low", help="first centre, A")
    parser.add_argument("--to", type=float, default=28.0, dest="high", help="last centre, A")
    parser.add_argument("--windows", type=int, default=24)
    parser.add_argument("--strength", type=float, default=2.0, help="kcal/mol/A^2")
    parser.add_argument("--pulling", type=float, default=10.0, help="ps")
    parser.add_argument("--time", type=float, default=40.0, help="ps of every window")
    parser.add_argument("--commit", default="unknown", help="of the code, noted in the file")
    chosen = parser.parse_args()
    found = measure(
        load_system(chosen.protein),
        centres=np.linspace(chosen.low, chosen.high, chosen.windows),
        strength=chosen.strength,
        pulling_ps=chosen.pulling,
        time_ps=chosen.time,
    )
    command = (
        f"python -m flashschnet_lab.measure.umbrella {chosen.protein} FILE --from {chosen.low:g} "
        f"--to {chosen.high:g} --windows {chosen.windows} --strength {chosen.strength:g} "
        f"--pulling {chosen.pulling:g} --time {chosen.time:g}"
    )
    record = {**found, "command": command, "commit": chosen.commit}
    lines = [f' "{key}": {json.dumps(value)}' for key, value in record.items()]
    chosen.file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
