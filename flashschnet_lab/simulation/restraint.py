"""Restraints: springs on a coordinate that hold replicas where they would not stay by themselves.

    U = k / 2 max(|s - c| - w, 0)^2     s the coordinate, c centre, k strength, w slack

With w = 0 it is harmonic, otherwise its bottom is flat. Every replica has its own c, k and w, so
that the windows of an umbrella-sampling run are the replicas of one simulation. A dihedral comes
round: there s - c is the shorter way.

The forces of a simulation contain its restraints, its potential energy does not: what a restraint
holds is `Restraint.energy`, apart. Source of the method: G. M. Torrie and J. P. Valleau, Journal of
Computational Physics 23, 187 (1977).

    windows = restrain(end_to_end(protein), centres=np.linspace(4.0, 30.0, 14), strength=1.0)
    simulation = fl.Simulation(system, replicas=14, restraints=[windows])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flashschnet_lab.analysis.coordinates import Coordinate, coordinate_from_dict
from flashschnet_lab.errors import UserError


@dataclass(frozen=True, eq=False)
class Restraint:
    """A spring on a coordinate of every replica. Make one with `restrain`.

    The tensors of `Simulation.restraints` may be changed in place while it rests between two runs:
    captured CUDA graphs go on reading them, and checkpoints keep what they are then. A simulation
    shares the tensors that it was given where they lie on its device already.

    Attributes:
        coordinate: that is held.
        centres: [replicas] float64, in the unit of the coordinate.
        strengths: [replicas] float64, kcal/mol per square of that unit.
        slacks: [replicas] float64, how far from its centre a replica is free, in that unit.
    """

    coordinate: Coordinate
    centres: Tensor
    strengths: Tensor
    slacks: Tensor

    @property
    def replicas(self) -> int:
        """That it holds."""
        return len(self.centres)

    def energy(self, positions: Tensor) -> Tensor:
        """Return the energy [replicas] float64 in kcal/mol at positions [replicas, beads, 3]."""
        return self.energy_of(self.coordinate(positions))

    def energy_of(self, values: Tensor) -> Tensor:
        """Return the energy in kcal/mol of values [..., replicas] of the coordinate."""
        apart = values - self.centres
        if self.coordinate.period is not None:
            apart = torch.remainder(apart, self.coordinate.period)
            # The shorter way, as a function whose slope is 1 on either side.
            apart = torch.where(
                apart > 0.5 * self.coordinate.period, apart - self.coordinate.period, apart
            )
        beyond = (apart.abs() - self.slacks).clamp(min=0.0)
        return 0.5 * self.strengths * beyond.square()

    def rows(self, replicas: Sequence[int]) -> Restraint:
        """Return the restraint of some replicas, in that order; one may come more than once."""
        chosen = torch.as_tensor(list(replicas), device=self.centres.device)
        tensors = (t[chosen].clone() for t in (self.centres, self.strengths, self.slacks))
        return Restraint(self.coordinate, *tensors)

    def to(self, device: torch.device | str) -> Restraint:
        """Return the same restraint on a device."""
        tensors = (t.to(device) for t in (self.centres, self.strengths, self.slacks))
        return Restraint(self.coordinate.to(device), *tensors)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `restraint_from_dict` reads them to the bit."""
        return {
            "coordinate": self.coordinate.to_dict(),
            "centres": self.centres.tolist(),
            "strengths": self.strengths.tolist(),
            "slacks": self.slacks.tolist(),
        }


