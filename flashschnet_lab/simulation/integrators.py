"""Integrators: pure functions from state to state, in one registry.

The letters of a splitting: B kicks the velocities with the forces, A drifts the positions, O lets
friction and noise act on the velocities.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from flashschnet_lab.simulation.state import Dynamics, State, kinetic_energy

Step = Callable[[State, Dynamics], State]
"""One way to advance a state by one time step."""


def langevin_step(state: State, dynamics: Dynamics) -> State:
    """One BAOAB step of m dv = F dt - friction m v dt + sqrt(2 friction m kT) dW.

    Source: Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34 (2013).
    """
    half = 0.5 * dynamics.timestep
    keep = math.exp(-dynamics.friction * dynamics.timestep)
    spread = torch.sqrt((1.0 - keep * keep) * dynamics.kT * dynamics.inverse_mass)  # [R, beads, 1]
    v = state.velocities + half * dynamics.inverse_mass * state.forces
    x = state.positions + half * v
    v = keep * v + spread * dynamics.noise(state.step)
    kinetic = kinetic_energy(v, dynamics.inverse_mass)
    x = x + half * v
    return replace(_last_kick(state, dynamics, x, v), kinetic=kinetic)


def verlet_step(state: State, dynamics: Dynamics) -> State:
    """One velocity-Verlet step of m dv = F dt: constant energy (NVE), time-reversible."""
    half = 0.5 * dynamics.timestep
    v = state.velocities + half * dynamics.inverse_mass * state.forces
    x = state.positions + dynamics.timestep * v
    after = _last_kick(state, dynamics, x, v)
    return replace(after, kinetic=kinetic_energy(after.velocities, dynamics.inverse_mass))


def brownian_step(state: State, dynamics: Dynamics) -> State:
    """One step of overdamped motion, friction m dx = F dt + sqrt(2 friction m kT) dW.

    The noise of two neighbouring steps is averaged, which makes averages second order in the time
    step. Velocities are not propagated. Source: Leimkuhler and Matthews, as above.
    """
    mobility = dynamics.inverse_mass / dynamics.friction  # [beads, 1]
    noise = 0.5 * (dynamics.noise(state.step) + dynamics.noise(state.step + 1))
    spread = torch.sqrt(2.0 * dynamics.timestep * dynamics.kT * mobility)
    x = state.positions + dynamics.timestep * mobility * state.forces + spread * noise
    energy, forces = dynamics.evaluate(x)
    return replace(state, step=state.step + 1, positions=x, forces=forces, energy=energy)


def _last_kick(state: State, dynamics: Dynamics, x: Tensor, v: Tensor) -> State:
    """Return the state at new positions, after the half kick (B) with the forces there."""
    energy, forces = dynamics.evaluate(x)
    v = v + 0.5 * dynamics.timestep * dynamics.inverse_mass * forces
    return replace(
        state, step=state.step + 1, positions=x, velocities=v, forces=forces, energy=energy
    )


INTEGRATORS: dict[str, Step] = {
    "langevin": langevin_step,
    "verlet": verlet_step,
    "brownian": brownian_step,
}
