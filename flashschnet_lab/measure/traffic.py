"""Bytes that the operations of a function read and write, counted while it runs.

Every operation counts its operands once and its results once, which is what it must move through
global memory if no cache holds them. That is the rule by which `measure.bytes` predicts, so the
prediction can be tested on any machine. A fused kernel is one operation here only if it is
registered as one; otherwise it is not seen at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_FILLS = ("new_zeros", "zeros_like", "ones_like", "new_empty", "empty_like", "new_full")
"""Operations that look at a tensor's shape only."""


@dataclass(frozen=True)
class Traffic:
    """What was counted.

    Attributes:
        bytes_read: of all operands.
        bytes_written: of all results.
        operations: how many operations moved data; on a GPU each is a launch.
    """

    bytes_read: int
    bytes_written: int
    operations: int


def count_traffic(function: Callable[[], object]) -> Traffic:
    """Return what the operations of a call read and write, its backward passes included."""
    counter = _Counter()
    with counter:
        function()
    return Traffic(counter.bytes_read, counter.bytes_written, counter.operations)


class _Counter(TorchDispatchMode):
    """Adds up the sizes of operands and results; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes_read = 0
        self.bytes_written = 0
        self.operations = 0

    def __torch_dispatch__(  # noqa: D105
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        operands = _tensors((args, kwargs))
        results = _tensors(result)
        storages = {_storage(t) for t in operands}
        if any(_storage(t) in storages for t in results) and not func._schema.is_mutable:
            return result  # a view
        if not func.overloadpacket.__name__.startswith(_FILLS):
            self.bytes_read += sum(map(_bytes, operands))
        self.bytes_written += sum(map(_bytes, results))
        self.operations += 1
        return result


def _tensors(values: Any) -> list[torch.Tensor]:
    """Return the tensors among `values`, each once."""
    found = {id(t): t for t in tree_leaves(values) if isinstance(t, torch.Tensor)}
    return list(found.values())


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _bytes(tensor: torch.Tensor) -> int:
    """Return the bytes of a tensor; a dimension that is only repeated counts once."""
    numbers = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        numbers *= size if stride else min(size, 1)
    return numbers * tensor.element_size()
