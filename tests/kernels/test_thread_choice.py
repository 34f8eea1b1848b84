"""The number of threads follows what is faster."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flashschnet_kernels.thread_choice import FIRST_CALLS, PATIENCE, ThreadChoice


class Machine:
    """A clock that work moves on: seconds of a call on one thread, and on more."""

    def __init__(self, one: float, more: float) -> None:
        self.now, self.one, self.more = 100.0, one, more
        self.choice = ThreadChoice(lambda: self.now)

    def calls(self, count: int, threads: int = 2) -> list[int]:
        """Return the number of threads of each call."""
        taken: list[int] = []

        def work(threads: int) -> None:
            taken.append(threads)
            self.now += self.one if threads == 1 else self.more

        for _ in range(count):
            self.choice.run(work, threads)
        return taken


def test_all_threads_on_a_quiet_machine():
    machine = Machine(one=0.007, more=0.004)
    assert machine.calls(100) == [1] * FIRST_CALLS + [2] * (100 - FIRST_CALLS)


def test_one_thread_on_a_busy_machine_and_all_when_it_is_quiet_again():
    machine = Machine(one=0.007, more=0.004)
    machine.calls(50)
    machine.one, machine.more = 0.012, 0.2
    taken = machine.calls(2000)  # 24 seconds or more
    assert taken[:3] == [2, 1, 1]
    assert 2 <= sum(threads > 1 for threads in taken) <= 8
    assert taken[-1] == 1
    machine.one, machine.more = 0.007, 0.004
    taken = machine.calls(int(PATIENCE[1] / 0.007) + 10)
    assert taken[-1] == 2


def test_a_machine_that_is_busy_from_the_start():
    machine = Machine(one=0.012, more=0.2)
    taken = machine.calls(30)
    assert taken[FIRST_CALLS : FIRST_CALLS + 3] == [2, 2, 1]


def test_a_little_slower_is_no_reason_to_change():
    machine = Machine(one=0.010, more=0.008)
    machine.calls(10)
    machine.more = 0.011
    assert machine.calls(100) == [2] * 100


def test_one_thread_is_all_there_is():
    machine = Machine(one=0.010, more=0.001)
    assert machine.calls(10, threads=1) == [1] * 10


def test_what_the_work_raises_comes_through():
    def work(threads: int) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        ThreadChoice().run(work, 2)


def test_numba_s_first_launch_leaves_pytorch_s_threads_alone():
    pytest.importorskip("numba", reason="Numba is not installed")
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from flashschnet_kernels.numba_math import match_torch_threads\n"
        "match_torch_threads(); print(torch.get_num_threads())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1"]
