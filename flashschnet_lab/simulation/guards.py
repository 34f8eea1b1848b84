"""Guards: a replica that leaves physics is stopped at its last good frame and named.

The check of a step stays on the device; the host looks only when a report is due.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from flashschnet_kernels.neighbors.reference import pairs_within
from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.simulation.state import Dynamics, State

LARGEST_START_FORCE = 2000.0
"""kcal/mol/A; a folded or built chain stays far below, overlapping beads far above."""
CLOSEST = 1e-3
"""Angstrom; closer beads count as coincident."""
SHORTEST_MEDIAN_BOND = 0.5
"""Angstrom; no bond of a protein is so short, but every one is in nanometres."""


class SimulationStopped(UserError):
    """A guard stopped a replica: the message names replica, bead, step and what to do."""


@dataclass(frozen=True)
class Failure:
    """One stopped replica: where and when."""

    replica: int
    step: int
    bead: int
    bead_label: str


def guard(before: State, after: State, dynamics: Dynamics) -> State:
    """Return `after`, with every replica that failed in this step put back to `before`.

    A replica fails when a coordinate or its energy is not finite, or a bead moved farther than
    the limit. Failed replicas stay where they are from then on. No synchronisation with the host.
    """
    moved = (after.positions - before.positions).norm(dim=-1)  # [R, beads]
    farthest, bead = torch.where(moved.isfinite(), moved, torch.inf).max(dim=1)
    bad = farthest > dynamics.move_limit
    bad |= ~after.energy.isfinite()
    alive = before.failed_step < 0
    new = bad & alive
    stop = new | ~alive

    def keep(old: Tensor, fresh: Tensor) -> Tensor:
        return torch.where(stop.view(-1, *[1] * (old.dim() - 1)), old, fresh)

    return replace(
        after,
        positions=keep(before.positions, after.positions),
        velocities=keep(before.velocities, after.velocities),
        forces=keep(before.forces, after.forces),
        energy=keep(before.energy, after.energy),
        kinetic=keep(before.kinetic, after.kinetic),
        failed_step=torch.where(new, after.step, before.failed_step),
        failed_bead=torch.where(new, bead, before.failed_bead),
    )


def failures(state: State, protein: Protein) -> list[Failure]:
    """Return the stopped replicas, in order of replica. Synchronises with the device."""
    steps, beads = state.failed_step.cpu().tolist(), state.failed_bead.cpu().tolist()
    return [
        Failure(replica, step, bead, protein.label(bead))
        for replica, (step, bead) in enumerate(zip(steps, beads, strict=True))
        if step >= 0
    ]


def describe(failed: list[Failure], timestep_fs: float) -> str:
    """Return the message of stopped replicas: the first one in full, how many more, what to do."""
    first = failed[0]
    more = f" ({len(failed) - 1} more replicas stopped too)" if len(failed) > 1 else ""
    return (
        f"replica {first.replica} left physics at step {first.step}: bead {first.bead} "
        f"({first.bead_label}) moved too fast or its energy is not a number{more}. The last good "
        f"frame is kept. Try a smaller time step than {timestep_fs:g} fs, --minimise, or a lower "
        "temperature"
    )


def check_positions(protein: Protein, positions: np.ndarray) -> None:
    """Refuse coordinates that cannot be a start.

    Args:
        protein: names the beads in messages.
        positions: [replicas, beads, 3] in angstrom.

    Raises:
        UserError: coordinates that are not finite, two beads in one place, or nanometres.
    """
    if not np.isfinite(positions).all():
        replica, bead, _ = np.argwhere(~np.isfinite(positions))[0]
        raise UserError(
            f"the start of replica {replica} has no finite position for bead {bead} "
            f"({protein.label(int(bead))}); repair the structure"
        )
    x = torch.from_numpy(np.array(positions, dtype=np.float64)).reshape(-1, 3)
    close = pairs_within(x, (protein.beads,) * len(positions), CLOSEST)
    if close.shape[1]:
        (replica, i), (_, j) = (divmod(int(bead), protein.beads) for bead in close[:, 0])
        raise UserError(
            f"beads {i} ({protein.label(i)}) and {j} ({protein.label(j)}) of replica {replica} "
            "start at the same place, where no force is defined; repair the structure"
        )
    bonds = protein.topology.bonds
    if len(bonds):
        lengths = np.linalg.norm(positions[:, bonds[:, 1]] - positions[:, bonds[:, 0]], axis=-1)
        median = float(np.median(lengths))
        if median < SHORTEST_MEDIAN_BOND:
            raise UserError(
                f"the start has a median bond of {median:.3f} A: the coordinates look like "
                "nanometres; multiply them by 10"
            )


def check_forces(protein: Protein, forces: Tensor) -> None:
    """Refuse a start whose beads overlap, by its forces [replicas, beads, 3] in kcal/mol/A.

    Raises:
        UserError: the force on a bead is beyond what a simulation can integrate.
    """
    largest, where = forces.norm(dim=-1).flatten().max(dim=0)
    if not largest <= LARGEST_START_FORCE:
        replica, bead = divmod(int(where), protein.beads)
        raise UserError(
            f"the start clashes: the force on bead {bead} ({protein.label(bead)}) of replica "
            f"{replica} is {float(largest):.0f} kcal/mol/A; minimise first (--minimise, or "
            "simulation.minimise())"
        )
