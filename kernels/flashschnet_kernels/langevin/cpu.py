"""A Langevin step in place, compiled for the CPU by Numba: two passes over the beads.

The same random numbers as `reference.py`, to the rounding: the same counters and the same formulas.
Nothing is allocated. Determinism: same bits every run, on any number of threads, and for a replica
alone as in any batch. float32 or float64.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from torch import Tensor

from flashschnet_kernels.langevin.parameters import (
    PART,
    LangevinBuffers,
    LangevinParameters,
    check,
)
from flashschnet_kernels.numba_math import match_torch_threads

BEADS_PER_THREAD = 4096
"""Beads that are worth one more thread: about half a millisecond."""

_MASK = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))


def first_half(buffers: LangevinBuffers, parameters: LangevinParameters) -> None:
    """Do B A O A: write `new_positions`, `new_velocities`, `parts` and the number of the step.

    A replica that was stopped stays: its new positions are its positions.
    """
    b, p = buffers, parameters
    match_torch_threads(1 + b.replicas * b.beads // BEADS_PER_THREAD)
    _first_half(
        b.positions.numpy(),
        b.velocities.numpy(),
        b.forces.numpy(),
        b.failed_step.numpy(),
        b.step.numpy(),
        b.new_positions.numpy(),
        b.new_velocities.numpy(),
        b.parts.numpy(),
        p.inverse_mass.numpy(),
        p.kT.numpy(),
        p.streams.numpy(),
        np.uint64(p.seed),
        p.timestep,
        math.exp(-p.friction * p.timestep),
    )


def second_half(
    buffers: LangevinBuffers,
    bead_energy: Tensor,
    gradient: Tensor,
    parameters: LangevinParameters,
) -> None:
    """Do the last B, and take the step: write the state, and `step[0]`.

    Args:
        buffers: after `first_half`.
        bead_energy: [beads of all replicas], dtype of the positions; summed in float64.
        gradient: [beads of all replicas, 3] of the energy, the same dtype.
        parameters: those of `first_half`.
    """
    b, p = buffers, parameters
    check(buffers, bead_energy, gradient)
    match_torch_threads(1 + b.replicas * b.beads // BEADS_PER_THREAD)
    _second_half(
        b.positions.numpy(),
        b.velocities.numpy(),
        b.forces.numpy(),
        b.energy.numpy(),
        b.kinetic.numpy(),
        b.failed_step.numpy(),
        b.failed_bead.numpy(),
        b.step.numpy(),
        b.new_positions.numpy(),
        b.new_velocities.numpy(),
        b.parts.numpy(),
        bead_energy.detach().numpy(),
        gradient.detach().numpy(),
        p.inverse_mass.numpy(),
        p.timestep,
        p.move_limit,
    )


@njit(cache=True, parallel=True, nogil=True)
def _first_half(
    positions,
    velocities,
    forces,
    failed_step,
    step,
    new_positions,
    new_velocities,
    parts,
    inverse_mass,
    kT,  # noqa: N803 (the physicists' name)
    streams,
    seed,
    timestep,
    keep,
):
    """Threads over parts of replicas."""
    real = positions.dtype.type
    replicas, beads = positions.shape[0], positions.shape[1]
    count = parts.shape[1]
    half, kept = real(0.5 * timestep), real(keep)
    fluctuation = real(1.0 - keep * keep)
    for unit in prange(replicas * count):
        replica, part = unit // count, unit % count
        stopped = failed_step[replica] >= 0
        kinetic, farthest, farthest_bead = 0.0, real(-1.0), part * PART
        for bead in range(part * PART, min((part + 1) * PART, beads)):
            spread = real(math.sqrt(fluctuation * kT[replica] * inverse_mass[bead]))
            noise = _gaussian(seed, np.uint64(streams[replica]), np.uint64(step[0]), bead, real)
            moved, speed = real(0.0), 0.0
            for axis in range(3):
                x = positions[replica, bead, axis]
                v = velocities[replica, bead, axis]
                v = v + half * inverse_mass[bead] * forces[replica, bead, axis]
                new = x + half * v
                v = kept * v + spread * noise[axis]
                new = new + half * v
                if stopped:
                    new = x
                new_positions[replica, bead, axis] = new
                new_velocities[replica, bead, axis] = v
                moved += (new - x) * (new - x)
                speed += np.float64(v) * np.float64(v)
            kinetic += 0.5 * speed / np.float64(inverse_mass[bead])
            moved = real(math.sqrt(moved))
            if not math.isfinite(moved):
                moved = real(np.inf)
            if moved > farthest:
                farthest, farthest_bead = moved, bead
        parts[replica, part, 0] = kinetic
        parts[replica, part, 1] = farthest
        parts[replica, part, 2] = farthest_bead
    step[1] = step[0] + 1


@njit(cache=True, parallel=True, nogil=True)
def _second_half(
    positions,
    velocities,
    forces,
    energy,
    kinetic,
    failed_step,
    failed_bead,
    step,
    new_positions,
    new_velocities,
    parts,
    bead_energy,
    gradient,
    inverse_mass,
    timestep,
    move_limit,
):
    """Threads over replicas."""
    real = positions.dtype.type
    beads, half = positions.shape[1], real(0.5 * timestep)
    for replica in prange(positions.shape[0]):
        if failed_step[replica] >= 0:
            continue
        total = 0.0
        for bead in range(beads):
            total += np.float64(bead_energy[replica * beads + bead])
        farthest, farthest_bead, moving = -1.0, 0.0, 0.0
        for part in range(parts.shape[1]):
            moving += parts[replica, part, 0]
            if parts[replica, part, 1] > farthest:
                farthest, farthest_bead = parts[replica, part, 1], parts[replica, part, 2]
        if farthest > move_limit or not math.isfinite(total):
            failed_step[replica] = step[1]
            failed_bead[replica] = np.int64(farthest_bead)
            continue
        energy[replica], kinetic[replica] = total, moving
        for bead in range(beads):
            kick = half * inverse_mass[bead]
            for axis in range(3):
                force = -gradient[replica * beads + bead, axis]
                velocity = new_velocities[replica, bead, axis] + kick * force
                positions[replica, bead, axis] = new_positions[replica, bead, axis]
                velocities[replica, bead, axis] = velocity
                forces[replica, bead, axis] = force
    step[0] = step[1]


@njit(cache=True)
def _gaussian(seed, stream, step, bead, real):
    """Return three standard normal numbers."""
    c0, c1, c2, c3 = np.uint64(bead), stream, step & _MASK, step >> _WORD
    k0, k1 = seed & _MASK, seed >> _WORD
    for _ in range(10):
        product_0, product_1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1 = (product_1 >> _WORD) ^ c1 ^ k0, product_1 & _MASK
        c2, c3 = (product_0 >> _WORD) ^ c3 ^ k1, product_0 & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    # float32 may round the largest to exactly 1; log(1) = 0 is harmless, log(0) cannot happen.
    u0, u1, u2, u3 = _unit(c0, real), _unit(c1, real), _unit(c2, real), _unit(c3, real)
    two_pi = real(2.0 * math.pi)
    radius_a = math.sqrt(real(-2.0) * math.log(u0))
    radius_b = math.sqrt(real(-2.0) * math.log(u2))
    return (
        real(radius_a * math.cos(two_pi * u1)),
        real(radius_a * math.sin(two_pi * u1)),
        real(radius_b * math.cos(two_pi * u3)),
    )


@njit(cache=True)
def _unit(word, real):
    """Return a number between 0 and 1 from 32 random bits."""
    return (real(word) + real(0.5)) * real(2.0**-32)
