"""Ladders: rungs where they were asked for, and as busy as they were asked to be."""

from __future__ import annotations

import numpy as np
import pytest

from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.exchange import swap
from flashschnet_lab.simulation.temperature_ladder import (
    check_ladder,
    expected_acceptance,
    geometric_ladder,
    ladder_for_degrees,
    ladder_from_pilot,
)
from flashschnet_lab.units import BOLTZMANN

DEGREES = 141


def harmonic_energies(
    temperatures: np.ndarray, samples: int, generator: np.random.Generator
) -> np.ndarray:
    """Exact energies [..., samples] of a harmonic molecule: gamma distributed."""
    shape = (*np.shape(temperatures), samples)
    return (
        BOLTZMANN * np.asarray(temperatures)[..., None] * generator.gamma(DEGREES / 2, size=shape)
    )


def accepted(ladder: tuple[float, ...], samples: int = 20_000) -> np.ndarray:
    """The share of accepted trades between neighbours whose energies are exact."""
    energies = harmonic_energies(np.array(ladder), samples, np.random.default_rng(1))
    rungs = np.tile(np.arange(len(ladder)), samples)
    shares = np.zeros(len(ladder) - 1)
    for attempt in (0, 1):
        after = swap(rungs, energies.T.ravel(), ladder, attempt, seed=2).reshape(samples, -1)
        for rung in range(attempt, len(shares), 2):
            shares[rung] = (after[:, rung] == rung + 1).mean()
    return shares


def test_geometric():
    ladder = geometric_ladder(300.0, 600.0, 5)
    assert ladder[0] == 300.0 and ladder[-1] == 600.0
    ratios = np.divide(ladder[1:], ladder[:-1])
    np.testing.assert_allclose(ratios, 2.0**0.25)


@pytest.mark.parametrize("aim", [0.2, 0.4])
def test_a_harmonic_molecule_trades_as_often_as_was_asked(aim):
    ladder = ladder_for_degrees(300.0, 600.0, DEGREES, aim)
    found = accepted(ladder)
    assert found.min() > aim - 0.02  # 20,000 trials: one standard error is 0.003
    fewer = accepted(geometric_ladder(300.0, 600.0, len(ladder) - 1))
    assert fewer.max() < aim + 0.02


def test_a_pilot_of_a_harmonic_molecule_gives_the_geometric_ladder():
    pilots = np.array([300.0, 400.0, 600.0])
    energies = harmonic_energies(pilots, 50_000, np.random.default_rng(3))
    found = ladder_from_pilot(pilots, energies, 0.3)
    expected = ladder_for_degrees(300.0, 600.0, DEGREES, 0.3)
    np.testing.assert_allclose(found, expected, rtol=5e-3)


def test_rungs_are_denser_where_the_energy_spreads_more():
    """A peak of the heat capacity, as at a folding transition."""
    generator = np.random.default_rng(4)
    pilots = np.array([300.0, 400.0, 450.0, 500.0, 600.0])
    spread = np.array([7.0, 9.0, 20.0, 10.0, 12.0])
    energies = [s * generator.normal(size=10_000) for s in spread]
    ladder = np.array(ladder_from_pilot(pilots, energies, 0.3))
    gaps = np.diff(ladder)
    assert gaps[np.abs(ladder[:-1] + 0.5 * gaps - 450.0).argmin()] == pytest.approx(gaps.min())


def test_expected_acceptance_is_one_side_by_side_and_none_far_apart():
    assert expected_acceptance(0.0) == pytest.approx(1.0)
    assert expected_acceptance(20.0) < 1e-12


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: geometric_ladder(300.0, 600.0, 1), "at least 2"),
        (lambda: geometric_ladder(600.0, 300.0, 4), "rises"),
        (lambda: ladder_for_degrees(300.0, 600.0, 0), "degrees"),
        (lambda: ladder_for_degrees(300.0, 600.0, 100, 1.0), "acceptance"),
        (lambda: check_ladder([300.0, 300.0]), "must rise"),
        (lambda: check_ladder([0.0, 300.0]), "above 0"),
        (lambda: check_ladder([300.0]), "two"),
        (lambda: ladder_from_pilot([300.0, 400.0], [np.ones(3)]), "energies of 1"),
        (lambda: ladder_from_pilot([300.0, 400.0], np.ones((2, 3))), "vary"),
    ],
)
def test_what_is_no_ladder(make, word):
    with pytest.raises(UserError, match=word):
        make()
