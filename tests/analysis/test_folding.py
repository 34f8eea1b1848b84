"""Folding statistics of series that were written by hand, and of coins."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from flashschnet_lab.analysis.folding import (
    FOLDED,
    UNFOLDED,
    UNKNOWN,
    contact_states,
    first_times,
    fold_states,
    folding,
    folding_free_energy,
    melting_curve,
    transitions,
)
from flashschnet_lab.errors import UserError
from flashschnet_lab.units import thermal_energy

SERIES = np.array(
    [
        [3.0, 5.0, 1.0],
        [2.5, 1.9, 3.9],  # between the borders a replica keeps its state
        [1.0, 2.1, 3.0],
        [3.9, 4.1, 3.0],
        [4.5, 3.0, 1.0],
        [np.nan, 1.0, 1.0],
    ]
)
TIMES = np.arange(6.0)


def test_states_have_a_memory():
    states = fold_states(SERIES, folded_below=2.0, unfolded_above=4.0)
    expected = [
        [UNKNOWN, UNFOLDED, FOLDED],
        [UNKNOWN, FOLDED, FOLDED],
        [FOLDED, FOLDED, FOLDED],
        [FOLDED, UNFOLDED, FOLDED],
        [UNFOLDED, UNFOLDED, FOLDED],
        [UNFOLDED, FOLDED, FOLDED],
    ]
    np.testing.assert_array_equal(states, expected)
    foldings, unfoldings = transitions(states)
    assert foldings.tolist() == [0, 2, 0]
    assert unfoldings.tolist() == [1, 1, 0]
    np.testing.assert_array_equal(first_times(states, TIMES), [2.0, 1.0, 0.0])


def test_states_by_contacts_are_those_of_the_opposite_sign():
    contacts = np.array([[0.1, 0.9], [0.5, 0.5], [0.85, 0.15]])
    expected = [[UNFOLDED, FOLDED], [UNFOLDED, FOLDED], [FOLDED, UNFOLDED]]
    np.testing.assert_array_equal(contact_states(contacts), expected)
    np.testing.assert_array_equal(contact_states(contacts), fold_states(-contacts, -0.8, -0.2))
    with pytest.raises(UserError, match="above"):
        contact_states(contacts, 0.3, 0.7)


def test_one_border_counts_every_crossing():
    jitter = np.array([[1.9], [2.1], [1.9], [2.1]])
    assert transitions(fold_states(jitter, 2.0, 2.0))[0].sum() == 1
    assert transitions(fold_states(jitter, 2.0, 3.0))[0].sum() == 0
    with pytest.raises(UserError, match="below"):
        fold_states(jitter, 3.0, 2.0)


def test_a_replica_that_never_folds_has_no_time():
    states = fold_states(np.full((4, 2), 9.0), 2.0, 4.0)
    assert np.isnan(first_times(states, np.arange(4.0))).all()


def test_shares_and_errors_are_those_of_coins():
    generator = np.random.default_rng(1)
    frames, replicas, share = 50, 400, 0.7
    coins = np.where(generator.random((1, replicas)) < share, FOLDED, UNFOLDED)
    states = np.broadcast_to(coins, (frames, replicas))  # a replica never changes its mind
    found = folding(states, np.arange(frames), 300.0, resamples=1000)
    standard_error = math.sqrt(share * (1.0 - share) / replicas)
    assert found.share == pytest.approx(share, abs=4 * standard_error)
    assert found.share_error == pytest.approx(standard_error, rel=0.15)
    slope = thermal_energy(300.0) / (found.share * (1.0 - found.share))
    assert found.free_energy_error == pytest.approx(slope * found.share_error, rel=0.2)
    assert (found.foldings, found.unfoldings) == (0, 0)


def test_free_energy_of_folding():
    assert folding_free_energy(0.5, 300.0) == pytest.approx(0.0)
    assert folding_free_energy(0.9, 300.0) == pytest.approx(-thermal_energy(300.0) * math.log(9.0))
    assert folding_free_energy([0.0, 1.0], 300.0).tolist() == [math.inf, -math.inf]


def test_all_folded_all_the_time_has_no_bound():
    found = folding(np.full((3, 4), FOLDED), np.arange(3.0), 300.0)
    assert found.free_energy == -math.inf
    assert found.free_energy_error == math.inf
    assert math.isnan(folding(np.full((3, 1), FOLDED), np.arange(3.0), 300.0).share_error)


def test_a_melting_curve_is_a_share_per_temperature():
    states = np.full((10, 3, 4), UNFOLDED)
    states[:, 0] = FOLDED
    states[5:, 1] = FOLDED
    states[:, 2, 0] = FOLDED
    shares, errors = melting_curve(states)
    np.testing.assert_allclose(shares, [1.0, 0.5, 0.25])
    np.testing.assert_allclose(errors[:2], 0.0, atol=1e-12)
    assert errors[2] == pytest.approx(math.sqrt(0.25 * 0.75 / 4), rel=0.15)
    np.testing.assert_allclose(melting_curve(states, skip=5)[0], [1.0, 1.0, 0.25])
    assert np.isnan(melting_curve(states[..., :1])[1]).all()


def test_nothing_known_is_nothing_to_count():
    with pytest.raises(UserError, match="clearly"):
        folding(np.full((3, 2), UNKNOWN), np.arange(3.0), 300.0)
    half_known = np.array([[UNKNOWN, FOLDED], [UNKNOWN, UNFOLDED]])
    assert folding(half_known, np.arange(2.0), 300.0).share == 0.5
