"""Work behind a widget: one at a time, and what goes wrong is said."""

from __future__ import annotations

import threading

import torch

from flashschnet_lab.errors import UserError
from flashschnet_lab.widgets.background import Background, in_words


def fail(error: Exception):
    raise error


def test_the_result_arrives_and_the_thread_ends() -> None:
    background, results, failures = Background(), [], []
    assert not background.busy
    assert background.start(lambda: 7, results.append, failures.append)
    background.join(10)
    assert results == [7] and failures == [] and not background.busy


def test_only_one_at_a_time_and_the_caller_stays_free() -> None:
    background, release, results = Background(), threading.Event(), []
    assert background.start(lambda: release.wait(10), results.append, results.append)
    assert background.busy
    assert not background.start(lambda: "other", results.append, results.append)
    release.set()
    background.join(10)
    assert results == [True]
    assert background.start(lambda: "other", results.append, results.append)
    background.join(10)
    assert results == [True, "other"]


def test_an_error_of_the_work_or_of_what_follows_is_handed_on() -> None:
    background, failures = Background(), []
    background.start(lambda: fail(UserError("take fewer")), print, failures.append)
    background.join(10)
    background.start(lambda: 1, lambda _: fail(KeyError("x")), failures.append)
    background.join(10)
    assert failures == ["take fewer", "KeyError: 'x'"]


def test_joining_without_work_returns() -> None:
    Background().join()


def test_errors_in_words() -> None:
    assert in_words(UserError("no\n such thing")) == "no such thing"
    assert in_words(RuntimeError("broken")) == "RuntimeError: broken"


def test_the_work_has_as_many_cores_as_its_caller() -> None:
    background, seen, before = Background(), [], torch.get_num_threads()
    try:
        for cores in (1, 2):
            torch.set_num_threads(cores)
            background.start(torch.get_num_threads, seen.append, seen.append)
            background.join(10)
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2]
