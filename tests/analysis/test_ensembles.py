"""The distance of two ensembles: of samples with a known answer, and of runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import distance as scipy_distance

from flashschnet_lab.analysis.ensembles import (
    compare,
    comparison_picture,
    jensen_shannon,
    jensen_shannon_of_energies,
)
from flashschnet_lab.analysis.observables import observe
from flashschnet_lab.errors import UserError
from flashschnet_lab.measure import ensembles as measured
from flashschnet_lab.proteins.builder import build_chain
from tests.trajectories import shaken, write_run


def test_the_distance_of_samples():
    random = np.random.default_rng(1)
    a, b = random.normal(size=20000), random.normal(size=20000)
    assert jensen_shannon(a, a) == 0.0
    assert jensen_shannon(a, b) < 0.05
    assert jensen_shannon(a, a + 100.0) == pytest.approx(1.0)
    assert 0.05 < jensen_shannon(a, a + 0.5) < 0.3
    assert jensen_shannon(a, b) == pytest.approx(jensen_shannon(b, a))


def test_two_halves_are_half_apart():
    """P = (1/2, 1/2), Q = (1, 0): the divergence is 1/2 (log2(4/3) + 1/2 log2(2/3) + 1/2)."""
    p, q = np.array([0.0, 1.0] * 50), np.zeros(100)
    divergence = 0.5 * np.log2(4 / 3) + 0.25 * np.log2(2 / 3) + 0.25 * np.log2(2.0)
    assert jensen_shannon(p, q) == pytest.approx(np.sqrt(divergence))


def test_against_scipy():
    random = np.random.default_rng(3)
    a, b = random.normal(size=500), random.normal(0.7, 1.3, size=400)
    edges = np.linspace(min(a.min(), b.min()), max(a.max(), b.max()) + 1e-9, 21)
    p, q = (np.histogram(x, edges)[0] for x in (a, b))
    expected = scipy_distance.jensenshannon(p, q, base=2)
    assert jensen_shannon(a, b, bins=20) == pytest.approx(expected, rel=1e-6)


def test_weights_count_as_copies():
    a, b = np.array([0.0, 1.0, 2.0]), np.array([0.5, 2.0])
    copies = jensen_shannon(np.repeat(a, [1, 3, 2]), b)
    assert jensen_shannon(a, b, weights_a=[1, 3, 2]) == pytest.approx(copies)
    unknown = np.append(a, np.nan)
    assert jensen_shannon(unknown, b) == jensen_shannon(a, b)
    with pytest.raises(UserError, match="one of them is empty"):
        jensen_shannon([np.nan], b)


def test_energies_tell_how_far_ensembles_are_apart():
    """Two states, alike under p, and one three times as likely as the other under q."""
    expected = scipy_distance.jensenshannon([0.5, 0.5], [0.75, 0.25], base=2)
    difference = np.tile([0.0, np.log(3.0)], 50)
    assert jensen_shannon_of_energies(difference) == pytest.approx(expected)
    assert jensen_shannon_of_energies(difference.reshape(4, 25) + 800.0) == pytest.approx(expected)
    assert jensen_shannon_of_energies(np.full(7, -3.0)) == 0.0


def test_small_differences_count_by_their_spread():
    """The divergence is var / 8 nats to second order."""
    difference = np.random.default_rng(5).normal(2.0, 0.01, size=100_000)
    expected = difference.std() / np.sqrt(8.0 * np.log(2.0))
    assert jensen_shannon_of_energies(difference) == pytest.approx(expected, rel=1e-3)


def test_no_coordinate_is_further_apart_than_the_ensembles():
    """A harmonic well, and the same one with its centre moved by a tenth."""
    x = np.random.default_rng(6).normal(size=200_000)
    difference = 0.5 * (x - 0.1) ** 2 - 0.5 * x**2
    whole = jensen_shannon_of_energies(difference)
    weights = np.exp(-difference)
    seen = [jensen_shannon(of, of, weights_b=weights) for of in (x, x**2, np.sin(3.0 * x))]
    assert seen[0] == pytest.approx(whole, rel=0.02)  # x itself keeps all
    assert max(seen[1:]) < whole


@pytest.mark.parametrize("nothing", [[], [0.0, np.nan], [np.inf]])
def test_ensembles_without_energies(nothing):
    with pytest.raises(UserError, match="none or no numbers"):
        jensen_shannon_of_energies(nothing)


def test_plans_and_runs_are_compared_by_one_function():
    assert measured.jensen_shannon is jensen_shannon


def test_runs(tmp_path):
    helix = build_chain("AGPWYK", "helix")
    tables = []
    for number, spread in enumerate((1.0, 1.0, 3.0)):
        positions = shaken(helix, 300, 4, spread, seed=10 * number)
        folder = write_run(tmp_path / f"{number}", helix, positions, temperatures=[300.0] * 4)
        tables.append(observe(folder, ["rg", "end_to_end"]))
    alike = {d.name: d for d in compare(tables[0], tables[1])}
    apart = {d.name: d for d in compare(tables[0], tables[2])}
    for name in ("rg", "end_to_end"):
        assert alike[name].distance < max(1.5 * max(alike[name].within), 0.2)
        assert apart[name].distance > 1.5 * alike[name].distance
    weighted = compare(tables[0], tables[2], temperature=300.0)
    assert weighted[0].distance == pytest.approx(apart["rg"].distance)
    figure = comparison_picture(tables[0], tables[2], weighted, ("a", "b"))
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "radius of gyration (Å)",
        "end-to-end distance (Å)",
    ]


def test_runs_with_nothing_in_common(tmp_path):
    helix = build_chain("AGPWYK", "helix")
    folder = write_run(tmp_path / "run", helix, shaken(helix, 5, 1, 1.0, seed=1))
    with pytest.raises(UserError, match="share no observable: rg and end_to_end"):
        compare(observe(folder, ["rg"]), observe(folder, ["end_to_end"]))
    assert np.isnan(compare(observe(folder, ["rg"]), observe(folder, ["rg"]))[0].within).all()
