"""What a simulation hands out: frames. A reporter is any callable that takes one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Frame:
    """All replicas at one step, on the host.

    Attributes:
        step: time steps since the start.
        time_ps: simulated time in picoseconds.
        positions: [replicas, beads, 3] float32 in angstrom.
        potential_energy: [replicas] float64 in kcal/mol.
        kinetic_energy: [replicas] float64 in kcal/mol.
        temperature: [replicas] float64, kinetic temperature in kelvin.
        restraint_energy: [replicas] float64 in kcal/mol, no part of the potential energy; None
            without restraints.
        restrained: [replicas, restraints] float64, the value of every restrained coordinate in its
            unit; None likewise.
    """

    step: int
    time_ps: float
    positions: np.ndarray
    potential_energy: np.ndarray
    kinetic_energy: np.ndarray
    temperature: np.ndarray
    restraint_energy: np.ndarray | None = None
    restrained: np.ndarray | None = None


Reporter = Callable[[Frame], None]
