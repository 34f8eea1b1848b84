"""Processor time: sleeping costs none, twice the work twice as much."""

from __future__ import annotations

import time

import pytest

from flashschnet_lab.errors import UserError
from flashschnet_lab.measure import processor_time
from flashschnet_lab.measure.processor_time import processor_milliseconds


class Clock:
    """A processor clock that moves when told, in place of the machine's."""

    def __init__(self) -> None:
        self.now = 0

    def process_time_ns(self) -> int:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(processor_time, "time", clock)
    return clock


def test_the_least_call_counts_and_the_first_does_not(clock: Clock) -> None:
    costs = iter([9, 1, 7, 3, 5])  # milliseconds; the first only warms up

    def work() -> None:
        clock.now += next(costs) * 1_000_000

    assert processor_milliseconds(work, seconds=0.0, at_least=4) == pytest.approx(1.0)
    with pytest.raises(StopIteration):
        work()  # all five were called


def test_it_goes_on_for_so_long(clock: Clock) -> None:
    calls: list[None] = []

    def work() -> None:
        calls.append(None)
        clock.now += 10_000_000

    processor_milliseconds(work, seconds=0.095, at_least=1)
    assert len(calls) == 1 + 10


def test_a_clock_that_stands_still_ends_too(clock: Clock) -> None:
    assert processor_milliseconds(lambda: None, seconds=0.001) == pytest.approx(1e-3)


def test_sleeping_takes_no_processor_time() -> None:
    asleep = processor_milliseconds(lambda: time.sleep(0.1), seconds=0.0, at_least=2)
    assert asleep < 50.0  # milliseconds: a bound on what is counted, not on how fast it is


def test_a_count_that_cannot_be_is_named() -> None:
    with pytest.raises(UserError, match="at_least=0"):
        processor_milliseconds(lambda: None, at_least=0)
