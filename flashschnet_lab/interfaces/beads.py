"""What both drivers are told about a protein's beads, and which force field they drive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.system import System, force_field_under

if TYPE_CHECKING:
    from flashschnet_lab.potentials.sum import ForceField

INSTALL = 'pip install "flashschnet-lab[interfaces]"'
ATOMIC_NUMBERS = {"N": 7, "CA": 6, "CB": 6, "C": 6, "O": 8}
"""A bead sits on an atom and has its mass, so it goes by that atom's element."""


def atomic_numbers(protein: Protein) -> np.ndarray:
    """Return the atomic number of the atom that each bead sits on, [beads] int64."""
    return np.array([ATOMIC_NUMBERS[name] for name in protein.bead_names], dtype=np.int64)


def floating_type(dtype: str | torch.dtype) -> torch.dtype:
    """Return torch.float32 or torch.float64, by name or as it is.

    Raises:
        UserError: another one.
    """
    for known in (torch.float32, torch.float64):
        if dtype in (known, str(known).removeprefix("torch.")):
            return known
    raise UserError(f"dtype {dtype} is unknown; use float32 or float64")


def driven_force_field(
    systems: Sequence[System],
    plan: KernelPlan | str | None,
    device: torch.device,
    dtype: torch.dtype,
) -> ForceField:
    """Return the force field of molecules laid end to end, for a driver that is not ours.

    Args:
        systems: one per molecule.
        plan: a plan, its name, or None for the one that a `Simulation` has by default.
        device: where it runs.
        dtype: of positions and weights.

    Raises:
        UserError: an unknown or unusable plan, or systems that do not mix.
    """
    from flashschnet_lab.cli_choices import plan_named

    chosen = plan_named(plan, str(device)) if isinstance(plan, str) else plan
    return force_field_under(chosen, systems, device=device, dtype=dtype)
