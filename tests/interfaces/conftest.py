"""A small protein, and what moves it in float64 with our own integrator."""

from __future__ import annotations

import pytest

from flashschnet_kernels.plan import REFERENCE
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.system import System
from tests.tiny_system import tiny_system

TIMESTEP_FS = 2.0


@pytest.fixture(scope="session")
def system() -> System:
    return tiny_system()


@pytest.fixture
def ours(system: System) -> Simulation:
    """Two replicas at 300 K without a thermostat, in float64 and plain PyTorch."""
    return Simulation(
        system,
        2,
        device="cpu",
        plan=REFERENCE,
        dtype="float64",
        integrator="verlet",
        timestep_fs=TIMESTEP_FS,
    )
