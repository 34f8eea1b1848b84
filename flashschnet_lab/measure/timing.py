"""Time of a function: repeated calls after a warm-up, median and spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call.

    Attributes:
        min, median, max: over the calls.
        calls: how many were timed.
    """

    min: float
    median: float
    max: float
    calls: int


def time_calls(
    function: Callable[[], object],
    device: torch.device,
    *,
    seconds: float = 2.0,
    at_least: int = 5,
    at_most: int = 200,
) -> Timing:
    """Time repeated calls of a function, after one that is not timed.

    On a GPU with CUDA events, elsewhere with the wall clock.

    Args:
        function: what is timed; its result is dropped.
        device: where it works.
        seconds: about so long in all.
        at_least: calls, however long they take.
        at_most: calls, however short they are.
    """
    clock = _cuda_milliseconds if device.type == "cuda" else _wall_milliseconds
    first = clock(function)  # loads libraries and fills caches
    calls = max(at_least, min(at_most, int(1e3 * seconds / max(first, 1e-3))))
    times = [clock(function) for _ in range(calls)]
    return Timing(min(times), statistics.median(times), max(times), calls)


def _wall_milliseconds(function: Callable[[], object]) -> float:
    begun = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - begun)


def _cuda_milliseconds(function: Callable[[], object]) -> float:
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begun.record()
    function()
    ended.record()
    ended.synchronize()
    return float(begun.elapsed_time(ended))
