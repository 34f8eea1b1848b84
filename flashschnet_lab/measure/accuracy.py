"""How exact forces are: against float64 and the reference operators, on the same positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flashschnet_lab.system import System, build_force_field

LIMITS = {"float32": 1e-4, "float64": 1e-9}
"""Largest relative force error with which a plan may show a speed, by precision."""


def force_error(systems: Sequence[System], positions: Tensor, forces: Tensor) -> float:
    """Return |F - F64| / |F64|, the norms over all beads.

    Args:
        systems: the molecules, in order.
        positions: [molecules, beads, 3] in angstrom, on any device.
        forces: what is judged, shape of `positions`, kcal/mol/A.
    """
    exact = build_force_field(systems, device=positions.device, dtype=torch.float64)
    reference = exact(positions.double()).forces
    return float((forces.double() - reference).norm() / reference.norm())
