"""Processor time of a function: for comparisons on a machine that does other things as well.

The clock of `measure.timing` goes on while another program has the processor; this one does not. It
adds up all threads of the process, so compare with one thread: threads that wait for each other by
spinning would count as work.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from flashschnet_lab.errors import UserError


def processor_milliseconds(
    function: Callable[[], object], *, seconds: float = 0.5, at_least: int = 3
) -> float:
    """Return the least processor time of several calls, after one that does not count.

    Args:
        function: what is timed, on the CPU; its result is dropped.
        seconds: of processor time, about so long in all.
        at_least: calls, however long they take.

    Raises:
        UserError: fewer than one call is asked for.
    """
    if at_least < 1:
        raise UserError(f"at_least={at_least}: at least 1 call is needed to time anything")
    function()  # loads libraries and fills caches
    times: list[float] = []
    while len(times) < at_least or sum(times) < seconds:
        begun = time.process_time_ns()
        function()
        # A clock that moves in steps could stand still during a short call, and the loop for ever.
        times.append(max(time.process_time_ns() - begun, 1_000) * 1e-9)
    return 1e3 * min(times)
