"""A recording that never grows beyond its bounds, and covers the run all the same."""

from __future__ import annotations

import numpy as np
import pytest

from flashschnet_lab.widgets.recording import FEWEST_SAMPLES, MOST_MARKS, Recording, Sample


def sample(time_ps: float, replicas: int = 1, beads: int = 2) -> Sample:
    value = np.full(replicas, time_ps)
    positions = np.full((replicas, beads, 3), time_ps, dtype=np.float32)
    return Sample(time_ps, positions, value, value + 1.0, value + 2.0)


@pytest.mark.parametrize("count", [1, 50, 51, 52, 1000, 20_001])
def test_it_covers_the_run_evenly_with_few_samples(count: int) -> None:
    recording = Recording(most_samples=50)
    for number in range(count):
        recording.add(sample(float(number)))
        assert len(recording.samples) <= 50
        assert recording.samples[-1].time_ps == number  # the newest is always there
    times = recording.times()
    steps = np.diff(times)
    assert times[0] == 0.0
    assert (
        (steps[:-1] == recording.stride).all()
        and 0 < steps[-1:].sum() <= recording.stride
        or (count == 1)
    )
    assert len(times) >= min(count, 25)


def test_many_beads_take_no_more_bytes() -> None:
    one = sample(0.0, replicas=4, beads=100).positions.nbytes
    recording = Recording(most_samples=1000, most_bytes=20 * one)
    for number in range(200):
        recording.add(sample(float(number), replicas=4, beads=100))
        assert recording.bytes <= 20 * one
    huge = Recording(most_bytes=1)
    for number in range(100):
        huge.add(sample(float(number)))
    assert 2 <= len(huge.samples) <= FEWEST_SAMPLES


def test_series_leave_gaps_where_there_were_fewer_replicas() -> None:
    recording = Recording()
    for number, replicas in enumerate([1, 3, 2]):
        recording.add(sample(float(number), replicas))
    energy = recording.series("potential_energy")
    expected = [[0.0, np.nan, np.nan], [1.0, 1.0, 1.0], [2.0, 2.0, np.nan]]
    np.testing.assert_array_equal(energy, expected)


def test_marks_are_few_and_go_with_the_rest() -> None:
    recording = Recording()
    recording.add(sample(2.5))
    for number in range(5 * MOST_MARKS):
        recording.mark(str(number))
    assert len(recording.marks) == MOST_MARKS and recording.marks[-1] == (2.5, "99")
    recording.clear()
    assert not recording.marks and not recording.samples and recording.stride == 1
