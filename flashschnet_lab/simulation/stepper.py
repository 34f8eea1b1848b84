"""What makes the steps of a simulation: fused kernels, CUDA graphs, or the integrator itself."""

from __future__ import annotations

from torch import Tensor

from flashschnet_lab.potentials.sum import ForceField
from flashschnet_lab.simulation.capture import CapturedStep
from flashschnet_lab.simulation.fused_step import FusedStep, fuses
from flashschnet_lab.simulation.integrators import INTEGRATORS
from flashschnet_lab.simulation.noise import NoiseBlocks
from flashschnet_lab.simulation.settings import Settings
from flashschnet_lab.simulation.state import Dynamics, State

Stepper = CapturedStep | FusedStep
"""Makes many steps at a time."""


def make_stepper(
    force_field: ForceField,
    dynamics: Dynamics,
    settings: Settings,
    streams: Tensor,
    noise: NoiseBlocks,
    state: State,
    capture: bool,
) -> Stepper | None:
    """Return what makes the steps, or nothing where the integrator itself does.

    Args:
        force_field: its plan decides.
        dynamics: constants, forces and noise.
        settings: integrator and seed.
        streams: [replicas] int64 on the device.
        noise: of the reference integrators.
        state: any state of the simulation, from which steps are captured.
        capture: replay steps as a CUDA graph.
    """
    if fuses(force_field.plan, settings.integrator):
        implementation = force_field.plan.langevin
        gradient = force_field.gradient
        return FusedStep(gradient, dynamics, settings.seed, streams, implementation, state, capture)
    if capture:
        advance = INTEGRATORS[settings.integrator]
        return CapturedStep(advance, dynamics, state, noise.block, noise.length)
    return None
