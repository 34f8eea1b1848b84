"""A Langevin step in two launches: noise, kicks and drifts; the last kick, sums and guards.

See `reference.py` for what is computed. The noise is made where it is used and never stored.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from flashschnet_kernels.ahead_of_time import Specialisation
from flashschnet_kernels.langevin.parameters import (
    PART,
    LangevinBuffers,
    LangevinParameters,
    check,
    parts_of,
)
from flashschnet_kernels.launching import FMA

SUM_BLOCK = 1024
"""Energies of beads that one program adds up at a time."""
NUM_WARPS = 4


def first_half(buffers: LangevinBuffers, parameters: LangevinParameters) -> None:
    """Do B A O A, as `reference.first_half`; float32.

    Raises:
        ValueError: another dtype.
    """
    b, p = buffers, parameters
    if b.positions.dtype != torch.float32:
        raise ValueError(
            f"langevin=triton works in float32, not {b.positions.dtype}; use langevin=reference"
        )
    keep = math.exp(-p.friction * p.timestep)
    first_half_kernel[(parts_of(b.beads), b.replicas)](
        b.positions,
        b.velocities,
        b.forces,
        b.failed_step,
        b.step,
        p.inverse_mass,
        p.kT,
        p.streams,
        b.new_positions,
        b.new_velocities,
        b.parts,
        b.beads,
        _signed(p.seed),
        _signed(p.seed >> 32),
        0.5 * p.timestep,
        keep,
        1.0 - keep * keep,
        PART=PART,
        num_warps=NUM_WARPS,
        **FMA,
    )


def second_half(
    buffers: LangevinBuffers,
    bead_energy: Tensor,
    gradient: Tensor,
    parameters: LangevinParameters,
) -> None:
    """Do the last B and take the step, as `reference.second_half`.

    Raises:
        ValueError: energies or gradient that are not of these beads.
    """
    b, p = buffers, parameters
    check(b, bead_energy, gradient)
    parts = parts_of(b.beads)
    second_half_kernel[(parts, b.replicas)](
        b.new_positions,
        b.new_velocities,
        gradient,
        bead_energy,
        b.parts,
        p.inverse_mass,
        b.positions,
        b.velocities,
        b.forces,
        b.energy,
        b.kinetic,
        b.failed_step,
        b.failed_bead,
        b.step,
        b.beads,
        parts,
        0.5 * p.timestep,
        p.move_limit,
        PART=PART,
        PARTS=triton.next_power_of_2(parts),
        SUM_BLOCK=min(SUM_BLOCK, triton.next_power_of_2(b.beads)),
        num_warps=NUM_WARPS,
        **FMA,
    )


def _signed(word: int) -> int:
    """Return the low 32 bits as the signed number that they spell."""
    word &= 0xFFFFFFFF
    return word - (1 << 32) if word >> 31 else word


@triton.jit(do_not_specialize=["beads", "seed_low", "seed_high"])
def first_half_kernel(
    positions,  # [replicas, beads, 3], as all vectors
    velocities,
    forces,
    failed_step,
    step,
    inverse_mass,
    kT,  # noqa: N803
    streams,
    new_positions,
    new_velocities,
    parts,  # [replicas, parts, 3]
    beads,
    seed_low,
    seed_high,
    half,
    keep,
    lost,
    PART: tl.constexpr,
):
    """Move PART beads of one replica; grid (parts, replicas).

    Sums of kinetic energy in float64, in a fixed order.
    """
    part, replica = tl.program_id(0), tl.program_id(1)
    bead = part * PART + tl.arange(0, PART)
    inside = bead < beads
    at = (replica.to(tl.int64) * beads + bead) * 3
    im = tl.load(inverse_mass + bead, mask=inside, other=1.0)
    present = tl.load(step)
    spread = tl.sqrt_rn(lost * tl.load(kT + replica) * im)
    n_x, n_y, n_z = normal_numbers(bead, tl.load(streams + replica), present, seed_low, seed_high)
    stopped = tl.load(failed_step + replica) >= 0
    x, a, v_x = _moved(
        positions + at, velocities + at, forces + at, n_x, im, spread, half, keep, inside
    )
    y, b, v_y = _moved(
        positions + at + 1, velocities + at + 1, forces + at + 1, n_y, im, spread, half, keep,
        inside,
    )  # fmt: skip
    z, c, v_z = _moved(
        positions + at + 2, velocities + at + 2, forces + at + 2, n_z, im, spread, half, keep,
        inside,
    )  # fmt: skip
    a, b, c = tl.where(stopped, x, a), tl.where(stopped, y, b), tl.where(stopped, z, c)
    tl.store(new_positions + at, a, mask=inside)
    tl.store(new_positions + at + 1, b, mask=inside)
    tl.store(new_positions + at + 2, c, mask=inside)
    tl.store(new_velocities + at, v_x, mask=inside)
    tl.store(new_velocities + at + 1, v_y, mask=inside)
    tl.store(new_velocities + at + 2, v_z, mask=inside)

    v_x, v_y, v_z = v_x.to(tl.float64), v_y.to(tl.float64), v_z.to(tl.float64)
    kinetic = 0.5 * (v_x * v_x + v_y * v_y + v_z * v_z) / im.to(tl.float64)
    moved = tl.sqrt_rn((a - x) * (a - x) + (b - y) * (b - y) + (c - z) * (c - z))
    moved = tl.where(moved < float("inf"), moved, float("inf"))  # not a number is not less
    farthest, which = tl.max(tl.where(inside, moved, -1.0), 0, return_indices=True)
    of_part = parts + (replica.to(tl.int64) * tl.num_programs(0) + part) * 3
    tl.store(of_part, tl.sum(tl.where(inside, kinetic, 0.0), 0))
    tl.store(of_part + 1, farthest.to(tl.float64))
    tl.store(of_part + 2, (part * PART + which).to(tl.float64))
    if (part == 0) & (replica == 0):
        tl.store(step + 1, present + 1)


@triton.jit
def _moved(at_x, at_v, at_f, noise, im, spread, half, keep, inside):
    """Return old and new place and the new velocity in one direction."""
    x = tl.load(at_x, mask=inside, other=0.0)
    v = tl.load(at_v, mask=inside, other=0.0)
    v += half * im * tl.load(at_f, mask=inside, other=0.0)
    middle = x + half * v
    v = keep * v + spread * noise
    return x, middle + half * v, v


@triton.jit
def normal_numbers(bead, stream, step, seed_low, seed_high):
    """Return three standard normal numbers per bead: Philox4x32-10 and Box-Muller."""
    zero = (bead * 0).to(tl.uint32)
    w0, w1, w2, w3 = tl.philox_impl(
        bead.to(tl.uint32),
        zero + stream.to(tl.uint32),
        zero + (step & 0xFFFFFFFF).to(tl.uint32),
        zero + (step >> 32).to(tl.uint32),
        zero + seed_low.to(tl.uint32, bitcast=True),
        zero + seed_high.to(tl.uint32, bitcast=True),
    )
    radius_a, radius_b = _radius(w0), _radius(w2)
    turn_a, turn_b = _uniform(w1), _uniform(w3)
    return radius_a * _cosine(turn_a), radius_a * _cosine(turn_a - 0.25), radius_b * _cosine(turn_b)


@triton.jit
def _uniform(word):
    return (word.to(tl.float32) + 0.5) * 2.3283064365386963e-10  # 2^-32


@triton.jit
def _radius(word):
    """Return sqrt(-2 log u)."""
    return tl.sqrt_rn(tl.maximum(-2.0 * tl.log(_uniform(word)), 0.0))


@triton.jit
def _cosine(turn):
    """Return cos(2 pi turn) for a turn from -0.25 to 1, without reducing an angle.

    A polynomial of least greatest relative error for sin(2 pi t), |t| <= 1/4: 5e-9, far less
    than a rounding.
    """
    t = 0.25 - tl.abs(turn - tl.floor(turn + 0.5))  # exact; cos(2 pi turn) = sin(2 pi t)
    u = t * t
    p = 39.710978562385925 * u - 76.57500088247824
    p = p * u + 81.60223166355235
    p = p * u - 41.34167748602165
    p = p * u + 6.283185273828918
    return t * p


@triton.jit(do_not_specialize=["beads", "parts_of_replica"])
def second_half_kernel(
    new_positions,
    new_velocities,
    gradient,
    bead_energy,
    parts,
    inverse_mass,
    positions,
    velocities,
    forces,
    energy,
    kinetic,
    failed_step,
    failed_bead,
    step,
    beads,
    parts_of_replica,
    half,
    move_limit,
    PART: tl.constexpr,
    PARTS: tl.constexpr,
    SUM_BLOCK: tl.constexpr,
):
    """Take the step of PART beads of one replica; grid (parts, replicas).

    Every program adds up the energy of its whole replica by itself, in float64 and in the same
    order: all come to the same verdict, and none waits for another.
    """
    part, replica = tl.program_id(0), tl.program_id(1)
    of_replica = replica.to(tl.int64) * beads
    total = tl.zeros((SUM_BLOCK,), tl.float64)
    for first in range(0, beads, SUM_BLOCK):
        bead = first + tl.arange(0, SUM_BLOCK)
        total += tl.load(bead_energy + of_replica + bead, mask=bead < beads, other=0.0).to(
            tl.float64
        )
    new_energy = tl.sum(total, 0)
    every = tl.arange(0, PARTS)
    of_part = parts + (replica.to(tl.int64) * parts_of_replica + every) * 3
    real = every < parts_of_replica
    farthest, which = tl.max(tl.load(of_part + 1, mask=real, other=-1.0), 0, return_indices=True)
    # A replica's first program may already have noted a new failure: then it is not alive, and
    # stays all the same.
    alive = tl.load(failed_step + replica) < 0
    good = (farthest <= move_limit) & (tl.abs(new_energy) < float("inf"))
    go = alive & good

    bead = part * PART + tl.arange(0, PART)
    at = (of_replica + bead) * 3
    inside = bead < tl.where(go, beads, 0)
    pull = half * tl.load(inverse_mass + bead, mask=inside, other=0.0)
    for axis in tl.static_range(3):
        force = -tl.load(gradient + at + axis, mask=inside, other=0.0)
        x = tl.load(new_positions + at + axis, mask=inside, other=0.0)
        v = tl.load(new_velocities + at + axis, mask=inside, other=0.0) + pull * force
        tl.store(positions + at + axis, x, mask=inside)
        tl.store(velocities + at + axis, v, mask=inside)
        tl.store(forces + at + axis, force, mask=inside)
    if part == 0:
        made = tl.load(step + 1)
        total_kinetic = tl.sum(tl.load(of_part, mask=real, other=0.0), 0)
        tl.store(energy + replica, new_energy, mask=go)
        tl.store(kinetic + replica, total_kinetic, mask=go)
        at_bead = parts + (replica.to(tl.int64) * parts_of_replica + which) * 3 + 2
        new = alive & (good == 0)
        tl.store(failed_bead + replica, tl.load(at_bead).to(tl.int64), mask=new)
        tl.store(failed_step + replica, made, mask=new)
        if replica == 0:
            tl.store(step, made)


def specialisations() -> list[Specialisation]:
    """Return the variants that the two halves launch."""
    vectors = dict.fromkeys(
        ("positions", "velocities", "forces", "new_positions", "new_velocities"), "*fp32"
    )
    shared = {"failed_step": "*i64", "step": "*i64", "inverse_mass": "*fp32", "parts": "*fp64"}
    common = vectors | shared | {"beads": "i32", "half": "fp32"}
    first = common | {"kT": "*fp32", "streams": "*i64", "keep": "fp32", "lost": "fp32"}
    first |= {"seed_low": "i32", "seed_high": "i32"}
    second = common | {"gradient": "*fp32", "bead_energy": "*fp32", "failed_bead": "*i64"}
    second |= {"energy": "*fp64", "kinetic": "*fp64"}
    second |= {"parts_of_replica": "i32", "move_limit": "fp32"}
    found = [Specialisation(first_half_kernel, first, {"PART": PART}, NUM_WARPS)]
    for beads in (49, 269, 20000):
        constants = {
            "PART": PART,
            "PARTS": triton.next_power_of_2(parts_of(beads)),
            "SUM_BLOCK": min(SUM_BLOCK, triton.next_power_of_2(beads)),
        }
        found.append(Specialisation(second_half_kernel, second, constants, NUM_WARPS))
    return found
