"""The simulation loop: a handle on a state that is stepped, watched, saved and continued."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.devices import resolve_device
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.sum import ForceField
from flashschnet_lab.simulation.capture import why_not
from flashschnet_lab.simulation.frames import HostCopies, HostCopy, make_frame
from flashschnet_lab.simulation.fused_step import check_dtype
from flashschnet_lab.simulation.guards import (
    Failure,
    SimulationStopped,
    describe,
    failures,
    guard,
)
from flashschnet_lab.simulation.integrators import INTEGRATORS
from flashschnet_lab.simulation.minimise import minimise as downhill
from flashschnet_lab.simulation.noise import NoiseBlocks
from flashschnet_lab.simulation.reporters import Frame, Reporter
from flashschnet_lab.simulation.restraint import (
    Restraint,
    check_restraints,
    held_by,
    restraint_energy,
)
from flashschnet_lab.simulation.room import make_room, watched
from flashschnet_lab.simulation.settings import DTYPES, Settings, move_limit, per_replica
from flashschnet_lab.simulation.start import first_state, start_positions
from flashschnet_lab.simulation.state import Dynamics, State, inverse_masses
from flashschnet_lab.simulation.stepper import Stepper, make_stepper
from flashschnet_lab.system import System, as_plan, force_field_under
from flashschnet_lab.units import thermal_energy

CHECK_EVERY = 100


class Simulation:
    """Replicas of one system in motion.

    Args:
        system: protein and model.
        replicas: number of copies.
        temperature: kelvin, one number or one per replica.
        positions: start [beads, 3] or [replicas, beads, 3] in angstrom; default the system's.
        device: "cpu", "cuda", ...; default the GPU if there is one.
        plan: implementation of every operator, or its name ("fast", see `parse_plan`); default
            `default_plan`: fused, float32 exact. A network that its kernels cannot take runs under
            flash-float32, with a warning.
        capture: replay steps as a CUDA graph where that is possible (`not_captured` says why not).
        reporters: called with a `Frame` every `report_every` steps.
        report_every: steps between frames.
        minimise: move downhill before the first step.
        restraints: springs on coordinates of every replica, see `simulation.restraint`.
        state: go on from here instead of starting (restarts use it).
        **settings: the other fields of `Settings` (timestep_fs, friction, integrator, seed, ...).

    Raises:
        UserError: settings or a start that cannot work, with the fix.

    Example:
        >>> import flashschnet_lab as fl
        >>> simulation = fl.Simulation(fl.load_system("chignolin"), replicas=4)
        >>> simulation.run(1000)
    """

    def __init__(
        self,
        system: System,
        replicas: int = 1,
        temperature: float | Sequence[float] = 300.0,
        *,
        positions: np.ndarray | None = None,
        device: str | torch.device | None = None,
        plan: KernelPlan | str | None = None,
        capture: bool = True,
        reporters: Sequence[Reporter] = (),
        report_every: int = 100,
        minimise: bool = False,
        restraints: Sequence[Restraint] = (),
        state: State | None = None,
        **settings: object,
    ) -> None:
        self.system = system
        self.settings = Settings(per_replica(temperature, replicas), **settings)  # type: ignore[arg-type]
        self.reporters = list(reporters)
        self.report_every = report_every
        self.replicas = replicas
        self.device = resolve_device(device)
        self.dtype = DTYPES[self.settings.dtype]
        self._restraints = self._placed(restraints)
        self.force_field = self._build_force_field(plan)
        self.dynamics = self._dynamics()
        self._capture = capture
        self._stepper: Stepper | None = None
        self._copies = HostCopies(self.device)
        # A GPU makes the next steps while the host waits for the frame of the last ones.
        self._run_ahead = 1 if self.device.type == "cuda" else 0
        self._stop_asked = False
        self._reported = -1
        if state is None:
            start = start_positions(system, replicas, positions, self.device, self.dtype)
            if minimise:
                start = downhill(self._evaluate, start)
            state = first_state(system.protein, self.dynamics, start)
        self.state = state

    @property
    def plan(self) -> KernelPlan:
        """Which implementation of each operator runs."""
        return self.force_field.plan

    @property
    def capture(self) -> bool:
        """Whether CUDA graphs are asked for; it may be set at any time."""
        return self._capture

    @capture.setter
    def capture(self, wanted: bool) -> None:
        self._capture = wanted
        self._stepper = None

    @property
    def not_captured(self) -> str:
        """Why steps are launched kernel by kernel and not as a CUDA graph; empty if they are."""
        if not self.capture:
            return "capture=False was asked for"
        has_network = self.system.model.network is not None
        return why_not(self.plan, has_network, self.settings.integrator, self.device)

    @property
    def captures(self) -> bool:
        """Whether steps are replayed as a CUDA graph."""
        return not self.not_captured

    def use_plan(self, plan: KernelPlan | str) -> None:
        """Go on under another kernel plan, from the same state.

        Raises:
            UserError: a plan that cannot run here; the simulation goes on under the old one.
        """
        self.force_field = self._build_force_field(plan)
        self._stepper = None

    def _build_force_field(self, plan: KernelPlan | str | None) -> ForceField:
        if plan is not None:
            plan = as_plan(plan, self.device.type)
            check_dtype(plan, self.settings.integrator, self.dtype)
        force_field = force_field_under(
            plan,
            [self.system] * self.replicas,
            device=self.device,
            dtype=self.dtype,
            deterministic=self.settings.deterministic,
        )
        force_field.bias = self._bias()
        return force_field

    @property
    def restraints(self) -> tuple[Restraint, ...]:
        """Springs on coordinates that hold the replicas; their tensors may be changed in place."""
        return self._restraints

    def restrain(self, *restraints: Restraint) -> None:
        """Go on under these restraints instead of those before, from the same state; none frees it.

        Call it between steps, as `change`.

        Raises:
            UserError: restraints of other replicas or another molecule; nothing has changed then.
        """
        self._restraints = self._placed(restraints)
        self.force_field.bias = self._bias()
        self._stepper = None
        _, forces = self._evaluate(self.state.positions)
        self.state = replace(self.state, forces=forces)

    def restraint_energy(self) -> np.ndarray:
        """Return what the restraints hold, [replicas] float64 in kcal/mol; no part of potential."""
        with torch.no_grad():
            held = restraint_energy(self._restraints, self.state.positions)
        return np.broadcast_to(held.cpu().numpy(), (self.replicas,)).copy()

    def _placed(self, restraints: Sequence[Restraint]) -> tuple[Restraint, ...]:
        check_restraints(restraints, self.replicas, self.system.protein.beads)
        return tuple(restraint.to(self.device) for restraint in restraints)

    def _held(self, state: State) -> dict[str, Tensor]:
        return held_by(self._restraints, state.positions)

    def _bias(self) -> Callable[[Tensor], Tensor] | None:
        return partial(restraint_energy, self._restraints) if self._restraints else None

    @property
    def time_ps(self) -> float:
        """Simulated time in picoseconds."""
        return self.state.step * self.settings.timestep_ps

    def run(self, steps: int) -> None:
        """Advance by `steps` time steps, calling the reporters when a frame is due.

        Raises:
            SimulationStopped: a guard stopped a replica (the last good frame is in `state`), unless
                `keep_going` and another replica is still alive.
        """
        self._stop_asked = False
        self._run_until(self.state.step + steps)

    def iterate(self, steps: int, every: int = 100) -> Iterator[Frame]:
        """Advance by `steps` and yield a frame every `every` steps, for live use."""
        self._stop_asked = False
        last = self.state.step + steps
        while (step := self.state.step) < last and not self._stop_asked:
            self._run_until(min(last, step + every))
            if self.state.step > step:  # else it was stopped before the first step
                yield self.frame()

    def stop(self) -> None:
        """Ask a running `run` or `iterate` to return soon (safe from another thread)."""
        self._stop_asked = True

    def minimise(self, force_tolerance: float = 10.0, iterations: int = 500) -> None:
        """Move all replicas downhill and draw their velocities anew."""
        evaluate, start = self._evaluate, self.state.positions
        positions = downhill(evaluate, start, force_tolerance, iterations)
        self.state = first_state(self.system.protein, self.dynamics, positions)

    def change(
        self,
        temperature: float | Sequence[float] | None = None,
        friction: float | None = None,
    ) -> None:
        """Go on at other temperatures or another friction, from the same state.

        Velocities stay as they are; the thermostat brings them to a new temperature in about
        1 / friction. Call it between steps: from a reporter, between frames of `iterate`, or in the
        thread that runs. Captured graphs read temperatures from memory and go on; a new friction is
        captured anew, which takes a moment.

        Args:
            temperature: kelvin, one number or one per replica.
            friction: in 1/ps.

        Raises:
            UserError: a value that cannot work, or an integrator without a thermostat; nothing has
                changed then.
        """
        before = self.settings
        if before.integrator == "verlet":
            raise UserError(
                "the verlet integrator keeps the energy and has no temperature or friction to "
                "change; start with integrator='langevin'"
            )
        if temperature is None:
            temperature = before.temperatures
        temperatures = per_replica(temperature, self.replicas)
        chosen = before.friction if friction is None else float(friction)
        self.settings = replace(before, temperatures=temperatures, friction=chosen)
        # In place: fused steps and captured graphs hold on to this very tensor.
        self.dynamics.kT.copy_(self._thermal_energies())
        limit = move_limit(self.settings, self.system.protein)
        self.dynamics = replace(self.dynamics, friction=chosen, move_limit=limit)
        if chosen != before.friction:
            self._stepper = None
        # Steps that a GPU has made ahead belong to the old values: a new state drops them.
        self.state = replace(self.state)

    def frame(self) -> Frame:
        """Return the present frame as numpy arrays on the host."""
        return make_frame(self.state, self.time_ps, self._held(self.state))

    def energies(self) -> dict[str, np.ndarray]:
        """Return potential and kinetic energy in kcal/mol and temperature in K, each [replicas].

        With restraints, what they hold too.
        """
        frame = self.frame()
        energies = {
            "potential": frame.potential_energy,
            "kinetic": frame.kinetic_energy,
            "temperature": frame.temperature,
        }
        return {**energies, "restraint": self.restraint_energy()} if self.restraints else energies

    def failures(self) -> list[Failure]:
        """Return the replicas that a guard stopped."""
        return failures(self.state, self.system.protein)

    def _dynamics(self) -> Dynamics:
        settings = self.settings
        self._streams = settings.first_replica + torch.arange(self.replicas, device=self.device)
        beads = self.system.protein.beads
        self._noise = NoiseBlocks(settings.seed, self._streams, beads, self.dtype)
        return Dynamics(
            evaluate=self._evaluate,
            noise=self._noise,
            inverse_mass=inverse_masses(self.system.protein.masses, self.dtype, self.device),
            kT=self._thermal_energies(),
            timestep=settings.timestep_ps,
            friction=settings.friction,
            move_limit=move_limit(settings, self.system.protein),
        )

    def _thermal_energies(self) -> Tensor:
        """Return kT of every replica, [replicas, 1, 1]."""
        kT = [thermal_energy(t) for t in self.settings.temperatures]
        return torch.tensor(kT, dtype=self.dtype, device=self.device)[:, None, None]

    def _evaluate(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        evaluation = self.force_field(positions)
        return evaluation.energy, evaluation.forces

    def _run_until(self, last: int) -> None:
        if self.reporters and self.state.step == 0 and self._reported < 0:
            self._report(self.frame())
        launched, waiting = self.state, deque[HostCopy]()
        while True:
            while len(waiting) <= self._run_ahead and launched.step < last and not self._stop_asked:
                pause = min(last, self._next_pause(launched.step))
                advance = partial(self._advanced, pause)
                begun = launched.step
                launched, short = watched(self.force_field, launched, advance)
                if launched.step == begun:
                    break  # stopped before the first step: its frame is there already
                due = self._is_due(launched.step)
                held = self._held(launched) if due else {}
                waiting.append(self._copies.start(launched, due, short, held))
            if not waiting:
                return
            arrived = waiting.popleft()
            if needed := arrived.shortage():  # these steps and those after them are made again
                make_room(self.force_field, self.state, needed)
                self._stepper, launched = None, self.state
                waiting.clear()
                continue
            self._deliver(arrived)
            if self._stop_asked:
                return  # steps beyond are dropped: they can be made again
            if self.state is not arrived.state:  # a reporter put the replicas elsewhere
                launched = self.state
                waiting.clear()

    def _is_due(self, step: int) -> bool:
        return bool(self.reporters) and step % self.report_every == 0

    def _next_pause(self, step: int) -> int:
        return min(
            step + CHECK_EVERY - step % CHECK_EVERY,
            step + self.report_every - step % self.report_every,
        )

    def _deliver(self, arrived: HostCopy) -> None:
        """Make a state the present one, look at its guards, and report its frame if it is due."""
        on_host = arrived.wait()
        self.state = arrived.state
        failed = failures(on_host, self.system.protein)
        if failed and not (self.settings.keep_going and len(failed) < self.replicas):
            raise SimulationStopped(describe(failed, self.settings.timestep_fs))
        if arrived.due:
            self._report(make_frame(on_host, self.time_ps, arrived.held))

    def _advanced(self, step: int, state: State) -> State:
        """Return the state at a step, from an earlier one; on a GPU it may still be on its way."""
        advance = INTEGRATORS[self.settings.integrator]
        if self._stepper is None:
            self._stepper = make_stepper(
                self.force_field,
                self.dynamics,
                self.settings,
                self._streams,
                self._noise,
                state,
                self.captures,
            )
        if self._stepper is not None:
            return self._stepper.run(state, step - state.step, lambda: self._stop_asked)
        while state.step < step and not self._stop_asked:
            state = guard(state, advance(state, self.dynamics), self.dynamics)
        return state

    def _report(self, frame: Frame) -> None:
        self._reported = frame.step
        for reporter in self.reporters:
            reporter(frame)
