"""Energy minimisation by FIRE: removes clashes before a simulation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TIMESTEP_START, TIMESTEP_MAX = 0.005, 0.03
LARGEST_MOVE = 0.1
"""Angstrom that a bead may move in one iteration: keeps overlapping beads from flying apart."""


def minimise(
    evaluate: Callable[[Tensor], tuple[Tensor, Tensor]],
    positions: Tensor,
    force_tolerance: float = 10.0,
    iterations: int = 500,
) -> Tensor:
    """Return positions moved downhill until every force is small, replica by replica.

    Args:
        evaluate: positions to (energy [replicas], forces like positions), kcal/mol and A.
        positions: [replicas, beads, 3] in angstrom.
        force_tolerance: stop when no bead feels more than this, in kcal/mol/A. (At 300 K the
            forces of a moving molecule are several times the default.)
        iterations: at most so many force evaluations.

    Source: Bitzek et al., Structural relaxation made simple, Phys. Rev. Lett. 97, 170201 (2006).
    """
    x = positions.clone()
    velocity = torch.zeros_like(x)
    replicas = x.shape[0]
    timestep = x.new_full((replicas, 1, 1), TIMESTEP_START)
    mixing = torch.full_like(timestep, 0.1)
    uphill_ago = torch.zeros_like(timestep)
    for _ in range(iterations):
        _, force = evaluate(x)
        if bool((force.norm(dim=-1) <= force_tolerance).all()):
            break
        power = (force * velocity).sum((1, 2), keepdim=True)
        uphill = power <= 0
        uphill_ago = torch.where(uphill, 0.0, uphill_ago + 1)
        faster = uphill_ago > 5
        timestep = torch.where(faster, (1.1 * timestep).clamp(max=TIMESTEP_MAX), timestep)
        timestep = torch.where(uphill, 0.5 * timestep, timestep)
        mixing = torch.where(uphill, 0.1, torch.where(faster, 0.99 * mixing, mixing))
        direction = force / force.norm(dim=(1, 2), keepdim=True).clamp(min=1e-12)
        speed = velocity.norm(dim=(1, 2), keepdim=True)
        velocity = (1 - mixing) * velocity + mixing * speed * direction
        velocity = torch.where(uphill, torch.zeros_like(velocity), velocity) + timestep * force
        move = timestep * velocity
        length = move.norm(dim=-1, keepdim=True)
        x = x + move * (LARGEST_MOVE / length.clamp(min=LARGEST_MOVE))
    return x
