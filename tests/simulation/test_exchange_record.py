"""The record of exchanges: who had which temperature when, and what follows from it."""

from __future__ import annotations

import numpy as np
import pytest

from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.exchange_record import (
    Exchanges,
    acceptance,
    read_exchanges,
    round_trips,
    write_exchanges,
)

LADDER = (300.0, 400.0, 500.0)


def record(rungs: list[list[int]], first: int = 0) -> Exchanges:
    """A record with these rungs [attempts + 1][replicas]."""
    table = np.array(rungs)
    energies = np.arange(float(table[1:].size)).reshape(-1, table.shape[1])
    return Exchanges(LADDER, every=10, seed=1, first=first, rungs=table, energies=energies)


# Attempts 1, 3 try rungs 1-2; attempts 2, 4 try rungs 0-1.
WALK = record([[0, 1, 2], [0, 2, 1], [1, 2, 0], [2, 1, 0], [2, 1, 0]])


def test_rungs_at_steps():
    steps = [0, 1, 10, 11, 20, 21, 40, 41, 99]
    expected = WALK.rungs[[0, 0, 0, 1, 1, 2, 3, 4, 4]]
    np.testing.assert_array_equal(WALK.rungs_at(steps), expected)
    np.testing.assert_array_equal(WALK.steps, [10, 20, 30, 40])
    np.testing.assert_array_equal(WALK.temperatures_at([11])[0], [300.0, 500.0, 400.0])


def test_a_record_that_begins_later():
    later = record([[0, 1, 2], [0, 2, 1], [1, 2, 0]], first=5)
    np.testing.assert_array_equal(later.steps, [60, 70])
    np.testing.assert_array_equal(later.rungs_at([50, 60, 61, 71]), later.rungs[[0, 0, 1, 2]])


def test_sorted_by_temperature_every_value_was_seen_there():
    steps = np.arange(0, 50, 5)
    ladders = Exchanges(
        LADDER,
        10,
        1,
        0,
        np.concatenate([WALK.rungs, WALK.rungs[:, [1, 0, 2]]], axis=1),
        WALK.energies,
    )
    assert ladders.ladders == 2
    seen = ladders.temperatures_at(steps)
    by_rung = ladders.demultiplex(seen, steps)  # [frames, rungs, ladders]
    assert by_rung.shape == (10, 3, 2)
    np.testing.assert_array_equal(by_rung, np.broadcast_to(np.array(LADDER)[:, None], (10, 3, 2)))
    replicas = ladders.demultiplex(np.broadcast_to(np.arange(6), (10, 6)), steps)
    assert (replicas[..., 0] < 3).all() and (replicas[..., 1] >= 3).all()
    vectors = ladders.demultiplex(np.zeros((10, 6, 4, 3)), steps)
    assert vectors.shape == (10, 3, 2, 4, 3)
    with pytest.raises(UserError, match="frames, replicas"):
        ladders.demultiplex(np.zeros((9, 6)), steps)


def test_acceptance_counts_the_attempts_that_were_made():
    np.testing.assert_allclose(acceptance(WALK), [0.5, 1.0])
    assert np.isnan(acceptance(record([[0, 1, 2], [0, 2, 1]]))).tolist() == [True, False]


def test_a_round_trip_goes_up_and_comes_down():
    top, bottom = 2, 0
    paths = {
        (0, 1, 2, 1, 0): 1,
        (0, 1, 2, 1, 0, 1, 2, 1, 0): 2,
        (0, 1, 0, 1, 0): 0,  # never reached the top
        (2, 1, 0, 1, 2): 0,  # came down, but had not gone up
        (1, 2, 1, 0, 1, 2, 1, 1, 0): 1,
    }
    for path, trips in paths.items():
        others = [[bottom, top]] * len(path)
        rungs = [[p, *o] for p, o in zip(path, others, strict=True)]
        assert round_trips(record(rungs))[0] == trips, path


def test_written_and_read(tmp_path):
    write_exchanges(WALK, tmp_path / "x.npz")
    again = read_exchanges(tmp_path / "x.npz")
    assert (again.ladder, again.every, again.seed, again.first) == (LADDER, 10, 1, 0)
    np.testing.assert_array_equal(again.rungs, WALK.rungs)
    np.testing.assert_array_equal(again.energies, WALK.energies)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.npz"]


def test_what_is_no_record(tmp_path):
    with pytest.raises(UserError, match="no record"):
        read_exchanges(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(UserError, match="not a record"):
        read_exchanges(tmp_path / "text.npz")
    with pytest.raises(UserError, match="could not be written"):
        write_exchanges(WALK, tmp_path / "nowhere" / "x.npz")


def test_cut_back_to_a_step():
    cut = WALK.until(29)
    assert cut.attempts == 2
    np.testing.assert_array_equal(cut.rungs, WALK.rungs[:3])
    assert WALK.until(1000).attempts == 4
