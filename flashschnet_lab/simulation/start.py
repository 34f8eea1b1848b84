"""How a simulation begins: positions around the origin, and velocities from the thermostat."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.simulation.guards import check_forces, check_positions
from flashschnet_lab.simulation.state import Dynamics, State, kinetic_energy
from flashschnet_lab.system import System

VELOCITY_STEP = (1 << 62) + 1
"""The step whose noise draws the first velocities: no simulation ever reaches it."""


def start_positions(
    system: System,
    replicas: int,
    positions: np.ndarray | None,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Return where the replicas start, [replicas, beads, 3] in angstrom.

    Args:
        system: protein and model.
        replicas: number of copies.
        positions: [beads, 3] or [replicas, beads, 3] in angstrom; default the system's.
        device, dtype: of the result.

    Raises:
        UserError: positions of another shape, or ones that are no start.
    """
    beads = system.protein.beads
    start = np.asarray(system.protein.positions if positions is None else positions)
    if start.shape not in ((beads, 3), (replicas, beads, 3)):
        raise UserError(
            f"the start has shape {start.shape}; {system.name} needs ({beads}, 3) or "
            f"({replicas}, {beads}, 3)"
        )
    check_positions(system.protein, np.broadcast_to(start, (replicas, beads, 3)))
    x = torch.as_tensor(start, dtype=torch.float64).expand(replicas, beads, 3)
    centred = x - x.mean(1, keepdim=True)  # float32 loses digits far from the origin
    return centred.to(device=device, dtype=dtype).contiguous()


def first_state(protein: Protein, dynamics: Dynamics, positions: Tensor) -> State:
    """Return step 0 at some positions, with velocities drawn at the dynamics' temperatures.

    Raises:
        UserError: forces that are no numbers.
    """
    energy, forces = dynamics.evaluate(positions)
    check_forces(protein, forces)
    noise = dynamics.noise(VELOCITY_STEP)
    velocities = torch.sqrt(dynamics.kT * dynamics.inverse_mass) * noise
    never = torch.full((len(positions),), -1, device=positions.device)
    return State(
        step=0,
        positions=positions,
        velocities=velocities,
        forces=forces,
        energy=energy,
        kinetic=kinetic_energy(velocities, dynamics.inverse_mass),
        failed_step=never,
        failed_bead=never.clone(),
    )
