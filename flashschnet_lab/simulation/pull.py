"""Pull on a bead: a spring between two beads whose rest length is moved, as optical tweezers do.

    U = k / 2 (r_ab - d)^2        k the spring constant, r_ab the distance of the two beads

It is a restraint on a distance whose centre d starts at the present distance and moves towards a
goal at constant speed. The other bead feels the opposite force, so the molecule stays where it is.
Source of the method: S. Izrailev et al., Steered molecular dynamics, in Computational Molecular
Dynamics (Springer, 1999), page 39.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flashschnet_lab.analysis.coordinates import between
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.restraint import Restraint, restrain

SPRING = 2.0
"""kcal/mol/A^2: at 300 K a spring of this strength trembles by half an angstrom."""
SPEED = 4.0
"""Angstrom per picosecond: about as fast as heat moves a bead. Real tweezers are far slower."""
NAME = "pull"
"""Of the coordinate of a pull, by which `let_go` knows it among other restraints."""


@dataclass(frozen=True)
class Pull:
    """A spring of every replica whose rest length moves.

    Attributes:
        restraint: what the simulation has; its centres are the rest lengths.
        goal: where they go, angstrom.
        speed: of the rest lengths, angstrom/ps.
    """

    restraint: Restraint
    goal: float
    speed: float

    @property
    def rest_lengths(self) -> Tensor:
        """At which the springs hold nothing now, [replicas] float64, angstrom."""
        return self.restraint.centres

    def lengths(self, positions: Tensor) -> Tensor:
        """Return the distance of the two beads in every replica, [replicas] float64, angstrom."""
        return self.restraint.coordinate(positions)

    def move(self, time_ps: float) -> None:
        """Let the rest lengths go towards their goal for a while."""
        farthest = self.speed * time_ps
        self.rest_lengths.add_((self.goal - self.rest_lengths).clamp(-farthest, farthest))


def pull(
    simulation: Simulation,
    bead: int,
    other: int,
    goal: float,
    *,
    spring: float = SPRING,
    speed: float = SPEED,
) -> Pull:
    """Put a spring between two beads of every replica; it ends any earlier pull.

    Until `let_go`, forces contain the spring.

    Args:
        simulation: at rest between two runs.
        bead, other: the two ends, bead indices.
        goal: where the rest length goes, angstrom. Call `Pull.move` after each piece of a run.
        spring: kcal/mol/A^2.
        speed: of the rest length, angstrom/ps.

    Raises:
        UserError: ends or numbers that cannot work.
    """
    beads = simulation.system.protein.beads
    if bead == other or not (0 <= bead < beads and 0 <= other < beads):
        raise UserError(
            f"a pull needs two different beads from 0 to {beads - 1}, not {bead} and {other}"
        )
    if not (0.0 < goal <= 10.0 * beads and spring > 0.0 and speed > 0.0):
        raise UserError(
            f"a pull to {goal:g} A with {spring:g} kcal/mol/A^2 at {speed:g} A/ps cannot work; "
            f"all must be positive, and {beads} beads reach no farther than {10 * beads} A"
        )
    coordinate = replace(between(simulation.system.protein, bead, other), name=NAME)
    with torch.no_grad():
        lengths = coordinate(simulation.state.positions)
    return keep_pulling(simulation, Pull(restrain(coordinate, lengths, spring), goal, speed))


def keep_pulling(simulation: Simulation, made: Pull) -> Pull:
    """Put a spring that was made before into another simulation of the molecule.

    Returns:
        The pull of that simulation: its rest lengths are the ones to move.
    """
    simulation.restrain(*_besides(simulation), made.restraint)
    return replace(made, restraint=simulation.restraints[-1])


def let_go(simulation: Simulation) -> None:
    """Take the spring away, if there is one."""
    simulation.restrain(*_besides(simulation))


def _besides(simulation: Simulation) -> list[Restraint]:
    """Return the restraints that are no pull."""
    return [r for r in simulation.restraints if r.coordinate.name != NAME]
