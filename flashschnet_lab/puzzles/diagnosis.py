"""The checker: run a launcher on small cases, and say what is wrong instead of only that it is."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from flashschnet_lab.puzzles.accesses import access_findings
from flashschnet_lab.puzzles.interpreter import KernelError, interpreted, require_triton
from flashschnet_lab.puzzles.memory import Memory
from flashschnet_lab.puzzles.pictures import difference_picture
from flashschnet_lab.puzzles.series import open_puzzle
from flashschnet_lab.puzzles.specification import (
    CATEGORIES,
    Argument,
    Case,
    Finding,
    Puzzle,
    place_in_words,
)
from flashschnet_lab.puzzles.speed import Speed, measure
from flashschnet_lab.puzzles.values import poisoned, value_findings, wrong_elements

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Launcher = Callable[..., object]
"""Takes the puzzle's arguments in order, the output last, and launches the kernel."""


@dataclass(frozen=True)
class Diagnosis:
    """What the checker found.

    Attributes:
        puzzle: which one.
        passed: names of the cases that are right, up to the first that is not.
        failed: name of the first case that is not right; empty if all are.
        findings: what is wrong there.
        speed: times and roofline on a GPU; None without one, or if something is wrong.
        figure: a picture of it; None where there is nothing to see.
    """

    puzzle: Puzzle
    passed: tuple[str, ...]
    failed: str = ""
    findings: tuple[Finding, ...] = ()
    speed: Speed | None = None
    figure: Figure | None = None

    @property
    def solved(self) -> bool:
        """Whether all cases are right."""
        return not self.findings

    @property
    def categories(self) -> tuple[str, ...]:
        """Keys of `CATEGORIES`, one per finding."""
        return tuple(finding.category for finding in self.findings)

    def __str__(self) -> str:
        ticks = [f"✓ {name}" for name in self.passed]
        if self.solved:
            speed = str(self.speed) if self.speed else (
                "Speed: on a computer with a GPU, this line times your kernel against ours and "
                "draws both on the roofline."
            )  # fmt: skip
            return "\n".join([*ticks, f"Solved: {self.puzzle.title}.", speed])
        if self.categories == ("unsolved",):
            return f"… {self.puzzle.title}: not solved yet. {self.findings[0].what}"
        return "\n".join([*ticks, f"✗ {self.failed}", *map(str, self.findings)])

    def __repr__(self) -> str:
        state = "solved" if self.solved else ", ".join(CATEGORIES[c] for c in self.categories)
        return f"<puzzle {self.puzzle.name}: {state}>"

    def _repr_png_(self) -> bytes | None:
        """Return the picture for a notebook."""
        if self.figure is None:
            return None
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png")
        return buffer.getvalue()


def check_puzzle(name: str, launch: Launcher) -> Diagnosis:
    """Check a solution, print what was found, and return it; a notebook shows its picture.

    Args:
        name: of the puzzle.
        launch: called with the puzzle's arguments in order; it launches the kernel.

    Raises:
        UserError: an unknown puzzle, or Triton is missing.
    """
    result = diagnose(name, launch)
    print(result)
    return result


def diagnose(name: str, launch: Launcher) -> Diagnosis:
    """Check a solution: small cases in the interpreter, then, on a GPU, compiled and timed.

    Args:
        name: of the puzzle.
        launch: as for `check_puzzle`.

    Raises:
        UserError: an unknown puzzle, or Triton is missing.
    """
    puzzle = open_puzzle(name)
    require_triton()
    passed: list[str] = []
    for case in puzzle.cases():
        findings, figure = _check_case(puzzle, case, launch)
        if findings:
            return Diagnosis(puzzle, tuple(passed), case.name, tuple(findings), None, figure)
        passed.append(case.name)
    if not torch.cuda.is_available():
        return Diagnosis(puzzle, tuple(passed))
    outcome = measure(puzzle, launch, torch.device("cuda"))
    if isinstance(outcome, Finding):
        return Diagnosis(puzzle, tuple(passed), "compiled, on the GPU", (outcome,))
    return Diagnosis(puzzle, tuple(passed), speed=outcome, figure=outcome.picture())