def restrain(
    coordinate: Coordinate,
    centres: Any,
    strength: Any,
    slack: Any = 0.0,
    *,
    replicas: int | None = None,
) -> Restraint:
    """Return a restraint.

    Args:
        coordinate: that is held.
        centres: one number or one per replica, in the unit of the coordinate.
        strength: k, likewise, kcal/mol per square of that unit.
        slack: w, likewise, in that unit; 0 is harmonic.
        replicas: how many, where each of the others is one number.

    Raises:
        UserError: numbers that do not fit together or cannot be.
    """
    values = [torch.as_tensor(v, dtype=torch.float64) for v in (centres, strength, slack)]
    counts = {len(v) for v in values if v.dim() == 1} | ({replicas} if replicas else set())
    if len(counts) > 1 or any(v.dim() > 1 for v in values):
        raise UserError(
            "centres, strength and slack of a restraint must be one number or one per replica, not "
            f"{', '.join(str(tuple(v.shape)) for v in values)}"
        )
    count = counts.pop() if counts else 1
    centre, k, w = (v.expand(count).clone() for v in values)
    for name, v, least in (("strength", k, 0.0), ("slack", w, 0.0), ("centre", centre, None)):
        if not v.isfinite().all() or (least is not None and bool((v < least).any())):
            raise UserError(
                f"a {name} of {v.tolist()} cannot hold the {coordinate.name}; give numbers in "
                f"{coordinate.unit}, strengths in kcal/mol per square of it, none below 0"
            )
    period = coordinate.period
    if period is not None and bool((w >= 0.5 * period).any()):
        raise UserError(f"a slack of half a period ({0.5 * period:.4g}) or more holds nothing")
    return Restraint(coordinate, centre, k, w)


def restraint_from_dict(stored: Mapping[str, Any]) -> Restraint:
    """Return the restraint that `Restraint.to_dict` described.

    Raises:
        UserError: a coordinate that this version does not know.
    """
    tensors = (
        torch.tensor(stored[name], dtype=torch.float64)
        for name in ("centres", "strengths", "slacks")
    )
    return Restraint(coordinate_from_dict(stored["coordinate"]), *tensors)


def check_restraints(restraints: Sequence[Restraint], replicas: int, beads: int) -> None:
    """Refuse restraints of other replicas or another molecule.

    Raises:
        UserError: which, and what to give.
    """
    for restraint in restraints:
        name = restraint.coordinate.name
        if restraint.replicas != replicas:
            raise UserError(
                f"the restraint on {name} is for {restraint.replicas} replicas, the simulation has "
                f"{replicas}; give replicas={replicas} to `restrain`"
            )
        if restraint.coordinate.beads != beads:
            raise UserError(
                f"{name} is a coordinate of {restraint.coordinate.beads} beads, the protein has "
                f"{beads}; make it of the protein that is simulated"
            )


def restraint_energy(restraints: Sequence[Restraint], positions: Tensor) -> Tensor:
    """Return the sum over restraints, [replicas] float64 in kcal/mol, differentiable.

    Args:
        restraints: of all these replicas.
        positions: [replicas, beads, 3], or [beads of all, 3], angstrom.
    """
    total = torch.zeros((), dtype=torch.float64, device=positions.device)
    for restraint in restraints:
        x = positions.reshape(restraint.replicas, restraint.coordinate.beads, 3)
        total = total + restraint.energy(x)
    return total


def held_by(restraints: Sequence[Restraint], positions: Tensor) -> dict[str, Tensor]:
    """Return what a frame tells of its restraints, by the names that `Frame` has; {} without any.

    Args:
        restraints: of all these replicas.
        positions: [replicas, beads, 3], angstrom.
    """
    if not restraints:
        return {}
    with torch.no_grad():
        values = [restraint.coordinate(positions) for restraint in restraints]
        energies = [r.energy_of(v) for r, v in zip(restraints, values, strict=True)]
        total = torch.stack(energies).sum(0)
    return {"restraint_energy": total, "restrained": torch.stack(values, 1)}


def restraint_forces(restraints: Sequence[Restraint], positions: Tensor) -> Tensor:
    """Return their forces, shape and dtype of positions [replicas, beads, 3], kcal/mol/A."""
    if not restraints:
        return torch.zeros_like(positions)
    with torch.enable_grad():
        x = positions.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(restraint_energy(restraints, x).sum(), x)
    return -gradient
