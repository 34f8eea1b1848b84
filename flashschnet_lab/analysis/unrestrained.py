"""Weights that make frames of restrained replicas count as frames of free ones.

A restraint U_r made a conformation exp(-U_r / kT) as likely as it is by itself; since every stored
frame says where its restrained coordinates were, that can be taken out again. With one restraint
for all replicas the weight of a frame is exp(U_r / kT). Replicas that were held in different places
are states of their own, which MBAR joins (see `reweighting`).

    run = fl.open_trajectory("runs/chignolin-umbrella-001")
    weights = held_of(run).weights(300.0)       # [frames, replicas]

Neighbouring places must overlap, and restraints must have stayed where they were when the run
began: `Held` looks at what they held, frame by frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from flashschnet_lab.analysis.reweighting import log_mixture, solve
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.restraint import Restraint
from flashschnet_lab.units import thermal_energy

if TYPE_CHECKING:
    from flashschnet_lab.simulation.store import Trajectory


def unrestrained_weights(
    values: Any, restraints: Sequence[Restraint], temperature: float
) -> np.ndarray:
    """Return what every frame of restrained replicas counts without their restraints.

    Args:
        values: [frames, replicas, restraints] of the coordinates; `Trajectory.restrained`.
        restraints: that held them; `Trajectory.restraints`.
        temperature: of all of them, kelvin.

    Returns:
        [frames, replicas] float64, sum 1.

    Raises:
        UserError: shapes that do not fit, or places that overlap too little to be joined.
    """
    seen = np.asarray(values, dtype=np.float64)
    shape = (len(seen), restraints[0].replicas if restraints else 0, len(restraints))
    if seen.ndim != 3 or seen.shape != shape or not seen.size:
        raise UserError(
            f"values {seen.shape} must be [frames, replicas, restraints] of {len(restraints)} "
            f"restraints of {shape[1]} replicas"
        )
    if not np.isfinite(seen).all() or temperature <= 0.0:
        raise UserError("weights need finite values and a temperature above 0 K")
    kT = thermal_energy(temperature)
    first, state_of = states(restraints)
    flat = torch.from_numpy(seen.reshape(-1, 1, len(restraints)))  # frame by frame, all replicas
    reduced = np.zeros((len(first), flat.shape[0]))
    for index, restraint in enumerate(restraints):
        held = restraint.to("cpu").rows(first.tolist()).energy_of(flat[:, :, index])
        reduced += held.numpy().T / kT  # [states, frames of all replicas]
    counts = len(seen) * np.bincount(state_of, minlength=len(first))
    # A free frame has the energy 0 here; the mixture is what the frames were drawn from.
    log_weight = -log_mixture(reduced, counts, solve(reduced, counts))
    weight = np.exp(log_weight - log_weight.max())
    return (weight / weight.sum()).reshape(seen.shape[:2])


@dataclass(frozen=True)
class Held:
    """The restraints of a run, and what they held in some of its frames.

    Attributes:
        restraints: when the run began.
        values: [frames, replicas, restraints] of the restrained coordinates. No replicas where an
            older version wrote the run, without what its restraints held.
        energy: [frames, replicas] kcal/mol; likewise.
    """

    restraints: tuple[Restraint, ...]
    values: np.ndarray
    energy: np.ndarray

    def weights(self, temperature: float) -> np.ndarray:
        """Return what every frame counts at a temperature without restraints, [frames, replicas].

        Raises:
            UserError: restraints that moved, a run of an older version, or as
                `unrestrained_weights`.
        """
        self.check_still()
        return unrestrained_weights(self.values, self.restraints, temperature)

    def check_still(self) -> None:
        """Refuse restraints that moved on the way.

        Raises:
            UserError: what was held is not what they hold where they were at first, or it was not
                stored.
        """
        if not self.values.shape[1]:
            raise UserError("an older flashschnet-lab wrote the run, without what restraints held")
        expected = np.zeros(self.energy.shape)
        for index, restraint in enumerate(self.restraints):
            expected += restraint.energy_of(torch.from_numpy(self.values[..., index])).numpy()
        if not np.allclose(self.energy, expected, rtol=1e-6, atol=1e-6):
            raise UserError(
                "the restraints moved during the run, and where they went is not stored; frames "
                "can be weighted by their restraint_energy alone, one replica at a time"
            )

    def replicas(self, order: Sequence[int]) -> Held:
        """Return the same of some replicas, in that order."""
        rows = tuple(restraint.rows(order) for restraint in self.restraints)
        if not self.values.shape[1]:
            return Held(rows, self.values, self.energy)
        chosen = list(order)
        return Held(rows, self.values[:, chosen], self.energy[:, chosen])


def held_of(trajectory: Trajectory, frames: slice = slice(None)) -> Held | None:
    """Return what the restraints of a stored run held, or None without any."""
    restraints = trajectory.restraints
    if not restraints:
        return None
    if not trajectory.knows_restrained:
        return Held(restraints, np.zeros((0, 0, len(restraints))), np.zeros((0, 0)))
    return Held(restraints, trajectory.restrained[frames], trajectory.restraint_energy[frames])


def states(restraints: Sequence[Restraint]) -> tuple[np.ndarray, np.ndarray]:
    """Return which replicas are held alike.

    Args:
        restraints: of the same replicas.

    Returns:
        The first replica of every state, [states], by rising centre; the state of every replica,
        [replicas].
    """
    columns = [t for r in restraints for t in (r.centres, r.strengths, r.slacks)]
    table = torch.stack([column.cpu() for column in columns], 1).numpy()
    _, first, state_of = np.unique(table, axis=0, return_index=True, return_inverse=True)
    return first, state_of.reshape(-1)
