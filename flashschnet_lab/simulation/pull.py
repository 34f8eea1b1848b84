"""Pull on a bead: a spring between two beads whose rest length is moved, as optical tweezers do.

    U = k / 2 (r_ab - d)^2        k the spring constant, r_ab the distance of the two beads

The rest length d starts at the present distance and moves towards a goal at constant speed. The
other bead feels the opposite force, so the molecule stays where it is. Source of the method:
S. Izrailev et al., Steered molecular dynamics, in Computational Molecular Dynamics (Springer,
1999), page 39.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.structure_based import StructureBased
from flashschnet_lab.simulation.engine import Simulation

SPRING = 2.0
"""kcal/mol/A^2: at 300 K a spring of this strength trembles by half an angstrom."""
SPEED = 4.0
"""Angstrom per picosecond: about as fast as heat moves a bead. Real tweezers are far slower."""


class Pull(nn.Module):
    """The spring of every replica of one protein.

    Args:
        beads: of the protein.
        bead, other: the two ends, bead indices.
        distances: [replicas], rest lengths at the start, angstrom.
        goal: where the rest length goes, angstrom.
        spring: kcal/mol/A^2.
        speed: of the rest length, angstrom/ps.
        besides: a potential of the same molecules that is added.

    Raises:
        UserError: ends or numbers that cannot work.
    """

    rest_lengths: Tensor

    def __init__(
        self,
        beads: int,
        bead: int,
        other: int,
        distances: Tensor,
        goal: float,
        spring: float = SPRING,
        speed: float = SPEED,
        besides: StructureBased | None = None,
    ) -> None:
        super().__init__()
        if bead == other or not (0 <= bead < beads and 0 <= other < beads):
            raise UserError(
                f"a pull needs two different beads from 0 to {beads - 1}, not {bead} and {other}"
            )
        if not (0.0 < goal <= 10.0 * beads and spring > 0.0 and speed > 0.0):
            raise UserError(
                f"a pull to {goal:g} A with {spring:g} kcal/mol/A^2 at {speed:g} A/ps cannot work; "
                f"all must be positive, and {beads} beads reach no farther than {10 * beads} A"
            )
        self.beads, self.bead, self.other = beads, bead, other
        self.goal, self.spring, self.speed = goal, spring, speed
        self.besides = besides
        # Changed in place: captured CUDA graphs go on reading this very tensor.
        self.register_buffer("rest_lengths", distances.detach().double().clone(), persistent=False)

    def forward(self, positions: Tensor) -> Tensor:
        """Return the energy [replicas] float64 in kcal/mol from [beads of all, 3] in angstrom."""
        stretch = self.lengths(positions) - self.rest_lengths
        energy = 0.5 * self.spring * stretch.square()
        return energy if self.besides is None else energy + self.besides(positions)

    def lengths(self, positions: Tensor) -> Tensor:
        """Return the distance of the two beads in every replica, [replicas] float64, angstrom."""
        x = positions.reshape(-1, self.beads, 3)
        return (x[:, self.bead] - x[:, self.other]).double().norm(dim=-1)

    def move(self, time_ps: float) -> None:
        """Let the rest length go towards its goal for a while."""
        farthest = self.speed * time_ps
        self.rest_lengths += (self.goal - self.rest_lengths).clamp(-farthest, farthest)


def pull(simulation: Simulation, bead: int, other: int, goal: float, **options: Any) -> Pull:
    """Put a spring between two beads of every replica; it ends any earlier pull.

    Until `let_go`, or a new plan for the simulation, energies and forces contain the spring.

    Args:
        simulation: at rest between two runs.
        bead, other: the two ends, bead indices.
        goal: where the rest length goes, angstrom. Call `Pull.move` after each piece of a run.
        **options: `spring` and `speed` of `Pull`.

    Raises:
        UserError: ends or numbers that cannot work.
    """
    x = simulation.state.positions  # [replicas, beads, 3]
    lengths = (x[:, bead % x.shape[1]] - x[:, other % x.shape[1]]).double().norm(dim=-1)
    besides = _without_pull(simulation)
    made = Pull(x.shape[1], bead, other, lengths, goal, besides=besides, **options)
    _set_extra(simulation, made)
    return made


def keep_pulling(simulation: Simulation, made: Pull) -> None:
    """Put a spring that was made before into a simulation whose force field is new."""
    made.besides = _without_pull(simulation)
    _set_extra(simulation, made)


def let_go(simulation: Simulation) -> None:
    """Take the spring away, if there is one."""
    _set_extra(simulation, _without_pull(simulation))


def _without_pull(simulation: Simulation) -> StructureBased | None:
    extra: Any = simulation.force_field.contacts
    return extra.besides if isinstance(extra, Pull) else extra


def _set_extra(simulation: Simulation, extra: nn.Module | None) -> None:
    """Give the force field its term besides priors and network, and evaluate the state anew."""
    # A spring, like contacts, is a differentiable energy per molecule: every plan adds it.
    simulation.force_field.contacts = extra  # type: ignore[assignment]
    simulation.capture = simulation.capture  # graphs of the old force field are dropped
    evaluation = simulation.force_field(simulation.state.positions)
    with torch.no_grad():
        simulation.state = replace(
            simulation.state, energy=evaluation.energy, forces=evaluation.forces
        )
