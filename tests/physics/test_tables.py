"""Tables of filters move a protein as its network does: energy stays, forces are its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.loading import load_system
from flashschnet_lab.potentials.tables import CLASSES
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.receipt import energy_drift
from flashschnet_lab.system import System, build_force_field
from flashschnet_lab.units import BOLTZMANN

pytestmark = pytest.mark.physics

TEMPERATURE = 300.0
TIMESTEP_FS = 2.0
STEPS = 200
FLOOR = 0.1 * BOLTZMANN * TEMPERATURE
"""Drift, kcal/mol per ns and degree of freedom, below which the length of the run decides."""


@pytest.fixture(scope="module")
def warm() -> System:
    """Chignolin as a thermostat leaves it."""
    system = load_system("chignolin")
    simulation = Simulation(
        system, 1, TEMPERATURE, device="cpu", friction=5.0, timestep_fs=TIMESTEP_FS, seed=3
    )
    simulation.run(100)
    return system.with_positions(simulation.state.positions[0].double().numpy())


def total_energies(system: System, plan: KernelPlan) -> tuple[np.ndarray, np.ndarray]:
    """Return times in ps [frames] and total energies [frames, 1] of an NVE run in float64."""
    simulation = Simulation(
        system,
        1,
        TEMPERATURE,
        device="cpu",
        integrator="verlet",
        dtype="float64",
        timestep_fs=TIMESTEP_FS,
        plan=plan,
    )
    frames = [simulation.frame(), *simulation.iterate(STEPS, every=2)]
    energies = [frame.potential_energy + frame.kinetic_energy for frame in frames]
    return np.array([frame.time_ps for frame in frames]), np.array(energies)


@pytest.fixture(scope="module")
def exact(warm) -> tuple[np.ndarray, np.ndarray]:
    return total_energies(warm, KernelPlan())


@pytest.mark.parametrize("name", CLASSES)
def test_energy_is_conserved_as_with_the_network(warm, exact, name):
    degrees = 3 * warm.protein.beads
    times, energies = total_energies(warm, KernelPlan(filters=f"table-{name}"))
    assert float(energies.std()) < 1.1 * float(exact[1].std())
    drift = abs(energy_drift(times, energies, degrees))
    assert drift < max(FLOOR, 1.1 * abs(energy_drift(*exact, degrees)))


@pytest.mark.parametrize("name", CLASSES)
def test_forces_are_the_gradient_of_the_energy(warm, name):
    """By finite differences in float64, along random directions, the envelope included."""
    force_field = build_force_field(
        [warm], dtype=torch.float64, plan=KernelPlan(filters=f"table-{name}")
    )
    x = torch.from_numpy(warm.protein.positions)
    forces = force_field(x).forces
    generator = torch.Generator().manual_seed(5)
    for _ in range(3):
        way = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        step = 1e-6
        ahead, behind = (force_field(x + sign * step * way).energy for sign in (1.0, -1.0))
        finite = float(behind - ahead) / (2 * step)
        assert float((forces * way).sum()) == pytest.approx(finite, rel=1e-5, abs=1e-4)
