"""What parallel tempering must obey: the canonical distribution, at every temperature, with proof.

Beads in tilted double wells, whose populations are known by quadrature. At 300 K no bead crosses
the barrier within a run; only tempering can bring the populations right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from flashschnet_kernels.plan import REFERENCE
from flashschnet_lab.analysis.reweighting import tempering_weights
from flashschnet_lab.loading import default_prior
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.exchange import Tempering, swap
from flashschnet_lab.simulation.exchange_record import Exchanges, acceptance, round_trips
from flashschnet_lab.simulation.temperature_ladder import geometric_ladder
from flashschnet_lab.system import Model, System
from flashschnet_lab.units import BOLTZMANN, thermal_energy

pytestmark = pytest.mark.physics

BARRIER, TILT, WIDTH = 4.0, 0.4, 1.2  # kcal/mol, kcal/mol, angstrom
STIFFNESS = 10.0  # kcal/mol/A^2, across
LADDER = geometric_ladder(300.0, 1000.0, 4)
LADDERS = 48
STEPS, EVERY, SETTLING = 7500, 15, 2500


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tensors of a few thousand numbers are no work for two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def well(x):
    """Energy of one bead along x, kcal/mol; deeper at negative x."""
    return BARRIER * ((x / WIDTH) ** 2 - 1.0) ** 2 + TILT * x / WIDTH


def double_wells(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Energies and forces of beads that are each for themselves in a well along x."""
    x, across = positions[..., 0], positions[..., 1:]
    energy = well(x).double().sum(1)
    energy += 0.5 * STIFFNESS * across.double().square().sum((1, 2))
    slope = 4.0 * BARRIER * x / WIDTH**2 * ((x / WIDTH) ** 2 - 1.0) + TILT / WIDTH
    return energy, -torch.cat([slope[..., None], STIFFNESS * across], dim=-1)


def in_the_upper_wells(replicas: int) -> Simulation:
    """A simulation at 300 K of beads that all start in the well of higher energy."""
    protein = build_chain("G", "extended")
    system = System(protein, Model("wells", default_prior("five_bead")))
    simulation = Simulation(
        system, replicas, 300.0, device="cpu", plan=REFERENCE, timestep_fs=8.0, friction=2.0
    )
    simulation.dynamics = replace(simulation.dynamics, evaluate=double_wells)
    positions = torch.zeros_like(simulation.state.positions)
    positions[..., 0] = WIDTH
    energy, forces = double_wells(positions)
    simulation.state = replace(simulation.state, positions=positions, energy=energy, forces=forces)
    return simulation


@dataclass(frozen=True)
class Run:
    """A tempering run: x [frames, rungs, ladders, beads], energies and temperatures likewise."""

    x: np.ndarray
    kinetic_temperature: np.ndarray
    energies: np.ndarray  # [frames, replicas]
    x_by_replica: np.ndarray
    drawn_at: np.ndarray
    exchanges: Exchanges


@pytest.fixture(scope="module")
def run() -> Run:
    tempering = Tempering(in_the_upper_wells(LADDERS * len(LADDER)), LADDER, EVERY)
    frames = [f for f in tempering.iterate(STEPS, every=5) if f.step > SETTLING]
    steps = [frame.step for frame in frames]
    exchanges = tempering.exchanges
    x = np.stack([frame.positions[..., 0] for frame in frames])
    kinetic = np.stack([frame.temperature for frame in frames])
    return Run(
        x=exchanges.demultiplex(x, steps),
        kinetic_temperature=exchanges.demultiplex(kinetic, steps),
        energies=np.stack([frame.potential_energy for frame in frames]),
        x_by_replica=x,
        drawn_at=exchanges.temperatures_at(steps),
        exchanges=exchanges,
    )


