"""A simulation that a person may change while it goes on: hotter, more replicas, another plan.

No thread and no widget here: one caller at a time advances it or changes it (`live.Live` sees to
that), so everything can be tried without a browser.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.analysis.structure import c_alpha_indices, rmsd
from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.accuracy import force_limit, network_force_error, total_force_error
from flashschnet_lab.measure.memory import kept_bytes, peak_bytes
from flashschnet_lab.simulation import pull as pulling
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.settings import Settings
from flashschnet_lab.simulation.state import FIELDS, State
from flashschnet_lab.system import System, build_force_field
from flashschnet_lab.units import nanoseconds_per_day
from flashschnet_lab.widgets.recording import Recording, Sample

CHUNK_SECONDS = 0.08
"""A chunk of steps takes about so long: a dozen pictures a second."""
MOST_STEPS = 2000
GROWTH = 4.0
"""A chunk has at most so many times as many steps as the one before it."""


MEMORY = 0.8
"""What earlier chunks still count, one chunk later, when the speed is told."""


@dataclass(frozen=True)
class ForceCheck:
    """How far forces are off float64 and the reference operators.

    Attributes:
        error: relative, over all beads.
        limit: that the plan promises.
        of: "network", or "all forces" for a model without one.
        plan: its name.
    """

    error: float
    limit: float
    of: str
    plan: str

    def __str__(self) -> str:
        verdict = "within" if self.error <= self.limit else "ABOVE"
        return (
            f"{self.of}, plan {self.plan}: force error {self.error:.1e} against float64, {verdict} "
            f"its limit {self.limit:.0e}"
        )


class Experiment:
    """A simulation, its recording, and all that can be done to it between two chunks of steps.

    Args:
        system: protein and model.
        replicas: copies.
        temperature: kelvin, the same for all.
        friction: 1/ps.
        timestep_fs: femtoseconds.
        seed: key of the random streams.
        plan: a plan, or its name; the simulation's own default without it.
        device: "cpu", "cuda"; default the GPU if there is one.
        recording: where samples go.
        clock: returns seconds.

    Attributes:
        simulation: the present one. A new time step or number of replicas makes another, from the
            same positions and velocities.
        recording: of every chunk, bounded.
        time_ps: simulated since the start, over all changes of the time step.
        steps_per_second: of the last chunks, of all replicas together; 0 before the first.
        chunk: steps that `advance` takes by itself.
        step_bytes: most memory that one step takes at once under the present plan.
        pull: the spring that pulls, or None.

    Raises:
        UserError: settings that cannot work.
    """

    def __init__(
        self,
        system: System,
        *,
        replicas: int = 1,
        temperature: float = 300.0,
        friction: float = 1.0,
        timestep_fs: float = 4.0,
        seed: int = 1,
        plan: KernelPlan | str | None = None,
        device: str | torch.device | None = None,
        recording: Recording | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.system = system
        self.recording = recording or Recording()
        self.pull: pulling.Pull | None = None
        self._clock = clock
        self._alphas = c_alpha_indices(system.protein)
        self.simulation = Simulation(
            system,
            replicas,
            temperature,
            friction=friction,
            timestep_fs=timestep_fs,
            seed=seed,
            device=device,
            plan=plan,
        )
        self._begin()

    @property
    def settings(self) -> Settings:
        """Of the present simulation."""
        return self.simulation.settings

    @property
    def plan(self) -> KernelPlan:
        """Of the present simulation."""
        return self.simulation.plan

    @property
    def nanoseconds_per_day(self) -> float:
        """Simulated by all replicas together, at the speed of the last chunks."""
        step = self.settings.timestep_ps
        return nanoseconds_per_day(self.steps_per_second, step, self.simulation.replicas)

    def advance(self, steps: int | None = None) -> None:
        """Run a chunk, move the pull, and record a sample.

        Args:
            steps: how many; without it, as many as fit into `CHUNK_SECONDS`.

        Raises:
            SimulationStopped: a replica left physics; the last good state is kept.
        """
        chosen = self.chunk if steps is None else steps
        begin = self._clock()
        self.simulation.run(chosen)
        self._learn(chosen, self._clock() - begin)
        self.time_ps += chosen * self.settings.timestep_ps
        if self.pull is not None:
            self.pull.move(chosen * self.settings.timestep_ps)
        self._record()

    def reset(self) -> None:
        """Begin again where the protein started, with the present settings and plan."""
        settings = self.settings
        self.pull = None
        self._rebuild(None, settings.timestep_fs, self.simulation.replicas)
        self.recording.clear()
        self._begin()

    def change(
        self,
        *,
        temperature: float | None = None,
        friction: float | None = None,
        timestep_fs: float | None = None,
        replicas: int | None = None,
        copy_of: int = 0,
    ) -> None:
        """Go on under other settings, from the present positions and velocities.

        Args:
            temperature: kelvin, for all replicas.
            friction: 1/ps.
            timestep_fs: femtoseconds.
            replicas: more of them begin as copies of one, and part at once, because each has its
                own random stream; with fewer, the last ones are dropped and a pull goes on.
            copy_of: the replica that is copied.

        Raises:
            UserError: settings that cannot work; nothing has changed then.
        """
        if temperature is not None or friction is not None:
            self.simulation.change(temperature, friction)
        count = self.simulation.replicas if replicas is None else replicas
        step_fs = self.settings.timestep_fs if timestep_fs is None else timestep_fs
        if count != self.simulation.replicas or step_fs != self.settings.timestep_fs:
            rows = _rows(count, self.simulation.replicas, copy_of)
            self._rebuild(rows, step_fs, count)
        asked = {
            f"{temperature:g} K" if temperature is not None else "",
            f"friction {friction:g}" if friction is not None else "",
            f"{timestep_fs:g} fs" if timestep_fs is not None else "",
            f"{replicas} replicas" if replicas is not None else "",
        }
        self.recording.mark(", ".join(sorted(asked - {""})))

    def use_plan(self, plan: KernelPlan | str) -> None:
        """Go on under another kernel plan, from the same state.

        Raises:
            UserError: a plan that is unknown or cannot run here; the old one goes on.
        """
        self.simulation.use_plan(plan)
        self._forget_speed()
        self.recording.mark(self.plan.name)

    def start_pull(self, bead: int, other: int, goal: float, **options: Any) -> None:
        """Pull two beads of every replica to a distance; see `simulation.pull`."""
        self.pull = pulling.pull(self.simulation, bead, other, goal, **options)
        self.recording.mark(f"pull to {goal:g} Å")

    def let_go(self) -> None:
        """Stop pulling."""
        if self.pull is not None:
            pulling.let_go(self.simulation)
            self.pull = None
            self.recording.mark("let go")

    def check_forces(self) -> ForceCheck:
        """Compare the forces under the present plan with float64 and the reference operators."""
        positions = self.simulation.state.positions
        error, of = network_force_error(self.system, positions, self.plan), "network"
        if error is None:
            force_field = self._fresh_force_field()
            error = total_force_error(self.system, positions, force_field(positions).forces)
            of = "all forces"
        return ForceCheck(error, force_limit(self.plan, "float32"), of, self.plan.name)

    def measure_memory(self) -> int:
        """Return the most bytes that tensors of one step take at once; the state stays as it is.

        What fused bead work on a CPU makes once and keeps is added, as `flashschnet bench` does.
        """
        simulation, state = self.simulation, self.simulation.state
        captures, simulation.capture = simulation.capture, False  # replays allocate nothing
        simulation.run(1)  # makes the lists and workspaces that later steps find
        peak = peak_bytes(lambda: simulation.run(1), simulation.device)
        simulation.capture, simulation.state = captures, state
        if self.plan.nodes == "cpu":
            fresh = self._fresh_force_field()
            peak += kept_bytes(lambda: fresh(state.positions), simulation.device, arrays=True)[1]
        return peak

    def _fresh_force_field(self) -> Any:
        simulation = self.simulation
        systems = [self.system] * simulation.replicas
        return build_force_field(
            systems, device=simulation.device, dtype=simulation.dtype, plan=self.plan
        )

    def _begin(self) -> None:
        self.time_ps = 0.0
        self._forget_speed()
        self._record()

    def _rebuild(self, rows: list[int] | None, timestep_fs: float, replicas: int) -> None:
        """Make another simulation: from rows of the present state, or from the start."""
        before = self.simulation
        settings = before.settings
        state = None if rows is None else _rows_of(before.state, rows)
        self.simulation = Simulation(
            self.system,
            replicas,
            settings.temperatures[0],
            device=before.device,
            plan=before.plan,
            state=state,
            friction=settings.friction,
            timestep_fs=timestep_fs,
            seed=settings.seed,
        )
        if self.pull is not None and rows is not None:
            mine = replace(self.pull, restraint=self.pull.restraint.rows(rows))
            self.pull = pulling.keep_pulling(self.simulation, mine)
        self._forget_speed()

    def _forget_speed(self) -> None:
        self.steps_per_second = 0.0
        self._steps, self._seconds = 0.0, 0.0
        self.step_bytes = 0
        self.chunk = 1
        self._is_warm = False

    def _learn(self, steps: int, seconds: float) -> None:
        """Learn from a chunk how fast steps are, and how many the next one should have."""
        if not self._is_warm:  # the first chunk under a plan may compile or capture
            self._is_warm = True
            self.step_bytes = self.measure_memory()
            return
        # Both sums forget at the same pace: a long chunk says more than a short one.
        self._steps = MEMORY * self._steps + steps
        self._seconds = MEMORY * self._seconds + seconds
        self.steps_per_second = self._steps / max(self._seconds, 1e-6)
        fits = min(self.steps_per_second * CHUNK_SECONDS, GROWTH * steps, MOST_STEPS)
        self.chunk = max(1, round(fits))

    def _record(self) -> None:
        frame, reference = self.simulation.frame(), self.system.reference
        distance = np.full(len(frame.positions), np.nan)
        if reference is not None:
            distance = rmsd(frame.positions, reference, self._alphas)
        self.recording.add(
            Sample(
                time_ps=self.time_ps,
                positions=frame.positions,
                potential_energy=frame.potential_energy,
                temperature=frame.temperature,
                rmsd=distance,
            )
        )


def _rows(count: int, present: int, copy_of: int) -> list[int]:
    """Return which replica each of `count` replicas goes on from."""
    if count < 1:
        raise UserError(f"{count} replicas cannot be simulated; at least 1")
    return [row if row < present else copy_of for row in range(count)]


def _rows_of(state: State, rows: list[int]) -> State:
    """Return the state of some replicas, in that order; one may come more than once."""
    picked = {name: getattr(state, name)[rows].clone() for name in FIELDS}
    return replace(state, **picked)
