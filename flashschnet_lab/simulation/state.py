"""The state of a batch of replicas, and what one step needs to know besides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flashschnet_lab.units import KCAL_PER_MOL

FIELDS = ("positions", "velocities", "forces", "energy", "kinetic", "failed_step", "failed_bead")
"""The tensors of a `State`, which checkpoints save."""


@dataclass(frozen=True)
class State:
    """Everything that changes from step to step.

    Attributes:
        step: steps done since the start of the simulation.
        positions: [replicas, beads, 3] in angstrom.
        velocities: [replicas, beads, 3] in angstrom/ps.
        forces: [replicas, beads, 3] in kcal/mol/A, at `positions`.
        energy: [replicas] float64, potential energy in kcal/mol at `positions`.
        kinetic: [replicas] float64, kinetic energy in kcal/mol, taken where the integrator knows
            it best: Langevin right after the thermostat (velocities at the end of a step are colder
            by about (omega timestep / 2)^2 per stiff bond), Verlet at the end of the step.
        failed_step: [replicas] int64, first step at which a guard stopped the replica, or -1.
        failed_bead: [replicas] int64, the bead that did it (meaningless where not failed).
    """

    step: int
    positions: Tensor
    velocities: Tensor
    forces: Tensor
    energy: Tensor
    kinetic: Tensor
    failed_step: Tensor
    failed_bead: Tensor


@dataclass(frozen=True)
class Dynamics:
    """The constants of a simulation and its two sources: forces and noise.

    Attributes:
        evaluate: positions to (energy [replicas] float64, forces like positions).
        noise: step to standard normal numbers [replicas, beads, 3].
        inverse_mass: [beads, 1], KCAL_PER_MOL / mass: times a force in kcal/mol/A this is an
            acceleration in A/ps^2, times an energy in kcal/mol a squared velocity.
        kT: [replicas, 1, 1] in kcal/mol.
        timestep: in ps.
        friction: in 1/ps.
        move_limit: in angstrom; a bead that moves farther in one step stops its replica.
    """

    evaluate: Callable[[Tensor], tuple[Tensor, Tensor]]
    noise: Callable[[int], Tensor]
    inverse_mass: Tensor
    kT: Tensor  # noqa: N815 (the physicists' name)
    timestep: float
    friction: float
    move_limit: float


def kinetic_energy(velocities: Tensor, inverse_mass: Tensor) -> Tensor:
    """Return the kinetic energy [replicas] float64 in kcal/mol."""
    return 0.5 * (velocities.double().square() / inverse_mass.double()).sum((1, 2))


def inverse_masses(masses: np.ndarray, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return KCAL_PER_MOL / mass as [beads, 1]."""
    return torch.as_tensor(KCAL_PER_MOL / masses, dtype=dtype, device=device)[:, None]
