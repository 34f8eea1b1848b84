"""A Langevin step in place, and its counter-based noise, in plain PyTorch (the definition).

BAOAB: B kicks the velocities with the forces for half a step, A drifts the positions for half a
step, O lets friction and noise act on the velocities. The first half is B A O A; then the force
field is evaluated at the new positions; the second half is the last B and the guards.
Source: Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34 (2013).

A random number is a pure function of (seed, replica, step, bead, component): Philox4x32-10 and
Box-Muller. Nothing is carried from step to step, so a replica draws the same noise alone, in any
batch, and after any restart.
Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC11 (2011).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from flashschnet_kernels.langevin.parameters import (
    PART,
    LangevinBuffers,
    LangevinParameters,
    check,
    parts_of,
)

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def first_half(buffers: LangevinBuffers, parameters: LangevinParameters) -> None:
    """Do B A O A: write `new_positions`, `new_velocities`, `parts` and the number of the step.

    A replica that was stopped stays: its new positions are its positions.
    """
    b, p = buffers, parameters
    half, keep = 0.5 * p.timestep, math.exp(-p.friction * p.timestep)
    inverse_mass = p.inverse_mass[:, None]  # [beads, 1]
    spread = torch.sqrt((1.0 - keep * keep) * p.kT[:, None, None] * inverse_mass)
    noise = gaussian_noise(p.seed, p.streams, b.step[0], 1, b.beads, b.positions.dtype)[0]
    v = b.velocities + half * inverse_mass * b.forces
    x = b.positions + half * v
    v = keep * v + spread * noise
    x = x + half * v
    stopped = (b.failed_step >= 0)[:, None, None]
    b.new_positions.copy_(torch.where(stopped, b.positions, x))
    b.new_velocities.copy_(v)
    b.step[1] = b.step[0] + 1

    kinetic = 0.5 * (v.double().square() / inverse_mass.double()).sum(2)  # [replicas, beads]
    moved = (b.new_positions - b.positions).norm(dim=2)
    moved = torch.where(moved.isfinite(), moved, torch.inf)
    b.parts[..., 0] = _in_parts(kinetic, 0.0).sum(2)
    farthest, bead = _in_parts(moved, -1.0).max(2)  # the first bead of those that moved so far
    b.parts[..., 1] = farthest.double()
    b.parts[..., 2] = bead + PART * torch.arange(parts_of(b.beads), device=bead.device)


def second_half(
    buffers: LangevinBuffers,
    bead_energy: Tensor,
    gradient: Tensor,
    parameters: LangevinParameters,
) -> None:
    """Do the last B, and take the step: write the state, and `step[0]`.

    A replica fails when a bead moved farther than the limit or to no finite place, or its energy is
    not finite: it keeps the state before the step, from then on.

    Args:
        buffers: after `first_half`.
        bead_energy: [beads of all replicas], their shares of the energy at `new_positions`, dtype
            of the positions; summed in float64.
        gradient: [beads of all replicas, 3] of the energy, the same dtype.
        parameters: those of `first_half`.
    """
    b, p = buffers, parameters
    check(buffers, bead_energy, gradient)
    forces = -gradient.view_as(b.positions)
    energy = bead_energy.double().view(b.replicas, b.beads).sum(1)
    velocities = b.new_velocities + 0.5 * p.timestep * p.inverse_mass[:, None] * forces

    farthest, part = b.parts[..., 1].max(1)
    bead = b.parts[..., 2].gather(1, part[:, None])[:, 0].long()
    alive = b.failed_step < 0
    new = alive & ((farthest > p.move_limit) | ~energy.isfinite())
    go = alive & ~new
    all_beads = go[:, None, None]
    b.positions.copy_(torch.where(all_beads, b.new_positions, b.positions))
    b.velocities.copy_(torch.where(all_beads, velocities, b.velocities))
    b.forces.copy_(torch.where(all_beads, forces, b.forces))
    b.energy.copy_(torch.where(go, energy, b.energy))
    b.kinetic.copy_(torch.where(go, b.parts[..., 0].sum(1), b.kinetic))
    b.failed_step.copy_(torch.where(new, b.step[1], b.failed_step))
    b.failed_bead.copy_(torch.where(new, bead, b.failed_bead))
    b.step[0] = b.step[1]


def _in_parts(values: Tensor, filling: float) -> Tensor:
    """Return values [replicas, beads] as [replicas, parts, PART]."""
    beads = values.shape[1]
    padded = pad(values, (0, PART * parts_of(beads) - beads), value=filling)
    return padded.view(len(values), -1, PART)


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> list[Tensor]:
    """Return four words of 32 random bits (in int64) for every counter, ten rounds.

    Args:
        counter: four broadcastable int64 tensors with values below 2^32.
        key: two numbers below 2^32.
    """
    c0, c1, c2, c3 = torch.broadcast_tensors(*counter)
    k0, k1 = key
    for _ in range(10):
        # Products below 2^64 wrap in int64; shifting and masking still yields their exact words.
        product_0, product_1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((product_1 >> 32) & _MASK) ^ c1 ^ k0,
            product_1 & _MASK,
            ((product_0 >> 32) & _MASK) ^ c3 ^ k1,
            product_0 & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return [c0, c1, c2, c3]


def gaussian_noise(
    seed: int,
    replicas: Tensor,
    first_step: int | Tensor,
    steps: int,
    beads: int,
    dtype: torch.dtype,
) -> Tensor:
    """Return standard normal numbers [steps, replicas, beads, 3].

    Args:
        seed: any integer from 0 to 2^64 - 1; it is the key of the generator.
        replicas: [replicas] int64 below 2^32, the stream of each row, on the device of the result.
        first_step: step of the first slice; slice t belongs to step `first_step + t`.
        steps: number of slices.
        beads: beads of one replica.
        dtype: float32 or float64; both are made from the same bits.
    """
    device = replicas.device
    step = first_step + torch.arange(steps, device=device)[:, None, None]
    bead = torch.arange(beads, device=device)
    counter = (bead, replicas[None, :, None], step & _MASK, step >> 32)
    words = philox(counter, (seed & _MASK, (seed >> 32) & _MASK))
    u0, u1, u2, u3 = (word.to(dtype).add_(0.5).mul_(2.0**-32) for word in words)
    # float32 may round the largest u to exactly 1; log(1) = 0 is harmless, log(0) cannot happen.
    radius_a, radius_b = torch.sqrt(-2.0 * torch.log(u0)), torch.sqrt(-2.0 * torch.log(u2))
    angle_a, angle_b = 2.0 * math.pi * u1, 2.0 * math.pi * u3
    components = (
        radius_a * torch.cos(angle_a),
        radius_a * torch.sin(angle_a),
        radius_b * torch.cos(angle_b),
    )
    return torch.stack(components, dim=-1)  # [steps, replicas, beads, 3]
