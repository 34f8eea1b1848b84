"""Chignolin under the imported General model of TorchMD, beside what the original code did.

    python -m tests.physics.chignolin_general [OUT.json]

4 replicas from the experimental structure, 350 K, 4 fs, friction 1/ps, 80 ps of each; the first
20 ps are dropped. The golden series, which are not redistributed, are read from beside the
checkout; OUT gets our numbers alone. RMSD and energy do not converge in 80 ps: temperature, bond
length and prior energy are to be compared closely, RMSD roughly.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from flashschnet_kernels.plan import parse_plan
from flashschnet_lab.analysis.structure import rmsd
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.receipt import describe_device, library_versions
from flashschnet_lab.system import System, build_force_field
from tests.checkpoints.golden_models import cases, imported_model

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"
SERIES = "torchmd_general_md_chignolin_4rep.npz"
MODEL = "TorchMD General"
TEMPERATURE, REPLICAS, EVERY = 350.0, 4, 20
NAMES = {
    "temperature": "temperature, K",
    "mean_bond": "bond length, A",
    "energy_prior": "prior energy, kcal/mol",
    "energy_potential": "potential energy, kcal/mol",
    "rmsd": "C-alpha RMSD, A",
}


@dataclass(frozen=True, eq=False)
class Series:
    """What was seen, each [frames, replicas]; see `NAMES`."""

    temperature: np.ndarray
    mean_bond: np.ndarray
    energy_prior: np.ndarray
    energy_potential: np.ndarray
    rmsd: np.ndarray

    def after(self, frames: int) -> Series:
        """Return the series without its first frames."""
        return Series(**{name: getattr(self, name)[frames:] for name in NAMES})

    def mean(self, name: str) -> tuple[float, float]:
        """Return the mean and its standard error, from the means of the replicas."""
        means = getattr(self, name).mean(0)
        return float(means.mean()), float(means.std(ddof=1) / len(means) ** 0.5)


def golden_series(golden: Path) -> Series:
    """Return what the original code saw."""
    data = np.load(golden / SERIES)
    return Series(
        data["temperature_full_step"],
        data["mean_bond"],
        data["energy_prior"],
        data["energy_potential"],
        data["rmsd_ca"],
    )


def simulate(
    golden: Path,
    time_ps: float,
    plan: str,
    *,
    seed: int = 1,
    device: str = "cpu",
    replicas: int = REPLICAS,
) -> tuple[Series, Simulation]:
    """Return what our simulation saw, and where it ended."""
    data = np.load(golden / SERIES)
    protein = next(cases(golden, MODEL)).protein.with_positions(data["start_positions"][0])
    system = System(protein, imported_model(golden, MODEL), data["reference_positions"])
    simulation = Simulation(
        system, replicas, TEMPERATURE,
        plan=parse_plan(plan, device), device=device, seed=seed, timestep_fs=4.0, friction=1.0,
    )  # fmt: skip
    frames = list(simulation.iterate(round(time_ps / 0.004), EVERY))
    x = np.stack(
        [frame.positions for frame in frames if frame.step]
    )  # [frames, replicas, beads, 3]
    assert not simulation.failures()
    bonds = np.linalg.norm(np.diff(x.astype(float), axis=2), axis=3)
    priors = build_force_field(
        [
            replace(
                system,
                model=replace(system.model, network=None, rows=None, network_types="five_bead"),
            )
        ]
        * (x.shape[0] * x.shape[1]),
        dtype=torch.float64,
    )
    prior = priors(torch.from_numpy(x.reshape(-1, *x.shape[2:])).double()).energy
    series = Series(
        np.stack([frame.temperature for frame in frames if frame.step]),
        bonds.mean(2),
        prior.numpy().reshape(x.shape[:2]),
        np.stack([frame.potential_energy for frame in frames if frame.step]),
        np.stack([rmsd(x[:, r], data["reference_positions"]) for r in range(replicas)], axis=1),
    )
    return series, simulation


def record(ours: Series, simulation: Simulation, seconds: float) -> dict[str, object]:
    """Return our numbers as JSON values, with what made them."""
    quantiles = (0.05, 0.25, 0.5, 0.75, 0.95)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return {
        "what": "chignolin (CLN025) under the imported General model of TorchMD, C-alpha beads",
        "temperature": TEMPERATURE, "timestep_fs": 4.0, "friction": 1.0,
        "replicas": simulation.replicas,
        "time_ps": round(simulation.time_ps, 3), "dropped_ps": 20.0,
        "seed": simulation.settings.seed, "plan": simulation.plan.name,
        "dtype": simulation.settings.dtype,
        "mean": {name: round(ours.mean(name)[0], 4) for name in NAMES},
        "standard_error": {name: round(ours.mean(name)[1], 4) for name in NAMES},
        "rmsd_quantiles": {str(q): round(float(np.quantile(ours.rmsd, q)), 3) for q in quantiles},
        "rmsd_by_replica": np.round(ours.rmsd.mean(0), 3).tolist(),
        "seconds": round(seconds, 1),
        "device": describe_device(simulation.device)["name"],
        "versions": library_versions(),
        "commit": commit,
    }  # fmt: skip


def main(arguments: list[str]) -> None:
    """Simulate, print both beside each other, and write ours."""
    if not GOLDEN.is_dir():
        print(f"the golden data are not at {GOLDEN}; they are not redistributed")
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    begun = time.perf_counter()
    ours, simulation = simulate(GOLDEN, 80.0, "exact", device=device)
    seconds = time.perf_counter() - begun
    dropped = round(20.0 / (EVERY * 0.004))
    ours, theirs = ours.after(dropped), golden_series(GOLDEN).after(dropped)
    print("| 4 replicas, 20 to 80 ps | ours (+- standard error) | original |\n|---|---|---|")
    for name, label in NAMES.items():
        pairs = [
            f"{mean:.3f} +- {error:.3f}" for mean, error in (s.mean(name) for s in (ours, theirs))
        ]
        print(f"| {label} | {pairs[0]} | {pairs[1]} |")
    for q in (0.05, 0.25, 0.5, 0.75, 0.95):
        values = [f"{np.quantile(s.rmsd, q):.2f}" for s in (ours, theirs)]
        print(f"| RMSD, {q:.0%} quantile, A | {values[0]} | {values[1]} |")
    by_replica = [", ".join(f"{v:.2f}" for v in s.rmsd.mean(0)) for s in (ours, theirs)]
    print(f"| RMSD of each replica, A | {by_replica[0]} | {by_replica[1]} |")
    print(f"{seconds:.0f} s on {describe_device(simulation.device)['name']}, plan exact")
    if arguments:
        text = json.dumps(record(ours, simulation, seconds), indent=1) + "\n"
        path = Path(arguments[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
