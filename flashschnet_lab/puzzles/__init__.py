"""Puzzles: kernels to write in Triton, and a checker that says what is wrong with them.

    from flashschnet_lab.puzzles import check_puzzle, open_puzzle
    open_puzzle("distance")                # what is asked for
    check_puzzle("distance", my_launcher)  # right, or what is wrong and where

A launcher is a plain function that takes the puzzle's arguments and launches a `@triton.jit`
kernel. The checker interprets it on the CPU; where there is a GPU it also compiles and times it.
Names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flashschnet_lab.puzzles.diagnosis import Diagnosis as Diagnosis
    from flashschnet_lab.puzzles.diagnosis import check_puzzle as check_puzzle
    from flashschnet_lab.puzzles.diagnosis import diagnose as diagnose
    from flashschnet_lab.puzzles.interpreter import interpreted as interpreted
    from flashschnet_lab.puzzles.series import open_puzzle as open_puzzle

_HOMES = {
    "Diagnosis": "diagnosis",
    "check_puzzle": "diagnosis",
    "diagnose": "diagnosis",
    "interpreted": "interpreter",
    "open_puzzle": "series",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
