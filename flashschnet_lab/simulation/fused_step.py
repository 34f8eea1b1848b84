"""A Langevin step in few launches: two kernels around the force field, on buffers of their own.

Nothing is allocated or looked at by the host within a step, so that many steps are one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flashschnet_kernels.langevin.parameters import LangevinParameters, allocate
from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.capture import StepGraphs
from flashschnet_lab.simulation.state import FIELDS, Dynamics, State

Gradient = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Positions [replicas, beads, 3] to energies [beads of all] and gradient [beads of all, 3]."""


def fuses(plan: KernelPlan, integrator: str) -> bool:
    """Return whether steps are made by the kernels of `langevin`."""
    return plan.langevin != "reference" and integrator == "langevin"


def check_dtype(plan: KernelPlan, integrator: str, dtype: torch.dtype) -> None:
    """Refuse a precision that the kernels do not have.

    Raises:
        UserError: it and what to choose.
    """
    if fuses(plan, integrator) and plan.langevin == "triton" and dtype != torch.float32:
        raise UserError(
            "langevin=triton works in float32; for float64 use --plan reference, or "
            "langevin=reference"
        )


class FusedStep:
    """Langevin steps in place.

    Args:
        gradient: of the force field.
        dynamics: constants; its noise and forces are not called.
        seed: key of the random streams.
        streams: [replicas] int64 on the device.
        implementation: of the operator `langevin`.
        state: any state of the simulation.
        capture: replay CUDA graphs of many steps.
    """

    def __init__(
        self,
        gradient: Gradient,
        dynamics: Dynamics,
        seed: int,
        streams: Tensor,
        implementation: str,
        state: State,
        capture: bool,
    ) -> None:
        x = state.positions
        self._gradient = gradient
        self._kernels = _kernels(implementation)
        self._buffers = allocate(x.shape[0], x.shape[1], x.dtype, x.device)
        self._parameters = LangevinParameters(
            inverse_mass=dynamics.inverse_mass.flatten(),
            kT=dynamics.kT.flatten(),
            streams=streams,
            seed=seed,
            timestep=dynamics.timestep,
            friction=dynamics.friction,
            move_limit=dynamics.move_limit,
        )
        self._graphs: StepGraphs | None = None
        if capture:
            self._load(state)
            self._graphs = StepGraphs(self._one_step, x.device)

    def run(self, state: State, steps: int, stopped: Callable[[], bool]) -> State:
        """Return the state after so many steps, or fewer if `stopped` says so."""
        self._load(state)
        done = 0
        if self._graphs is not None:
            self._graphs.replay(steps)
            done = steps
        while done < steps and not stopped():
            self._one_step()
            done += 1
        fields = {name: getattr(self._buffers, name).clone() for name in FIELDS}
        return State(step=state.step + done, **fields)

    def _load(self, state: State) -> None:
        for name in FIELDS:
            getattr(self._buffers, name).copy_(getattr(state, name))
        self._buffers.step.fill_(state.step)

    def _one_step(self) -> None:
        self._kernels.first_half(self._buffers, self._parameters)
        bead_energy, gradient = self._gradient(self._buffers.new_positions)
        self._kernels.second_half(self._buffers, bead_energy, gradient, self._parameters)


def _kernels(implementation: str) -> Any:
    """Return the module with `first_half` and `second_half`."""
    if implementation == "triton":
        from flashschnet_kernels.langevin import triton

        return triton
    if implementation == "cpu":
        from flashschnet_kernels.langevin import cpu

        return cpu
    from flashschnet_kernels.langevin import reference

    return reference
