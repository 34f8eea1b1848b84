"""How exact forces are: against float64 and the reference operators, on the same positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.measure.stages import choice
from flashschnet_lab.potentials.sum import ForceField
from flashschnet_lab.potentials.tables import CLASSES
from flashschnet_lab.system import System, build_force_field

LIMITS = {"float64": 1e-9, "float32": 1e-5, "tf32": 1e-2, "fp16": 1e-3, "bf16": 1e-2} | {
    name: kind.promise for name, kind in CLASSES.items()
}
"""Largest relative force error with which a plan may show a speed, by its coarsest arithmetic and
the precision class of its table of filters."""

STEEP = 2.0
"""A plan of float32 may err this many times as much as the definitions in float32, where these miss
the limit themselves: steep filters lose digits of every distance, whatever computes them."""

COMPILER = "inductor"
"""Backend of torch.compile."""

JUDGED_REPLICAS = 4
"""Replicas whose forces are computed again in float64: first, last, and between."""


def force_limit(plan: object, precision: str) -> float:
    """Return the largest force error that a plan may have in a precision."""
    quantization = choice(plan, "quantization")
    limit = LIMITS[precision if quantization == "none" else quantization]
    table_class = choice(plan, "filters").removeprefix("table-")
    # A class promises what comes of all that its plan rounds, 16-bit bead work included.
    return limit if table_class == "network" else max(limit, LIMITS[table_class])


def steep_limit(system: System, positions: Tensor) -> float:
    """Return what a plan of float32 may err on a network that float32 cannot evaluate better.

    Args:
        system: with a network.
        positions: [replicas, beads, 3] float32 in angstrom, where the plan was judged.
    """
    error = network_force_error(system, positions, KernelPlan())
    return STEEP * (error or 0.0)


def force_error(systems: Sequence[System], positions: Tensor, forces: Tensor) -> float:
    """Return |F - F64| / |F64|, the norms over all beads.

    One molecule at a time, so that float64 needs little memory.

    Args:
        systems: the molecules, in order.
        positions: [molecules, beads, 3] in angstrom, on any device.
        forces: what is judged, shape of `positions`, kcal/mol/A.
    """
    of, wrong, norm = None, 0.0, 0.0
    for number, system in enumerate(systems):
        if of is not system:
            exact = build_force_field([system], device=positions.device, dtype=torch.float64)
            of = system
        reference = exact(positions[number].double()).forces
        wrong += float((forces[number].double() - reference).square().sum())
        norm += float(reference.square().sum())
    return (wrong / norm) ** 0.5


def total_force_error(system: System, positions: Tensor, forces: Tensor) -> float:
    """Return the force error of replicas of one system, judged on a few of them.

    Priors dominate the norm of the total force, so this error flatters the network.

    Args:
        system: protein and model.
        positions: [replicas, beads, 3] in angstrom.
        forces: what is judged, shape of `positions`.
    """
    judged = _judged(len(positions))
    return force_error([system] * len(judged), positions[judged], forces[judged])


def network_force_error(
    system: System, positions: Tensor, plan: KernelPlan, *, compiled: bool = False
) -> float | None:
    """Return the force error of the network alone, or None for a model without one.

    The plan evaluates all replicas at once, as a simulation does; a few of them are judged.

    Args:
        system: protein and model.
        positions: [replicas, beads, 3] in angstrom; their dtype and device are judged.
        plan: what is judged.
        compiled: judge the network under torch.compile.
    """
    if system.model.network is None:
        return None
    alone = network_alone(system)
    force_field = build_force_field(
        [alone] * len(positions), device=positions.device, dtype=positions.dtype, plan=plan
    )
    if compiled:
        compile_network(force_field)
    forces = force_field(positions).forces
    del force_field
    return total_force_error(alone, positions, forces)


def network_alone(system: System) -> System:
    """Return a system whose model has the network, without priors and native contacts."""
    return replace(system, model=replace(system.model, prior=None, contacts=None))


def compile_network(force_field: ForceField) -> None:
    """Let torch.compile make kernels of a force field's network, in place; it does so when called.

    The numbers of pairs may change from call to call without compiling again.
    """
    if force_field.network is not None:
        force_field.network.compile(dynamic=True, backend=COMPILER)


def _judged(replicas: int) -> list[int]:
    """Return a few replicas, spread over the batch."""
    few = min(JUDGED_REPLICAS, replicas)
    return [round(k * (replicas - 1) / max(1, few - 1)) for k in range(few)]
