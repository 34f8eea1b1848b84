"""The state of a Langevin simulation in place, and its constants, for all implementations.

Replicas are copies of one molecule. Nothing is allocated in a step, so that a CUDA graph can replay
it; not even the number of the step is known to the host.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PART = 128
"""Beads whose kinetic energy and farthest move the first half of a step adds up by themselves."""


@dataclass(frozen=True)
class LangevinParameters:
    """The constants of a simulation.

    Attributes:
        inverse_mass: [beads], 418.4 / mass in dalton: times a force in kcal/mol/A an acceleration
            in A/ps^2, times an energy in kcal/mol a squared velocity; dtype of the positions.
        kT: [replicas] in kcal/mol, dtype of the positions.
        streams: [replicas] int64 below 2^32, the random stream of each replica.
        seed: key of the random numbers, from 0 to 2^64 - 1.
        timestep: in ps.
        friction: in 1/ps.
        move_limit: in angstrom; a bead that moves farther in one step stops its replica.
    """

    inverse_mass: Tensor
    kT: Tensor  # noqa: N815 (the physicists' name)
    streams: Tensor
    seed: int
    timestep: float
    friction: float
    move_limit: float


@dataclass(frozen=True)
class LangevinBuffers:
    """What changes from step to step, all of it contiguous and on one device.

    Attributes:
        positions: [replicas, beads, 3] float32 or float64, angstrom.
        velocities: the same in angstrom/ps.
        forces: the same in kcal/mol/A, at `positions`.
        energy: [replicas] float64, potential energy at `positions` in kcal/mol.
        kinetic: [replicas] float64, right after the thermostat acted, in kcal/mol.
        failed_step: [replicas] int64, step at which the replica was stopped, or -1.
        failed_bead: [replicas] int64, the bead that did it.
        step: [2] int64, steps done, and the number of the one that is being made.
        new_positions: as `positions`; from the first half of a step to the second.
        new_velocities: as `velocities`; the same.
        parts: [replicas, parts, 3] float64, over `PART` beads each: kinetic energy, farthest move,
            and its bead; the same.
    """

    positions: Tensor
    velocities: Tensor
    forces: Tensor
    energy: Tensor
    kinetic: Tensor
    failed_step: Tensor
    failed_bead: Tensor
    step: Tensor
    new_positions: Tensor
    new_velocities: Tensor
    parts: Tensor

    @property
    def replicas(self) -> int:
        """Number of replicas."""
        return self.positions.shape[0]

    @property
    def beads(self) -> int:
        """Beads of one replica."""
        return self.positions.shape[1]


def allocate(
    replicas: int, beads: int, dtype: torch.dtype, device: torch.device
) -> LangevinBuffers:
    """Return buffers whose values are still to be written."""

    def vectors() -> Tensor:
        return torch.empty(replicas, beads, 3, dtype=dtype, device=device)

    def scalars(kind: torch.dtype) -> Tensor:
        return torch.empty(replicas, dtype=kind, device=device)

    return LangevinBuffers(
        positions=vectors(),
        velocities=vectors(),
        forces=vectors(),
        energy=scalars(torch.float64),
        kinetic=scalars(torch.float64),
        failed_step=scalars(torch.int64),
        failed_bead=scalars(torch.int64),
        step=torch.zeros(2, dtype=torch.int64, device=device),
        new_positions=vectors(),
        new_velocities=vectors(),
        parts=torch.empty(replicas, parts_of(beads), 3, dtype=torch.float64, device=device),
    )


def parts_of(beads: int) -> int:
    """Return the number of parts of a molecule."""
    return -(-beads // PART)


def check(buffers: LangevinBuffers, bead_energy: Tensor, gradient: Tensor) -> None:
    """Refuse what a force field handed over if it is not of these beads.

    Raises:
        ValueError: shapes or dtypes that do not belong to the buffers.
    """
    beads = buffers.replicas * buffers.beads
    dtype = buffers.positions.dtype
    if bead_energy.shape != (beads,) or gradient.shape != (beads, 3):
        raise ValueError(
            f"{buffers.replicas} replicas of {buffers.beads} beads need energies [{beads}] and a "
            f"gradient [{beads}, 3], not {list(bead_energy.shape)} and {list(gradient.shape)}"
        )
    if bead_energy.dtype != dtype or gradient.dtype != dtype:
        raise ValueError(
            f"energies ({bead_energy.dtype}) and gradient ({gradient.dtype}) must have the dtype "
            f"of the positions ({dtype})"
        )
    if not (bead_energy.is_contiguous() and gradient.is_contiguous()):
        raise ValueError("energies and gradient must be contiguous")
