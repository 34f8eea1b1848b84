"""Conformations and labels: what a network is taught from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.system import System, build_force_field

Progress = Callable[[float, str], None]
"""Called with the finished share of a task, 0 to 1, and a short text."""

LABEL_BATCH = 64


@dataclass(frozen=True)
class Frames:
    """Labelled conformations of one molecule.

    Attributes:
        positions: [frames, beads, 3] float32, angstrom.
        energy: [frames] float64, what the network must give, kcal/mol.
        forces: [frames, beads, 3] float32, kcal/mol/A.
    """

    positions: Tensor
    energy: Tensor
    forces: Tensor

    def __len__(self) -> int:
        return self.positions.shape[0]

    def to(self, device: torch.device) -> Frames:
        """Return the same frames on a device."""
        return Frames(self.positions.to(device), self.energy.to(device), self.forces.to(device))

    def join(self, other: Frames) -> Frames:
        """Return these frames followed by others."""
        pairs = zip(
            (self.positions, self.energy, self.forces),
            (other.positions, other.energy, other.forces),
            strict=True,
        )
        return Frames(*(torch.cat(pair) for pair in pairs))


def sample(
    system: System,
    starts: np.ndarray,
    temperatures: np.ndarray,
    *,
    steps: int,
    every: int,
    discard: int,
    seed: int,
    device: torch.device,
    progress: Progress | None = None,
) -> Tensor:
    """Return conformations of a Langevin simulation, [frames * replicas, beads, 3] on the CPU.

    Replicas that leave physics are left out from the frame at which they do.

    Args:
        system: what moves.
        starts: [replicas, beads, 3] in angstrom.
        temperatures: [replicas] in kelvin.
        steps: of 4 fs, per replica.
        every: steps between the frames that are kept.
        discard: steps at the start whose frames are left out.
        seed: of the random streams.
        device: where it runs.
        progress: told how far it is.
    """
    simulation = Simulation(
        system,
        len(starts),
        temperatures.tolist(),
        positions=starts,
        device=device,
        seed=seed,
        minimise=True,
        keep_going=True,
    )
    kept = []
    for frame in simulation.iterate(steps, every):
        if frame.step > discard:
            alive = (simulation.state.failed_step < 0).cpu()
            kept.append(simulation.state.positions.cpu()[alive].float())
        if progress is not None:
            progress(frame.step / steps, "sampling")
    return torch.cat(kept)


def label(system: System, positions: Tensor, device: torch.device) -> Frames:
    """Label conformations with the structure-based contacts of a system: the teacher minus priors.

    Args:
        system: a system whose model has contacts.
        positions: [frames, beads, 3] in angstrom.
        device: where the labels are computed (in float64).
    """
    energies, forces = [], []
    for part in positions.split(LABEL_BATCH):
        force_field = build_force_field([system] * len(part), device=device, dtype=torch.float64)
        force_field.priors = None
        evaluation = force_field(part.to(device=device, dtype=torch.float64))
        energies.append(evaluation.energy.cpu())
        forces.append(evaluation.forces.float().cpu())
    return Frames(positions, torch.cat(energies), torch.cat(forces))
