"""Does a model hold its protein's fold, and does an extended chain find it?"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import torch

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.analysis.structure import c_alpha_indices, rmsd
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.receipt import describe_device, library_versions
from flashschnet_lab.system import System
from flashschnet_lab.training.distil import extended_start

FOLDED = 3.0
"""C-alpha RMSD in angstrom below which a conformation counts as folded."""

FRAMES = 200


@dataclass(frozen=True)
class Validation:
    """What replicas of one system did from the folded and from the extended state.

    Attributes:
        temperature: kelvin.
        timestep_fs: femtoseconds.
        time_ps: simulated time of every replica.
        times_ps: [frames].
        folded: [frames][replicas] C-alpha RMSD in angstrom of replicas that started folded.
        extended: the same for those that started extended.
        failed: replicas that a guard stopped.
        ms_per_step: wall time per step of the whole batch.
        device: what it ran on.
        versions: of the libraries.
        made: date.
        plan: name of the kernel plan.
    """

    temperature: float
    timestep_fs: float
    time_ps: float
    times_ps: list[float]
    folded: list[list[float]]
    extended: list[list[float]]
    failed: int
    ms_per_step: float
    device: str
    versions: dict[str, str]
    made: str
    plan: str = ""

    def summary(self) -> dict[str, object]:
        """Return the numbers of a model card.

        Folded replicas are judged over the second half of the run; an extended chain has folded
        when its RMSD falls below 3 A for the first time.
        """
        late = np.array(self.folded)[len(self.folded) // 2 :]
        summary: dict[str, object] = {
            "temperature": self.temperature,
            "time_ps": self.time_ps,
            "failed": self.failed,
        }
        if late.size:
            low, median, high = np.quantile(late, (0.05, 0.5, 0.95))
            summary["folded"] = {
                "replicas": late.shape[1],
                "rmsd_5_percent": round(float(low), 2),
                "rmsd_median": round(float(median), 2),
                "rmsd_95_percent": round(float(high), 2),
                "share_below_3": round(float((late < FOLDED).mean()), 4),
                "rmsd_median_by_fifths": [
                    round(float(np.median(part)), 2)
                    for part in np.array_split(np.array(self.folded), 5)
                ],
            }
        if self.extended and self.extended[0]:
            reached = np.array(self.extended) < FOLDED  # [frames, replicas]
            first = np.array(self.times_ps)[reached.argmax(0)][reached.any(0)]
            summary["extended"] = {
                "replicas": reached.shape[1],
                "reached_below_3": int(reached.any(0).sum()),
                "below_3_at_end": int(reached[-1].sum()),
                "first_time_ps": round(float(first.min()), 1) if len(first) else None,
                "median_time_ps": round(float(np.median(first)), 1) if len(first) else None,
            }
        return summary

    def join(self, other: Validation) -> Validation:
        """Return both runs as one: the replicas of this one, then those of the other.

        Raises:
            UserError: runs of other lengths, temperatures, time steps or plans.
        """
        for name in ("temperature", "timestep_fs", "times_ps", "plan"):
            if getattr(self, name) != getattr(other, name):
                raise UserError(
                    f"these replicas cannot be added to those measured before: their {name} "
                    "differs; leave --add out to measure all anew"
                )
        return replace(
            other,
            folded=[[*a, *b] for a, b in zip(self.folded, other.folded, strict=True)],
            extended=[[*a, *b] for a, b in zip(self.extended, other.extended, strict=True)],
            failed=self.failed + other.failed,
        )

    def write(self, path: Path, command: str) -> None:
        """Write everything, the summary, and the command that made it, as JSON."""
        stored = replace(
            self,
            folded=np.round(np.array(self.folded), 2).tolist(),
            extended=np.round(np.array(self.extended), 2).tolist(),
        )
        text = {"command": command, "summary": stored.summary(), **asdict(stored)}
        lines = [f' "{key}": {json.dumps(value)}' for key, value in text.items()]
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read_validation(path: Path) -> tuple[Validation, str]:
    """Return what `Validation.write` wrote, and the command that made it.

    Raises:
        UserError: no such file.
    """
    if not path.is_file():
        raise UserError(f"{path} is not there: measure once without --add")
    stored = json.loads(path.read_text(encoding="utf-8"))
    command = str(stored.pop("command"))
    del stored["summary"]
    return Validation(**stored), command


def validate(
    system: System,
    *,
    folded: int,
    extended: int,
    time_ps: float,
    temperature: float = 300.0,
    timestep_fs: float = 4.0,
    seed: int = 1,
    device: str | torch.device | None = None,
    plan: KernelPlan | None = None,
    watch: Callable[[Simulation, float], None] | None = None,
) -> Validation:
    """Simulate folded and extended replicas side by side and measure their C-alpha RMSD.

    Args:
        system: protein, model and reference conformation.
        folded: replicas that start at the reference.
        extended: replicas that start extended.
        time_ps: simulated time of each.
        temperature: kelvin.
        timestep_fs: femtoseconds.
        seed: of the random streams.
        device: default the GPU if there is one.
        plan: implementation of every operator; default that of a simulation.
        watch: called at every frame with the simulation and the finished share; it may stop it.
    """
    assert system.reference is not None, "a validation needs a reference conformation"
    native, stretched = system.reference, extended_start(system)
    starts = np.concatenate([native[None].repeat(folded, 0), stretched[None].repeat(extended, 0)])
    simulation = Simulation(
        system,
        folded + extended,
        temperature,
        positions=starts,
        timestep_fs=timestep_fs,
        seed=seed,
        device=device,
        plan=plan,
        minimise=True,
        keep_going=True,
    )
    steps = round(time_ps / simulation.settings.timestep_ps)
    alpha = c_alpha_indices(system.protein)
    times, values = [], []
    begun = time.perf_counter()
    for frame in simulation.iterate(steps, max(1, steps // FRAMES)):
        times.append(round(frame.time_ps, 4))
        values.append(rmsd(frame.positions, native, alpha))
        if watch is not None:
            watch(simulation, frame.step / steps)
    elapsed = time.perf_counter() - begun
    found = np.array(values)
    return Validation(
        temperature=temperature,
        timestep_fs=timestep_fs,
        time_ps=simulation.time_ps,
        times_ps=times,
        folded=found[:, :folded].tolist(),
        extended=found[:, folded:].tolist(),
        failed=len(simulation.failures()),
        ms_per_step=round(1e3 * elapsed / max(1, simulation.state.step), 3),
        device=str(describe_device(simulation.device)["name"]),
        versions=library_versions(),
        made=date.today().isoformat(),
        plan=simulation.plan.name,
    )
