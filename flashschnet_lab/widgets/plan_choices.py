"""From switches to a plan: what can run here, and what a choice of implementations means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields

import torch

from flashschnet_kernels.implementations import IMPLEMENTATIONS
from flashschnet_kernels.plan import (
    FLASH,
    PLANS,
    PRECISION_CLASSES,
    KernelPlan,
    available,
    parse_plan,
)
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.capture import why_not
from flashschnet_lab.system import System

SWITCHED = tuple(field.name for field in fields(KernelPlan) if field.name != "neighbors")
"""Operators with a switch. The list of neighbours is what the others read, so it follows them."""

PRESETS = (*reversed(PLANS), *reversed(FLASH), *PRECISION_CLASSES)
"""Plans with a name of their own, the baseline first."""


def implementations(operator: str, device: torch.device) -> list[str]:
    """Return the implementations of an operator that can run on a device."""
    return [a.implementation for a in available(device) if a.operator == operator and a.usable]


def reasons(operator: str, names: list[str]) -> list[str]:
    """Return why one would choose each implementation."""
    return [IMPLEMENTATIONS[operator][name].reason for name in names]


def switches_of(plan: KernelPlan) -> dict[str, str]:
    """Return the position of every switch for a plan."""
    return {operator: name for operator, name in asdict(plan).items() if operator in SWITCHED}


def assemble(switches: Mapping[str, str]) -> KernelPlan:
    """Return the plan of switches, with the list of neighbours that they read.

    Args:
        switches: implementation by operator, all of `SWITCHED`.

    Raises:
        UserError: implementations that do not work together, with what to choose instead.
    """
    passing, neighbors = switches["message_passing"], "reference"
    if passing == "triton":
        neighbors = "tiles"
    elif passing == "cpu" or switches["aggregation"] != "reference":
        neighbors = "verlet"
    try:
        return KernelPlan(neighbors=neighbors, **switches)
    except ValueError as error:
        raise UserError(str(error)) from error


def on_gpu(plan: KernelPlan) -> KernelPlan | None:
    """Return the plan with the same switches on a GPU, or None where there is none.

    A compiled convolution becomes the Triton one, and so on. On a CPU some plans leave the priors
    to PyTorch that a GPU fuses, so a plan with a name is looked up by it.
    """
    if plan.name in PRESETS:
        return parse_plan(plan.name, "cuda")
    swapped = {o: "triton" if name == "cpu" else name for o, name in switches_of(plan).items()}
    try:
        return assemble(swapped)
    except UserError:
        return None


def explain(plan: KernelPlan, system: System, device: torch.device) -> str:
    """Return what runs for each operator and why, and why steps are not one CUDA graph."""
    has_network = system.model.network is not None
    reason = why_not(plan, has_network, integrator="langevin", device=device)
    replay = f"not replayed as a CUDA graph: {reason}" if reason else "replayed as a CUDA graph"
    return f"plan {plan.name}\n\n{plan.explain()}\n\nsteps are {replay}"
