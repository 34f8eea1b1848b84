"""Force matching: fit a network so that its forces and energies are those of the labels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from flashschnet_kernels.neighbors.reference import pairs_within
from flashschnet_lab.potentials.batch import sum_per_molecule
from flashschnet_lab.potentials.schnet import SchNet
from flashschnet_lab.training.data import Frames


@dataclass(frozen=True)
class Errors:
    """How far a network is from its labels.

    Attributes:
        force_rmse: root mean square error of a force component, kcal/mol/A.
        force_relative: norm of all force errors over norm of all label forces.
        energy_rmse: root mean square error of the energy of a molecule, kcal/mol.
    """

    force_rmse: float
    force_relative: float
    energy_rmse: float


def energy_and_forces(
    network: SchNet, bead_types: Tensor, positions: Tensor, *, training: bool = False
) -> tuple[Tensor, Tensor]:
    """Return energies [frames] float64 and forces [frames, beads, 3] of one molecule's frames.

    Args:
        network: on the device of the positions.
        bead_types: [beads] rows of the embedding.
        positions: [frames, beads, 3] in angstrom.
        training: keep the graph, so that a loss on forces reaches the weights.
    """
    frames, beads, _ = positions.shape
    sizes = (beads,) * frames
    x = positions.reshape(-1, 3).detach().requires_grad_()
    pairs = pairs_within(x, sizes, network.shape.cutoff)
    energy = sum_per_molecule(network(bead_types.repeat(frames), x, pairs), sizes)
    (gradient,) = torch.autograd.grad(energy.sum(), x, create_graph=training)
    forces = -gradient.view_as(positions)
    return (energy, forces) if training else (energy.detach(), forces)


def loss(
    network: SchNet, bead_types: Tensor, batch: Frames, force_scale: float, energy_scale: float
) -> Tensor:
    """Return the mean squared force error plus the mean squared energy error, both relative.

    The labels of a teacher are free of noise, so the energies carry information that the force
    matching of all-atom data lacks: they tie the wells of separate folds together.
    """
    energy, forces = energy_and_forces(network, bead_types, batch.positions, training=True)
    force_error = ((forces - batch.forces) ** 2).mean() / force_scale**2
    energy_error = ((energy - batch.energy) ** 2).mean() / energy_scale**2
    return force_error + energy_error.to(force_error.dtype)


def evaluate(
    network: SchNet, bead_types: Tensor, frames: Frames, batch_size: int, device: torch.device
) -> Errors:
    """Return the errors of a network over labelled frames."""
    squared = reference = energy_squared = 0.0
    for start in range(0, len(frames), batch_size):
        part = _slice(frames, slice(start, start + batch_size)).to(device)
        energy, forces = energy_and_forces(network, bead_types, part.positions)
        squared += float(((forces - part.forces).double() ** 2).sum())
        reference += float((part.forces.double() ** 2).sum())
        energy_squared += float(((energy - part.energy) ** 2).sum())
    return Errors(
        force_rmse=math.sqrt(squared / frames.forces.numel()),
        force_relative=math.sqrt(squared / reference),
        energy_rmse=math.sqrt(energy_squared / len(frames)),
    )


def random_batches(frames: Frames, batch_size: int, generator: torch.Generator) -> Iterator[Frames]:
    """Yield shuffled batches for ever."""
    while True:
        order = torch.randperm(len(frames), generator=generator)
        for start in range(0, max(1, len(order) - batch_size + 1), batch_size):
            yield _slice(frames, order[start : start + batch_size])


def learning_rate(step: int, steps: int, highest: float) -> float:
    """Return the rate at a step: a short warm-up, then half a cosine down to a hundredth."""
    warm_up = max(1, steps // 50)
    if step < warm_up:
        return highest * (step + 1) / warm_up
    share = (step - warm_up) / max(1, steps - warm_up)
    return highest * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * share)))


@contextmanager
def fast_matmul(device: torch.device) -> Iterator[None]:
    """Allow TF32 matrix products on a GPU while training; nothing else changes."""
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _slice(frames: Frames, rows: slice | Tensor) -> Frames:
    return Frames(frames.positions[rows], frames.energy[rows], frames.forces[rows])
