"""Peak memory of a function: the bytes of what it makes and that lives at once."""

from __future__ import annotations

import tracemalloc
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Result = TypeVar("Result")


def peak_bytes(function: Callable[[], object], device: torch.device) -> int:
    """Return the most bytes that tensors made during a call take at once.

    What lived before (weights, positions) is not counted. On a GPU the allocator is asked, which
    sees the workspaces inside operations too; elsewhere the storages of all results are followed.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        function()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    ledger = _Ledger()
    with ledger:
        function()
    return ledger.peak


def kept_bytes(
    function: Callable[[], Result], device: torch.device, *, arrays: bool = False
) -> tuple[Result, int]:
    """Return the result of a call, and the bytes of tensors made in it that still live after it.

    Args:
        function: what is measured.
        device: where it works.
        arrays: on a CPU, add the numpy arrays that live after it; the call takes longer then.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        result = function()
        torch.cuda.synchronize(device)
        return result, int(torch.cuda.memory_allocated(device) - before)
    ledger, numpys = _Ledger(), _Arrays()
    with ledger, numpys if arrays else nullcontext():
        result = function()
    return result, ledger.alive + numpys.kept


class _Ledger(TorchDispatchMode):
    """Counts the storages of the tensors that operations return, until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(  # noqa: D105
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        arguments = {id(_storage(t)) for t in tree_leaves((args, kwargs)) if _counts(t)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if _counts(tensor) and id(_storage(tensor)) not in arguments | self._known:
                self._enter(_storage(tensor))
        return result

    def _enter(self, storage: Any) -> None:
        size, key = storage.nbytes(), id(storage)
        self._known.add(key)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._leave, key, size)

    def _leave(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.alive -= size


class _Arrays:
    """Counts the bytes of numpy arrays that are made inside and live at the end."""

    def __init__(self) -> None:
        self.kept = 0

    def __enter__(self) -> _Arrays:
        self._was_tracing = tracemalloc.is_tracing()
        tracemalloc.start()
        self._before = self._alive()
        return self

    def __exit__(self, *_: object) -> None:
        self.kept = max(0, self._alive() - self._before)
        if not self._was_tracing:
            tracemalloc.stop()

    def _alive(self) -> int:
        numpys = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
        traces = tracemalloc.take_snapshot().filter_traces([numpys])
        return sum(trace.size for trace in traces.traces)


def _counts(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _storage(tensor: Any) -> Any:
    return tensor.untyped_storage()
