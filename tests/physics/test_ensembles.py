"""What a simulation must obey, on small systems with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from flashschnet_kernels.langevin.reference import gaussian_noise
from flashschnet_lab.loading import load_system, structure_based_model
from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.integrators import INTEGRATORS
from flashschnet_lab.simulation.receipt import energy_drift
from flashschnet_lab.simulation.state import Dynamics, State, kinetic_energy
from flashschnet_lab.system import System
from flashschnet_lab.units import BOLTZMANN, KCAL_PER_MOL, thermal_energy

pytestmark = pytest.mark.physics

TEMPERATURE = 300.0
KT = thermal_energy(TEMPERATURE)
MASS = 12.0


@pytest.fixture(scope="module")
def hairpin() -> System:
    """Chignolin with the structure-based potential: priors and contacts, cheap."""
    protein = embedded_protein("chignolin").protein
    return System(protein, structure_based_model(protein), protein.positions)


def oscillators(integrator: str, timestep: float, friction: float, steps: int, skip: int):
    """Run 4,000 independent harmonic oscillators, k = 50 kcal/mol/A^2, and collect x and v."""
    k, beads, replicas = 50.0, 1000, 4
    shape = (replicas, beads, 3)
    streams = torch.arange(replicas)

    def evaluate(x):
        return 0.5 * k * x.double().square().sum((1, 2)), -k * x

    dynamics = Dynamics(
        evaluate=evaluate,
        noise=lambda step: gaussian_noise(1, streams, step, 1, beads, torch.float64)[0],
        inverse_mass=torch.full((beads, 1), KCAL_PER_MOL / MASS, dtype=torch.float64),
        kT=torch.full((replicas, 1, 1), KT, dtype=torch.float64),
        timestep=timestep,
        friction=friction,
        move_limit=math.inf,
    )
    x = math.sqrt(KT / k) * gaussian_noise(2, streams, 0, 1, beads, torch.float64)[0]
    v = math.sqrt(KT * KCAL_PER_MOL / MASS) * gaussian_noise(3, streams, 0, 1, beads, x.dtype)[0]
    never = torch.full((replicas,), -1)
    energy, forces = evaluate(x)
    kinetic = kinetic_energy(v, dynamics.inverse_mass)
    state = State(0, x, v, forces, energy, kinetic, never, never)
    squared, kinetic_sum, kept = torch.zeros((), dtype=torch.float64), 0.0, 0
    for _ in range(steps):
        state = INTEGRATORS[integrator](state, dynamics)
        if state.step > skip:
            squared += state.positions.square().mean()
            kinetic_sum += state.kinetic.sum().item() / math.prod(shape)
            kept += 1
    return (squared / kept).item() * k / KT, 2.0 * kinetic_sum / kept / KT, state


@pytest.mark.parametrize(
    ("integrator", "timestep", "friction"),
    [("langevin", 0.004, 1.0), ("langevin", 0.01, 10.0), ("brownian", 0.004, 20.0)],
)
def test_variance_of_a_harmonic_oscillator(integrator, timestep, friction):
    """<x^2> = kT / k: exact for BAOAB and for the overdamped scheme at any stable step."""
    ratio, _, _ = oscillators(integrator, timestep, friction, steps=1500, skip=100)
    assert ratio == pytest.approx(1.0, abs=0.015)


def test_equipartition_and_the_maxwell_distribution():
    _, kinetic, state = oscillators("langevin", 0.004, 5.0, steps=400, skip=50)
    assert kinetic == pytest.approx(1.0, abs=0.01)
    omega = math.sqrt(50.0 * KCAL_PER_MOL / MASS)
    colder = 1.0 - (omega * 0.004) ** 2 / 4  # velocities at the end of a BAOAB step
    v = (state.velocities / math.sqrt(colder * KT * KCAL_PER_MOL / MASS)).flatten().numpy()
    # Kolmogorov-Smirnov distance to the normal distribution; 1.63 / sqrt(n) is the 1 % level.
    v.sort()
    normal = 0.5 * (1 + torch.erf(torch.from_numpy(v) / math.sqrt(2))).numpy()
    empirical = (np.arange(len(v)) + 0.5) / len(v)
    assert np.abs(normal - empirical).max() < 1.63 / math.sqrt(len(v))


def test_equipartition_of_a_protein(hairpin):
    simulation = Simulation(hairpin, 16, TEMPERATURE, device="cpu", friction=5.0, timestep_fs=2.0)
    simulation.run(200)
    temperatures = [f.temperature.mean() for f in simulation.iterate(600, every=5)]
    # 16 x 147 degrees of freedom, about 25 independent samples: one standard error is 0.6 %.
    assert np.mean(temperatures) == pytest.approx(TEMPERATURE, rel=0.03)


def energy_error(system: System, timestep_fs: float) -> float:
    """Return the largest deviation of the total energy over 0.2 ps of NVE, kcal/mol."""
    simulation = Simulation(
        system,
        device="cpu",
        integrator="verlet",
        dtype="float64",
        timestep_fs=timestep_fs,
        seed=4,
    )
    energies = simulation.energies()
    start = energies["potential"] + energies["kinetic"]
    worst = 0.0
    for frame in simulation.iterate(round(200 / timestep_fs), every=1):
        worst = max(worst, abs((frame.potential_energy + frame.kinetic_energy - start).item()))
    return worst


def test_nve_is_second_order(hairpin):
    """Half the time step, a quarter of the energy error."""
    errors = [energy_error(hairpin, timestep) for timestep in (4.0, 2.0, 1.0)]
    ratios = [coarse / fine for coarse, fine in zip(errors, errors[1:], strict=False)]
    assert all(3.0 < ratio < 5.5 for ratio in ratios), ratios


def test_nve_of_the_trained_network_is_second_order():
    errors = [energy_error(load_system("chignolin"), timestep) for timestep in (2.0, 1.0)]
    assert 3.0 < errors[0] / errors[1] < 5.5


def test_nve_does_not_drift(hairpin):
    simulation = Simulation(
        hairpin,
        2,
        device="cpu",
        integrator="verlet",
        dtype="float64",
        timestep_fs=1.0,
        seed=6,
    )
    times, energies = [], []
    for frame in simulation.iterate(1500, every=5):
        times.append(frame.time_ps)
        energies.append(frame.potential_energy + frame.kinetic_energy)
    drift = energy_drift(np.array(times), np.array(energies), 3 * 49)
    assert abs(drift) < 0.1 * BOLTZMANN * TEMPERATURE  # kcal/mol per ns and degree of freedom


def test_momentum_is_conserved():
    simulation = Simulation(load_system("chignolin"), device="cpu", dtype="float64")
    assert simulation.state.forces.sum(1).abs().max() < 1e-9
