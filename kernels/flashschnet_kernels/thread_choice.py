"""How many threads a piece of work that is done over and over again is worth, found by timing it.

Threads of a step wait for each other some twenty times. On cores of their own that takes a
microsecond each. But where another program runs on one of the cores, every wait can take as long as
the scheduler leaves that program alone, and two threads can be thirty times slower than one. So
what is best is found out while it is used. Only for work whose result does not depend on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST_CALLS = 3
"""Calls on one thread that a choice begins with; the next one, on all, starts the others."""
SLOWER = 1.3
"""All threads are left when a call takes so many times as long as one thread takes."""
PATIENCE = (0.5, 8.0)
"""Seconds until all threads are tried again; twice as long after each time that they lost."""


class ThreadChoice:
    """Chooses between one thread and all.

    Args:
        clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._calls = 0
        self._alone = float("inf")  # seconds of one thread
        self._on_all = False
        self._try_at = 0.0
        self._patience = PATIENCE[0]

    def run(self, work: Callable[[int], None], threads: int) -> None:
        """Do the work, which takes the number of threads, at most `threads`."""
        if threads == 1:
            work(1)
            return
        begin = self._clock()
        chosen = threads if self._takes_all(begin) else 1
        work(chosen)
        self._learn(chosen > 1, self._clock() - begin, begin)

    def _takes_all(self, now: float) -> bool:
        if self._calls < FIRST_CALLS:
            return False
        return self._on_all or now >= self._try_at

    def _learn(self, on_all: bool, seconds: float, now: float) -> None:
        self._calls += 1
        if not on_all:
            # What is faster counts at once, what is slower a little: it may be an accident.
            slow = self._alone + 0.1 * (seconds - self._alone) if self._calls > 1 else seconds
            self._alone = min(seconds, slow)
            return
        first = not self._on_all
        if seconds < self._alone or self._calls == FIRST_CALLS + 1:
            self._on_all = True
            if not first:
                self._patience = PATIENCE[0]
        elif first or seconds > SLOWER * self._alone:
            self._on_all = False
            self._try_at = now + self._patience
            self._patience = min(2.0 * self._patience, PATIENCE[1])