def _check_case(
    puzzle: Puzzle, case: Case, launch: Launcher
) -> tuple[list[Finding], Figure | None]:
    """Return what is wrong with one case, and a picture of it."""
    expected = puzzle.reference(case.inputs)
    output = poisoned(tuple(expected.shape), case.dtype)
    inputs = {
        name: value.clone() if isinstance(value, Tensor) else value
        for name, value in case.inputs.items()
    }
    memory = Memory()
    for name, value in inputs.items():
        if isinstance(value, Tensor):
            memory.add(name, value)
    memory.add(puzzle.output.name, output, poisoned=True)
    crash = _run(launch, [*inputs.values(), output], memory)
    if crash is None and not memory.launches:
        return [_no_kernel()], None
    found = output.double().numpy()
    unset = np.isnan(found) & (_writers(memory, puzzle.output.name, found.shape) < 0)
    picture = partial(_picture, puzzle, case, found, expected.numpy(), memory)
    arguments = {argument.name: argument for argument in puzzle.arguments}
    words = partial(_words, arguments, case, tuple(expected.shape))
    sizes = {name: value.numel() for name, value in inputs.items() if isinstance(value, Tensor)}
    sizes[puzzle.output.name] = output.numel()
    bad_accesses = access_findings(memory.accesses, sizes, words)
    if crash is not None:
        return [crash, *bad_accesses[:1]], None
    changed = _overwritten(case, inputs)
    if changed and not bad_accesses:
        return [changed], picture()
    if unset.all() and not bad_accesses:
        text = f"The kernel ran, but wrote nothing to `{puzzle.output.name}`."
        return [Finding("unsolved", text)], None
    # One thing at a time: wrong values are often no more than the symptom of a wrong access.
    findings = bad_accesses or value_findings(puzzle, case, found, expected.numpy(), unset)
    return findings, picture() if findings else None


def _run(launch: Launcher, arguments: list[Any], memory: Memory) -> Finding | None:
    """Launch in the interpreter; return what went wrong, if it does not run at all."""
    try:
        with interpreted(memory):
            launch(*arguments)
    except KernelError as error:
        where = f"in `{error.line}`" if error.line else ""
        return Finding("crash", f"the kernel stops: {error}", where, _advice(str(error)))
    except Exception as error:
        return Finding("crash", f"the launcher stops: {type(error).__name__}: {error}",
                       hint="it is called with the arguments of the table, in this order, the "
                       "output last.")  # fmt: skip
    return None


def _advice(message: str) -> str:
    """Return a hint for messages of Triton that say little to a beginner."""
    if "shape" in message or "broadcast" in message:
        return (
            "blocks that meet must fit: [a] and [b] do not, [a, 1] and [1, b] do: x[:, None], "
            "y[None, :]."
        )
    if "power of" in message:
        return "the length of a tl.arange is a power of two; a mask switches off the rest."
    if "NameError" in message:
        return "a kernel sees its arguments, other kernels and tl; everything else is an argument."
    return ""


def _overwritten(case: Case, inputs: dict[str, Any]) -> Finding | None:
    """Return what to say if an input is no longer what it was."""
    for name, value in case.inputs.items():
        if isinstance(value, Tensor) and not value.equal(inputs[name]):
            text = f"the kernel overwrites its input `{name}`"
            return Finding("index", text, hint="is it the pointer that you meant to store to?")
    return None


def _no_kernel() -> Finding:
    return Finding("unsolved", "No Triton kernel was launched: write kernel[grid](...) in there.")


def _words(
    arguments: dict[str, Argument], case: Case, shape: tuple[int, ...], name: str, element: int
) -> str:
    """Return what an element of a named array stands for."""
    argument = arguments.get(name)
    value = case.inputs.get(name)
    if argument is None:
        return f"element {element} of `{name}`"
    if isinstance(value, Tensor):
        shape = tuple(value.shape)
    if not 0 <= element < prod(shape):
        return f"element {element}"
    return place_in_words(argument, case.inputs, shape, element)


def _writers(memory: Memory, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return which program wrote each element of an array last; -1 for nobody."""
    writer = np.full(prod(shape), -1)
    programs: dict[tuple[int, int, int], int] = {}
    for access in memory.accesses:
        number = programs.setdefault(access.program, len(programs))
        if access.array == name and access.kind != "load":
            writer[access.elements] = number
    return writer.reshape(shape)


def _picture(
    puzzle: Puzzle, case: Case, found: np.ndarray, expected: np.ndarray, memory: Memory
) -> Figure:
    return difference_picture(
        found,
        expected,
        wrong_elements(found, expected, puzzle.tolerance),
        _writers(memory, puzzle.output.name, found.shape),
        puzzle.output.axes,
        f"{puzzle.output.name}: {case.name}",
        sum(
            len(access.outside)
            for access in memory.accesses
            if access.array == puzzle.output.name and access.kind != "load"
        ),
    )