def exact(temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a grid of x and the exact cumulative distribution on it."""
    x = np.linspace(-4.0, 4.0, 4001)
    weight = np.exp(-well(x) / thermal_energy(temperature))
    return x, np.cumsum(weight) / weight.sum()


def lower_share(temperature: float) -> float:
    """Return the exact share of beads in the lower well."""
    x, cumulative = exact(temperature)
    return float(np.interp(0.0, x, cumulative))


def test_without_tempering_the_cold_wells_stay_wrong():
    simulation = in_the_upper_wells(LADDERS)
    simulation.run(1500)
    crossed = float((simulation.state.positions[..., 0] < 0.0).float().mean())
    assert crossed < 0.1 * lower_share(300.0)


def test_populations_are_canonical_at_every_temperature(run):
    """Against the analytic answer, with the spread of independent ladders as the measure."""
    for rung, temperature in enumerate(LADDER):
        per_ladder = (run.x[:, rung] < 0.0).mean((0, 2))
        error = per_ladder.std(ddof=1) / np.sqrt(LADDERS)
        assert error < 0.03
        assert per_ladder.mean() == pytest.approx(lower_share(temperature), abs=4.0 * error)


def test_the_distribution_within_the_wells_is_canonical(run):
    """The cumulative distribution of |x|, which the populations of the wells hardly touch."""
    for rung, temperature in enumerate(LADDER):
        x, cumulative = exact(temperature)
        sample = np.sort(np.abs(run.x[:, rung]).ravel())
        both_sides = np.interp(sample, x, cumulative) - np.interp(-sample, x, cumulative)
        empirical = (np.arange(len(sample)) + 0.5) / len(sample)
        assert np.abs(both_sides - empirical).max() < 0.02


def test_velocities_are_at_the_temperature_of_their_rung(run):
    """Trades every 0.12 ps, friction 2/ps: unscaled velocities would never catch up."""
    for rung, temperature in enumerate(LADDER):
        assert run.kinetic_temperature[:, rung].mean() == pytest.approx(temperature, rel=0.015)


def test_replicas_travel_the_whole_ladder(run):
    assert acceptance(run.exchanges).min() > 0.15
    assert round_trips(run.exchanges).mean() > 1.0


def expected_acceptance(energies: np.ndarray) -> np.ndarray:
    """Return the mean chance of a trade from exact energies [samples, rungs], [rungs - 1]."""
    beta = 1.0 / (BOLTZMANN * np.array(LADDER))
    exponent = (beta[:-1] - beta[1:]) * (energies[:, :-1] - energies[:, 1:])
    return np.exp(np.minimum(exponent, 0.0)).mean(0)


def test_as_many_trades_are_accepted_as_exact_energies_would_have(run):
    """Swap statistics against the analytic answer: exact samples of every well."""
    generator, samples, beads = np.random.default_rng(5), 100_000, run.x.shape[-1]
    columns = []
    for temperature in LADDER:
        x, cumulative = exact(temperature)
        along = well(np.interp(generator.random((samples, beads)), cumulative, x)).sum(1)
        across = thermal_energy(temperature) * generator.gamma(beads, size=samples)  # 2 per bead
        columns.append(along + across)
    settled = SETTLING // EVERY
    record = replace(
        run.exchanges,
        first=run.exchanges.first + settled,
        rungs=run.exchanges.rungs[settled:],
        energies=run.exchanges.energies[settled:],
    )
    # Some 8,000 attempts of each pair, a tenth of them independent: one standard error is 0.017.
    np.testing.assert_allclose(
        acceptance(record), expected_acceptance(np.stack(columns, 1)), atol=0.05
    )


def test_all_temperatures_together_give_the_population_of_each(run):
    """Reweighted frames of the whole ladder, at a temperature that nobody was at too."""
    for target in (300.0, 520.0):
        weights = tempering_weights(run.energies, run.drawn_at, target)
        lower = (run.x_by_replica < 0.0).mean(2)  # [frames, replicas]
        assert float((weights * lower).sum()) == pytest.approx(lower_share(target), abs=0.04)


def test_a_trade_keeps_the_canonical_distribution():
    """Exact samples of every temperature stay exact: one attempt changes no distribution."""
    degrees, samples = 60, 40_000
    ladder = np.array(geometric_ladder(300.0, 450.0, 4))
    generator = np.random.default_rng(7)
    kT = BOLTZMANN * ladder
    energies = (kT * generator.gamma(degrees / 2, size=(samples, 4))).ravel()
    rungs = np.tile(np.arange(4), samples)
    for attempt in (0, 1):
        after = swap(rungs, energies, ladder, attempt, seed=3)
        assert 0.2 < (after != rungs).mean() < 0.9
        for rung in range(4):
            seen = energies[after == rung] / kT[rung]
            error = np.sqrt(degrees / 2 / samples)
            assert seen.mean() == pytest.approx(degrees / 2, abs=4 * error)
            assert seen.var() == pytest.approx(degrees / 2, rel=0.04)


def test_detailed_balance_of_a_trade():
    """Probability flows between (a cold, b hot) and (b cold, a hot) are equal."""
    ladder, pair, samples = (300.0, 360.0), np.array([20.0, 21.5]), 200_000
    beta = 1.0 / (BOLTZMANN * np.array(ladder))

    def chance(energies: np.ndarray) -> float:
        after = swap(np.tile([0, 1], samples), np.tile(energies, samples), ladder, 0, seed=11)
        return float(after[::2].mean())

    forward, back = chance(pair), chance(pair[::-1])
    weight = np.exp(-(beta * pair).sum()), np.exp(-(beta * pair[::-1]).sum())
    assert weight[0] * forward == pytest.approx(weight[1] * back, rel=0.01)


def kolmogorov(sample: np.ndarray, shape: float) -> float:
    """Return the Kolmogorov-Smirnov distance of a sample from a gamma distribution."""
    special = pytest.importorskip("scipy.special", reason="scipy is not installed")
    ordered = np.sort(sample)
    empirical = (np.arange(len(ordered)) + 0.5) / len(ordered)
    return float(np.abs(special.gammainc(shape, ordered) - empirical).max())


def harmonic_chain(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Springs from bead to bead, and a weaker one from each bead to the origin."""
    bonds = positions[:, 1:] - positions[:, :-1]
    energy = 20.0 * bonds.double().square().sum((1, 2))
    energy = energy + 5.0 * positions.double().square().sum((1, 2))
    forces = -10.0 * positions
    forces[:, 1:] -= 40.0 * bonds
    forces[:, :-1] += 40.0 * bonds
    return energy, forces


def test_a_harmonic_chain_is_canonical_at_every_temperature():
    """Potential and kinetic energy in kT follow gamma distributions of half the 3 N degrees."""
    simulation = in_the_upper_wells(LADDERS * len(LADDER))
    simulation.dynamics = replace(simulation.dynamics, evaluate=harmonic_chain)
    still = torch.zeros_like(simulation.state.positions)
    energy, forces = harmonic_chain(still)
    simulation.state = replace(simulation.state, positions=still, energy=energy, forces=forces)
    tempering = Tempering(simulation, LADDER, every=10)
    tempering.run(400)  # 3.2 ps at 2/ps: the start is forgotten
    frames = list(tempering.iterate(1600, every=160))  # 1.3 ps apart
    exchanges = tempering.exchanges
    assert np.nanmin(acceptance(exchanges)) > 0.1
    steps, half = [frame.step for frame in frames], 1.5 * simulation.state.positions.shape[1]
    for name in ("potential_energy", "kinetic_energy"):
        by_rung = exchanges.demultiplex(np.stack([getattr(f, name) for f in frames]), steps)
        for rung, temperature in enumerate(LADDER):
            sample = by_rung[:, rung].ravel() / thermal_energy(temperature)
            # 480 samples, nearly independent; the 1 % level of as many is 0.074.
            assert kolmogorov(sample, half) < 1.63 / np.sqrt(len(sample)), (name, temperature)
