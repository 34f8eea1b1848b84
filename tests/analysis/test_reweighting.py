"""Weights against exact answers: a harmonic molecule, whose free energies are known."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from flashschnet_lab.analysis.reweighting import effective_frames, solve, tempering_weights
from flashschnet_lab.errors import UserError
from flashschnet_lab.units import BOLTZMANN

DEGREES = 40
LADDER = np.array([300.0, 340.0, 390.0, 450.0])


@pytest.fixture(scope="module")
def samples() -> tuple[np.ndarray, np.ndarray]:
    """Energies and temperatures [frames, 4] of exact samples, fewer than asked at one rung."""
    generator = np.random.default_rng(2)
    energies = BOLTZMANN * LADDER * generator.gamma(DEGREES / 2, size=(8000, 4))
    return energies, np.broadcast_to(LADDER, energies.shape)


@pytest.mark.parametrize("target", [300.0, 365.0, 450.0])
def test_mean_and_spread_at_any_temperature(samples, target):
    energies, drawn = samples
    weights = tempering_weights(energies, drawn, target)
    assert weights.shape == energies.shape
    assert weights.sum() == pytest.approx(1.0)
    kT = BOLTZMANN * target
    mean = (weights * energies).sum()
    variance = (weights * (energies - mean) ** 2).sum()
    # Some 10,000 effective frames: 0.2 % of the mean, 1.4 % of the variance.
    assert mean == pytest.approx(0.5 * DEGREES * kT, rel=0.01)
    assert variance == pytest.approx(0.5 * DEGREES * kT**2, rel=0.06)
    assert effective_frames(weights) > 8000  # more than one temperature alone has


def test_free_energies_are_those_of_the_harmonic_molecule(samples):
    """Z is proportional to T^(degrees / 2)."""
    energies, drawn = samples
    beta = 1.0 / (BOLTZMANN * LADDER)
    reduced = beta[:, None] * energies.ravel()
    found = solve(reduced, np.full(4, len(energies)))
    exact = -0.5 * DEGREES * np.log(LADDER / LADDER[0])
    np.testing.assert_allclose(found, exact, atol=0.05)


def test_one_temperature_needs_no_weights():
    energies = np.random.default_rng(1).normal(20.0, 3.0, size=(50, 2))
    weights = tempering_weights(energies, np.full((50, 2), 300.0), 300.0)
    np.testing.assert_allclose(weights, 0.01)
    assert effective_frames(weights) == pytest.approx(100.0)


def test_it_solves_the_equations_of_mbar(samples):
    """f_k = -ln sum_n exp(-u_kn) / sum_j N_j exp(f_j - u_jn), iterated here in plain numpy."""
    energies, drawn = samples
    few = energies[:500]
    u = few.T.ravel()
    reduced = u / (BOLTZMANN * LADDER[:, None])
    counts = np.full(4, 500)
    f = np.zeros(4)
    for _ in range(3000):
        mixture = (counts[:, None] * np.exp(f[:, None] - reduced)).sum(0)
        f = -np.log((np.exp(-reduced) / mixture).sum(1))
        f -= f[0]
    np.testing.assert_allclose(solve(reduced, counts), f, atol=1e-6)
    mixture = (counts[:, None] * np.exp(f[:, None] - reduced)).sum(0)
    expected = np.exp(f[0] - reduced[0]) / mixture
    weights = tempering_weights(few, drawn[:500], 300.0)
    np.testing.assert_allclose(weights.T.ravel(), expected, rtol=1e-5, atol=1e-12)


def test_without_pymbar_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymbar", None)
    with pytest.raises(UserError, match="pip install"):
        tempering_weights(np.ones(3), np.full(3, 300.0), 300.0)


def test_runs_that_do_not_overlap_give_an_answer_or_say_so():
    generator = np.random.default_rng(3)
    temperatures = np.array([300.0, 3000.0])
    energies = BOLTZMANN * temperatures * generator.gamma(200.0, size=(200, 2))
    try:
        weights = tempering_weights(energies, np.broadcast_to(temperatures, (200, 2)), 300.0)
    except UserError as error:
        assert "overlap" in str(error)
    else:
        assert (weights[:, 1] < 1e-6).all()


@pytest.mark.parametrize(
    ("energies", "temperatures", "target"),
    [
        (np.ones((3, 2)), np.ones(3), 300.0),
        (np.array([np.nan]), np.array([300.0]), 300.0),
        (np.ones(2), np.array([0.0, 300.0]), 300.0),
        (np.ones(2), np.full(2, 300.0), -1.0),
        (np.ones(0), np.ones(0), 300.0),
    ],
)
def test_what_has_no_weights(energies, temperatures, target):
    with pytest.raises(UserError):
        tempering_weights(energies, temperatures, target)
