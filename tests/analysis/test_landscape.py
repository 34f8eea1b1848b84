"""Free-energy surfaces against normal distributions, whose surfaces are parabolas."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from flashschnet_lab.analysis.landscape import (
    landscape,
    landscape_picture,
    resampled,
)
from flashschnet_lab.analysis.reweighting import tempering_weights
from flashschnet_lab.errors import UserError
from flashschnet_lab.units import thermal_energy

TEMPERATURE = 300.0
KT = thermal_energy(TEMPERATURE)
SPRING = 2.0  # kcal/mol/A^2


@pytest.fixture(scope="module")
def springs() -> np.ndarray:
    """Exact samples [frames, replicas, 2] of two springs."""
    generator = np.random.default_rng(1)
    return np.sqrt(KT / SPRING) * generator.normal(size=(2000, 100, 2))


def test_a_spring_gives_a_parabola(springs):
    surface = landscape(springs[..., 0], temperature=TEMPERATURE, bins=41, ranges=[(-1.435, 1.435)])
    (x,) = surface.centres
    near = np.abs(x) < 0.8
    exact = 0.5 * SPRING * x**2
    off = (surface.free_energy - exact)[near]
    # The zero is the lowest of some flat bins: all values share that small offset.
    assert np.abs(off - off.mean()).max() < 0.03
    assert abs(off.mean()) < 0.02
    assert abs(surface.minimum[0]) < 0.25
    assert np.nanmin(surface.free_energy) == 0.0


def test_the_error_is_that_of_counting(springs):
    """Independent frames: the variance of ln p of a bin with n of N counts is (1 - p) / n."""
    surface = landscape(
        springs[..., 0], temperature=TEMPERATURE, bins=20, ranges=[(-1.0, 1.0)], resamples=1000
    )
    counts = np.histogram(springs[..., 0], surface.edges[0])[0]
    inside = counts.sum()
    expected = KT * np.sqrt((1.0 - counts / inside) / counts)
    np.testing.assert_allclose(surface.error, expected, rtol=0.3)
    assert np.mean(surface.error / expected) == pytest.approx(1.0, abs=0.06)


def test_errors_of_correlated_frames_are_not_fooled():
    """Every replica stands still: 20 values, however many frames."""
    still = np.broadcast_to(np.random.default_rng(2).normal(size=20), (500, 20))
    surface = landscape(still, temperature=TEMPERATURE, bins=2, resamples=1000)
    counts = np.histogram(still[0], surface.edges[0])[0]
    expected = KT * np.sqrt((1.0 - counts / 20) / counts)
    np.testing.assert_allclose(surface.error, expected, rtol=0.3)


def test_two_springs_give_a_bowl(springs):
    surface = landscape(
        springs[..., 0],
        springs[..., 1],
        temperature=TEMPERATURE,
        bins=15,
        ranges=[(-0.75, 0.75), (-0.6, 0.6)],
    )
    x, y = np.meshgrid(*surface.centres, indexing="ij")
    assert surface.free_energy.shape == (15, 15)
    exact = 0.5 * SPRING * (x**2 + y**2)
    off = surface.free_energy - exact
    assert np.abs(off - off.mean()).max() < 0.15  # bins with a hundred counts and more


def test_weights_carry_hot_frames_to_the_cold(springs):
    hot = 450.0
    frames = springs[..., 0] * np.sqrt(hot / TEMPERATURE)
    energies = 0.5 * SPRING * frames**2
    both = np.concatenate([frames, springs[..., 0]], axis=1)
    drawn = np.broadcast_to(np.repeat([hot, TEMPERATURE], 100), both.shape)
    weights = tempering_weights(
        np.concatenate([energies, 0.5 * SPRING * springs[..., 0] ** 2], axis=1), drawn, TEMPERATURE
    )
    options = {"temperature": TEMPERATURE, "bins": 31, "ranges": [(-1.55, 1.55)]}
    weighted = landscape(both, weights=weights, **options)
    exact = 0.5 * SPRING * weighted.centres[0] ** 2
    near = np.abs(weighted.centres[0]) < 1.2
    off = (weighted.free_energy - exact)[near]
    assert np.abs(off - off.mean()).max() < 0.12
    cold = landscape(springs[..., 0], **options)
    assert np.isfinite(weighted.free_energy).sum() >= np.isfinite(cold.free_energy).sum()
    far = np.abs(weighted.centres[0]) > 1.1
    seen = far & np.isfinite(cold.error) & np.isfinite(weighted.error)
    assert weighted.error[seen].mean() < cold.error[seen].mean()


def test_what_was_seen_by_nobody_by_one_or_only_once():
    x = np.zeros((10, 12))
    x[:, 0] = 2.5
    surface = landscape(x, temperature=TEMPERATURE, bins=3, ranges=[(-0.5, 2.6)])
    assert np.isnan(surface.free_energy[1]) and np.isnan(surface.error[1])
    assert np.isinf(surface.error[2])  # a third of all resamples leave the first replica out
    assert surface.free_energy[2] == pytest.approx(KT * np.log(11.0))
    alone = landscape(x[:, :1], temperature=TEMPERATURE, bins=3)
    assert np.isnan(alone.error).all()


def test_stopped_replicas_are_left_out(springs):
    """Frames that are not finite count as little as frames outside the range."""
    x = springs[:, :10, 0].copy()
    x[1000:, 3] = np.nan
    surface = landscape(x, temperature=TEMPERATURE, bins=10)
    ends = (surface.edges[0][0], surface.edges[0][-1])
    assert ends == (np.nanmin(x), np.nanmax(x))
    outside = np.where(np.isnan(x), 99.0, x)
    expected = landscape(outside, temperature=TEMPERATURE, bins=10, ranges=[ends])
    np.testing.assert_allclose(surface.free_energy, expected.free_energy)


def test_resamples_draw_whole_replicas():
    drawn = resampled(7, 400, seed=1)
    assert drawn.shape == (400, 7)
    assert (drawn.sum(1) == 7).all()
    np.testing.assert_allclose(drawn.mean(0), 1.0, atol=0.2)
    np.testing.assert_array_equal(drawn, resampled(7, 400, seed=1))


@pytest.mark.parametrize(
    ("x", "settings"),
    [
        (np.zeros(5), {}),
        (np.zeros((5, 2)), {"y": np.zeros((5, 3))}),
        (np.full((5, 2), np.nan), {}),
        (np.zeros((5, 2)), {"weights": np.zeros((5, 2))}),
        (np.zeros((5, 2)), {"temperature": 0.0}),
        (np.zeros((5, 2)), {"bins": 0}),
    ],
)
def test_what_has_no_landscape(x, settings):
    with pytest.raises(UserError):
        landscape(x, **{"temperature": TEMPERATURE} | settings)


def test_pictures_name_quantities_and_units(springs):
    flat = landscape_picture(
        landscape(springs[..., 0], temperature=TEMPERATURE), ["x (Å)"], title="a spring"
    )
    (axes,) = flat.axes
    assert axes.get_xlabel() == "x (Å)"
    assert axes.get_ylabel() == "free energy (kcal/mol)"
    few = springs[:20, :5]
    both = landscape_picture(
        landscape(few[..., 0], few[..., 1], temperature=TEMPERATURE, bins=10), ["x (Å)", "y (Å)"]
    )
    labels = {axes.get_ylabel() for axes in both.axes}
    assert labels == {"y (Å)", "free energy (kcal/mol)", "error (kcal/mol)"}
    for figure in (flat, both):
        figure.canvas.draw()
