"""The worker behind a live widget: its states, its one thread, and errors that are not lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from flashschnet_lab.errors import UserError
from flashschnet_lab.widgets.live import FAILED, IDLE, PAUSED, RUNNING, STOPPED, Live

PATIENCE = 30.0  # seconds; far more than is needed


class Bench:
    """A worker with a counter, and what it was seen to show."""

    def __init__(self, **options: object) -> None:
        self.chunks = 0
        self.shown: list[str] = []
        self.threads: set[threading.Thread] = set()
        self.work: Callable[[], None] = lambda: None
        self.live = Live(self._chunk, self._show, **options)  # type: ignore[arg-type]

    def _chunk(self) -> None:
        self.threads.add(threading.current_thread())
        self.work()
        self.chunks += 1

    def _show(self) -> None:
        assert self.live.is_worker
        self.shown.append(self.live.status)

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, (self.live.status, self.live.notice)
            time.sleep(0.002)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    assert bench.live.close(PATIENCE)


def test_start_pause_and_go_on(bench: Bench) -> None:
    assert bench.live.status == IDLE
    bench.live.start()
    bench.until(lambda: bench.chunks >= 3)
    assert bench.live.status == RUNNING
    bench.live.pause()
    assert bench.live.wait(PATIENCE) and bench.live.status == PAUSED
    done = bench.chunks
    time.sleep(0.05)
    assert bench.chunks == done and bench.shown[-1] == PAUSED
    bench.live.start()
    bench.until(lambda: bench.chunks > done)


def test_its_thread_ends_when_there_is_nothing_to_do(bench: Bench) -> None:
    before = set(threading.enumerate())
    bench.live.start(chunks=2)
    assert bench.live.wait(PATIENCE)
    for worker in bench.threads:
        worker.join(PATIENCE)
    assert bench.chunks == 2 and bench.live.status == PAUSED
    assert set(threading.enumerate()) <= before


def test_there_is_one_thread_however_often_start_is_pressed(bench: Bench) -> None:
    for _ in range(20):
        bench.live.start()
    bench.until(lambda: bench.chunks >= 5)
    assert len(bench.threads) == 1


def test_step_does_one_chunk(bench: Bench) -> None:
    for expected in (1, 2, 3):
        bench.live.step()
        assert bench.live.wait(PATIENCE)
        assert bench.chunks == expected and bench.live.status == PAUSED


def test_requests_are_done_in_order_by_the_worker_between_chunks(bench: Bench) -> None:
    inside, done = threading.Event(), []
    bench.work = inside.set
    bench.live.start()
    assert inside.wait(PATIENCE)
    for number in range(10):
        bench.live.request(lambda number=number: done.append((number, bench.live.is_worker)))  # type: ignore[misc]
    bench.until(lambda: len(done) == 10)
    assert done == [(number, True) for number in range(10)]
    assert bench.live.status == RUNNING and not bench.live.has_requests


def test_a_request_does_not_start_what_is_idle(bench: Bench) -> None:
    done: list[int] = []
    bench.live.request(lambda: done.append(1))
    assert bench.live.wait(PATIENCE)
    assert done == [1] and bench.chunks == 0 and bench.live.status == IDLE


def test_a_caller_never_waits_for_a_chunk(bench: Bench) -> None:
    """The kernel stays free: every method returns while a chunk is still under way."""
    entered, leave = threading.Event(), threading.Event()

    def long_chunk() -> None:
        entered.set()
        assert leave.wait(PATIENCE)

    bench.work = long_chunk
    bench.live.start()
    assert entered.wait(PATIENCE)
    bench.live.request(lambda: None)
    bench.live.pause()
    bench.live.reset(lambda: None)
    assert not bench.live.wait(0.01) and bench.chunks == 0
    leave.set()
    assert bench.live.wait(PATIENCE) and bench.live.status == IDLE and bench.chunks == 1


def test_an_exception_is_shown_kept_and_mended_by_a_reset(bench: Bench) -> None:
    def breaks() -> None:
        raise ValueError("no such bead")

    bench.work = breaks
    bench.live.start()
    with pytest.raises(ValueError, match="no such bead"):
        bench.live.wait(PATIENCE)
    assert bench.live.status == FAILED and bench.shown[-1] == FAILED
    assert "ValueError: no such bead" in bench.live.notice and "Reset" in bench.live.notice
    with pytest.raises(UserError, match="no such bead.*Reset"):
        bench.live.start()
    bench.work = lambda: None
    bench.live.reset(lambda: None)
    assert bench.live.wait(PATIENCE) and bench.live.status == IDLE and bench.live.notice == ""
    bench.live.step()
    assert bench.live.wait(PATIENCE) and bench.chunks == 1


def test_a_refused_request_is_told_and_the_work_goes_on(bench: Bench) -> None:
    def refuse() -> None:
        raise UserError("a plan that cannot run here")

    bench.live.start()
    bench.until(lambda: bench.chunks >= 1)
    bench.live.request(refuse)
    bench.until(lambda: bench.live.notice != "")
    done = bench.chunks
    bench.until(lambda: bench.chunks > done)
    assert bench.live.notice == "a plan that cannot run here"
    assert bench.live.status == RUNNING and bench.live.error is None


def test_a_broken_request_fails(bench: Bench) -> None:
    bench.live.start()
    bench.live.request(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        bench.live.wait(PATIENCE)
    assert bench.live.status == FAILED


def test_what_fails_to_show_is_an_error_too() -> None:
    def show() -> None:
        raise RuntimeError("no page")

    live = Live(lambda: None, show)
    live.start()
    with pytest.raises(RuntimeError, match="no page"):
        live.wait(PATIENCE)
    assert live.status == FAILED and live.close(PATIENCE)


def test_it_stops_by_itself_when_nobody_touches_it() -> None:
    clock = SimpleNamespace(now=0.0)
    bench = Bench(idle_seconds=60.0, clock=lambda: clock.now)

    def time_passes() -> None:
        clock.now += 25.0
        if bench.chunks == 1:
            bench.live.start()  # a touch: the minute begins anew

    bench.work = time_passes
    bench.live.start()
    assert bench.live.wait(PATIENCE)
    assert bench.live.status == STOPPED and bench.chunks == 5
    assert "1 minutes" in bench.live.notice and "Start" in bench.live.notice
    bench.live.step()
    assert bench.live.wait(PATIENCE) and bench.live.status == PAUSED


def test_close_ends_a_run() -> None:
    bench = Bench()
    bench.live.start()
    bench.until(lambda: bench.chunks >= 2)
    assert bench.live.close(PATIENCE) and bench.live.status == STOPPED
    assert not any(worker.is_alive() for worker in bench.threads)
