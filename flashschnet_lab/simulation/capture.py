"""Whole steps as CUDA graphs: a hundred launches become one, so that small systems are not slow.

Steps are captured once and replayed. Their numbers are those of the steps that they were captured
from, to the bit: the same kernels run in the same order. Steps of the reference read noise that
was made outside the graph, in blocks, and pick their slice by a counter on the device; fused steps
make their own (`fused_step.py`).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.simulation.guards import guard
from flashschnet_lab.simulation.integrators import Step
from flashschnet_lab.simulation.state import FIELDS, Dynamics, State

WARM_UP_STEPS = 3
STEPS_PER_LAUNCH = 20
"""Steps in the larger of two graphs; guards are looked at every 100 steps, so it divides that."""


def why_not(plan: KernelPlan, has_network: bool, integrator: str, device: torch.device) -> str:
    """Return why the steps of a simulation cannot be captured, or nothing.

    Args:
        plan: of the force field.
        has_network: whether the model has one; neighbours are found only for it.
        integrator: name in the registry.
        device: where it runs.
    """
    if device.type != "cuda":
        return "CUDA graphs need a GPU"
    if has_network and plan.neighbors != "tiles":
        return f"neighbors={plan.neighbors} looks at the device from the host in every step"
    if integrator == "brownian":
        return "the brownian integrator reads the noise of two steps"
    return ""


class StepGraphs:
    """One graph of many steps and one of a single step, for the rest.

    Args:
        one_step: advances a state in place; it is called to warm up, so load the state again.
        device: where it runs.
    """

    def __init__(self, one_step: Callable[[], None], device: torch.device) -> None:
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_STEPS):
                one_step()
        torch.cuda.current_stream(device).wait_stream(side)
        self._one, self._many = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with _no_garbage_collection():
            with torch.cuda.graph(self._one):
                one_step()
            # Never replayed at the same time, and all that outlives a step is outside: one pool.
            with torch.cuda.graph(self._many, pool=self._one.pool()):
                for _ in range(STEPS_PER_LAUNCH):
                    one_step()

    def replay(self, steps: int) -> None:
        """Advance by so many steps."""
        many, rest = divmod(steps, STEPS_PER_LAUNCH)
        for _ in range(many):
            self._many.replay()
        for _ in range(rest):
            self._one.replay()


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Collect garbage now, and not within.

    What is collected may be graphs of an earlier plan, and freeing those ends a capture with an
    error. PyTorch collects by itself up to 2.8 only.
    """
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class CapturedStep:
    """Steps of the reference integrators in CUDA graphs.

    Args:
        advance: the integrator.
        dynamics: constants, forces and noise; `noise` is not called.
        state: any state of the simulation; the graphs are captured from it.
        noise_block: block number to noise [length, replicas, beads, 3].
        length: steps of a block.
    """

    def __init__(
        self,
        advance: Step,
        dynamics: Dynamics,
        state: State,
        noise_block: Callable[[int], Tensor],
        length: int,
    ) -> None:
        self._noise_block, self._length = noise_block, length
        self._noise = noise_block(state.step // length).clone()
        self._block = state.step // length
        device = state.positions.device
        self._step = torch.zeros((), dtype=torch.int64, device=device)
        self._slot = torch.zeros(1, dtype=torch.int64, device=device)
        self._state = {name: getattr(state, name).clone() for name in FIELDS}
        self._advance = advance
        self._dynamics = replace(dynamics, noise=self._noise_of_slot)
        self._load(state)
        self._graphs = StepGraphs(self._one_step, device)

    def run(self, state: State, steps: int, _: Callable[[], bool]) -> State:
        """Return the state after so many steps."""
        self._load(state)
        done = 0
        while done < steps:
            block, slot = divmod(state.step + done, self._length)
            if block != self._block:
                self._noise.copy_(self._noise_block(block))
                self._block = block
            self._slot.fill_(slot)
            now = min(steps - done, self._length - slot)
            self._graphs.replay(now)
            done += now
        fields = {name: tensor.clone() for name, tensor in self._state.items()}
        return State(step=state.step + steps, **fields)

    def _load(self, state: State) -> None:
        for name, tensor in self._state.items():
            tensor.copy_(getattr(state, name))
        self._step.fill_(state.step)
        self._slot.fill_(state.step % self._length)

    def _noise_of_slot(self, _: object) -> Tensor:
        # The steps of warming up may run over the end of a block; what they make is not kept.
        return self._noise.index_select(0, self._slot % self._length)[0]

    def _one_step(self) -> None:
        """Advance the state in place. The step is a tensor here: a number would be captured."""
        before = State(step=self._step, **self._state)  # type: ignore[arg-type]
        after = guard(before, self._advance(before, self._dynamics), self._dynamics)
        for name, tensor in self._state.items():
            tensor.copy_(getattr(after, name))
        self._step += 1
        self._slot += 1
