"""Umbrella sampling: the windows along a coordinate are the replicas of one simulation.

restraint = windows(coordinate, np.linspace(5.0, 28.0, 24), strength=2.0)
simulation = fl.Simulation(system, replicas=24, restraints=[restraint])
pull_into_windows(simulation, 2500)
values = sample_windows(simulation, 10_000)
profile = umbrella_profile(values, restraint, 300.0)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from flashschnet_lab.analysis.coordinates import Coordinate
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.restraint import Restraint, restrain

if TYPE_CHECKING:
    from flashschnet_lab.simulation.run import Watch

PIECES = 50
"""Moves of the centres on the way into the windows."""


def windows(coordinate: Coordinate, centres: Any, strength: Any, copies: int = 1) -> Restraint:
    """Return a harmonic restraint with replicas side by side in every window.

    Args:
        coordinate: that is sampled.
        centres: [windows] in its unit.
        strength: one or [windows], kcal/mol per square of its unit. Held so, a window spans about
            sqrt(kT / strength) to either side: centres should be no farther apart than twice that.
        copies: replicas per window; they are independent.

    Raises:
        UserError: numbers that cannot be.
    """
    places = np.atleast_1d(np.asarray(centres, dtype=np.float64))
    strengths = np.broadcast_to(np.asarray(strength, dtype=np.float64), places.shape)
    if places.ndim != 1 or copies < 1:
        raise UserError(f"windows at {places.shape} centres with {copies} copies cannot be made")
    return restrain(coordinate, np.repeat(places, copies), np.repeat(strengths, copies))


def pull_into_windows(simulation: Simulation, steps: int, watch: Watch | None = None) -> None:
    """Move every replica from where it is into its window, by moving the centres there.

    The first restraint of the simulation is that of the windows. Its centres end where they were.

    Args:
        simulation: with restraints.
        steps: on the way. Let the replicas settle for some time afterwards.
        watch: called now and then with the simulation and the steps done.

    Raises:
        UserError: a simulation without restraints.
        SimulationStopped: a replica was pulled too fast.
    """
    restraint = _of(simulation)
    goal = restraint.centres.clone()
    with torch.no_grad():
        start = restraint.coordinate(simulation.state.positions)
    way = goal - start
    if restraint.coordinate.period is not None:
        half = 0.5 * restraint.coordinate.period
        way = torch.remainder(way + half, 2.0 * half) - half
    done = 0
    try:
        for piece in range(1, PIECES + 1):
            # In place: graphs and fused steps read it there. The first half kick of a piece still
            # has the forces of the centres before, a fiftieth of the way off.
            restraint.centres.copy_(start + way * (piece / PIECES))
            upto = steps * piece // PIECES
            simulation.run(upto - done)
            done = upto
            if watch is not None:
                watch(simulation, done)
    finally:
        restraint.centres.copy_(goal)
        simulation.restrain(*simulation.restraints)  # and the forces of where they are now


def settle(simulation: Simulation, steps: int, watch: Watch) -> None:
    """Run without looking at the frames; `watch` as for `pull_into_windows`."""
    for piece in range(PIECES):
        upto, done = (steps * count // PIECES for count in (piece + 1, piece))
        simulation.run(upto - done)
        watch(simulation, upto)


def sample_windows(simulation: Simulation, steps: int, every: int = 50) -> np.ndarray:
    """Run, and return the coordinate of every frame and replica, [frames, replicas].

    Args:
        simulation: in its windows.
        steps: time steps.
        every: steps between frames.

    Raises:
        UserError: a simulation without restraints.
        SimulationStopped: as `Simulation.run`.
    """
    coordinate, values = _of(simulation).coordinate, []
    for _ in simulation.iterate(steps, every):
        with torch.no_grad():
            values.append(coordinate(simulation.state.positions).cpu().numpy())
    return np.array(values)


def _of(simulation: Simulation) -> Restraint:
    if not simulation.restraints:
        raise UserError("the simulation has no restraint whose windows could be sampled")
    return simulation.restraints[0]
