"""The warm-up: twice each number. Nothing to think about but blocks and masks."""

from __future__ import annotations

import torch
from torch import Tensor

from flashschnet_lab.puzzles import drawings
from flashschnet_lab.puzzles.chemistry import random
from flashschnet_lab.puzzles.specification import (
    Argument,
    Case,
    Inputs,
    Puzzle,
    Race,
    Suspect,
    Work,
)

GPU_SIZE = 1 << 26


def _cases() -> list[Case]:
    return [
        Case("32 numbers", {"x": random(32, seed=1)}),
        Case("37 numbers, so that the last block is not full", {"x": random(37, seed=2)}),
        Case("a single number", {"x": random(1, seed=3)}),
    ]


def _reference(inputs: Inputs) -> Tensor:
    result: Tensor = 2.0 * inputs["x"].double()
    return result


def _square(inputs: Inputs) -> Tensor:
    result: Tensor = inputs["x"].double() ** 2
    return result


def _race(device: torch.device) -> Race:
    x = random(GPU_SIZE, seed=1).to(device)
    out = torch.empty_like(x)
    work = Work(bytes_moved=2 * x.nbytes, flops=GPU_SIZE)
    return Race({"x": x}, lambda: torch.mul(x, 2.0, out=out), "torch.mul", work)


PUZZLE = Puzzle(
    name="double",
    title="Warm-up: twice each number",
    formula="y_n = 2\\,x_n",
    arguments=(
        Argument("x", ("number",), "", "any numbers"),
        Argument("y", ("number",), "", "twice as large"),
    ),
    cases=_cases,
    reference=_reference,
    suspects=(Suspect("formula", "this is the square of each number", "2 x, not x x.", _square),),
    picture=drawings.double,
    race=_race,
)
