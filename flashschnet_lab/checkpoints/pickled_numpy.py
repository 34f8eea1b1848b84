"""NumPy numbers and arrays in a pickle: made from their bytes, without NumPy's own unpickling."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from flashschnet_lab.checkpoints.known_names import Budget
from flashschnet_lab.checkpoints.pickle_machine import ClassName, Refused

_CODES = frozenset("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16".split())
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")


@dataclass(eq=False)
class NumpyType:
    """A plain number type of NumPy; its byte order comes after it in the file."""

    code: str
    order: str = "<"

    @property
    def dtype(self) -> np.dtype:
        """The type itself."""
        return np.dtype(self.order + self.code)


@dataclass(eq=False)
class PickledArray:
    """An array; its shape and bytes come after it in the file.

    Attributes:
        array: of numbers, or None before they came.
    """

    array: np.ndarray | None = None


def numpy_functions(budget: Budget) -> dict[str, Callable]:
    """Return the functions that make NumPy's values, by "module.name"."""

    def dtype(code: Any, *_: Any) -> NumpyType:
        if type(code) is not str or code not in _CODES:
            raise Refused(f"it has a NumPy array of {str(code)[:40]!r}, which is no number")
        return NumpyType(code)

    def scalar(kind: Any, data: Any) -> Any:
        return _numbers(kind, data, (), budget)[()].item()

    def reconstruct(cls: Any, *_: Any) -> PickledArray:
        if type(cls) is not ClassName or str(cls) != "numpy.ndarray":
            raise Refused("it has a NumPy array of an unusual class")
        return PickledArray()

    functions: dict[str, Callable] = {"numpy.dtype": dtype}
    for module in _MODULES:
        functions[f"{module}.scalar"] = scalar
        functions[f"{module}._reconstruct"] = reconstruct
    return functions


def build_numpy(value: Any, state: Any, budget: Budget) -> bool:
    """Give a type its byte order or an array its numbers; return whether `value` is either."""
    if type(value) is NumpyType and type(state) is tuple:
        order = state[1]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise Refused("it has a NumPy type with fields, which is no number")
        value.order = order
        return True
    if type(value) is PickledArray and type(state) is tuple:
        _, shape, kind, fortran, data = state
        array = _numbers(kind, data, shape, budget)
        value.array = array.reshape(shape[::-1]).T if fortran else array
        return True
    return False


def _numbers(kind: Any, data: Any, shape: Any, budget: Budget) -> np.ndarray:
    if type(kind) is not NumpyType or type(data) is not bytes or type(shape) is not tuple:
        raise Refused("it has a NumPy array that is not made of bytes")
    if not all(type(n) is int and n >= 0 for n in shape):
        raise Refused("it has a NumPy array of a strange shape")
    if math.prod(shape) * kind.dtype.itemsize != len(data):
        raise Refused("it has a NumPy array whose bytes do not fit its shape")
    budget.spend(len(data))
    return np.frombuffer(data, dtype=kind.dtype).reshape(shape).copy()
