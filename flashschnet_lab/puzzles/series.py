"""The puzzles, in the order in which they are meant to be solved."""

from __future__ import annotations

from importlib import import_module

from flashschnet_lab.errors import UserError
from flashschnet_lab.puzzles.specification import Puzzle

MODULES = {
    "double": "double",
    "distance": "distance",
    "rbf": "rbf",
    "gather": "gather",
    "segment_reduce": "segment_reduce",
    "cfconv": "convolution",
    "cfconv_backward": "convolution_backward",
    "tile": "tile",
}
"""Name of each puzzle and the module that it is in; "double" is a warm-up."""


def open_puzzle(name: str) -> Puzzle:
    """Return a puzzle; a notebook shows its formula and arguments, `.picture()` draws it.

    Raises:
        UserError: an unknown name, with the known ones.
    """
    if name not in MODULES:
        raise UserError(f"there is no puzzle {name!r}; there are {', '.join(MODULES)}")
    puzzle: Puzzle = import_module(f"flashschnet_lab.puzzles.{MODULES[name]}").PUZZLE
    return puzzle
