"""What a puzzle is: arguments with shapes and units, cases, a definition and typical mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Inputs = Mapping[str, Any]
"""What a launcher gets, by name: tensors and plain numbers, without the output."""

CATEGORIES = {
    "unsolved": "not solved yet",
    "crash": "it does not run",
    "mask": "mask",
    "race": "race",
    "start": "start value",
    "index": "index",
    "dtype": "dtype",
    "formula": "formula",
    "unknown": "wrong values",
}
"""Kinds of mistakes, and what a reader sees of them."""


@dataclass(frozen=True)
class Argument:
    """One argument of a launcher.

    Attributes:
        name: as in the formula.
        axes: what each axis counts: ("edge", "channel"); empty for a plain number.
        unit: "" for none.
        meaning: a few words.
        kind: "float" or "int".
    """

    name: str
    axes: tuple[str, ...]
    unit: str
    meaning: str
    kind: str = "float"


@dataclass(frozen=True)
class Case:
    """One set of inputs.

    Attributes:
        name: sizes, and what is special about them.
        inputs: by name, in the order of the arguments, on one device.
        dtype: of the output.
    """

    name: str
    inputs: Inputs
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        category: a key of `CATEGORIES`.
        what: a sentence.
        where: the first place, in words; may be empty.
        hint: what to look at; may be empty.
    """

    category: str
    what: str
    where: str = ""
    hint: str = ""

    def __str__(self) -> str:
        lines = [f"{CATEGORIES[self.category].upper()}: {self.what}"]
        lines += [f"  where: {self.where}"] if self.where else []
        lines += [f"  hint:  {self.hint}"] if self.hint else []
        return "\n".join(lines)


@dataclass(frozen=True)
class Suspect:
    """A typical mistake that shows in the values: what it computes, and what to say about it.

    Attributes:
        category: a key of `CATEGORIES`.
        what: a sentence.
        hint: what to look at.
        wrong: what the mistake computes from the inputs, float64.
    """

    category: str
    what: str
    hint: str
    wrong: Callable[[Inputs], Tensor]


@dataclass(frozen=True)
class Work:
    """What a kernel has to do at least, for the roofline.

    Attributes:
        bytes_moved: each input read once, each output written once.
        flops: floating-point operations; exp, cos and tanh count as one.
    """

    bytes_moved: int
    flops: int


@dataclass(frozen=True)
class Race:
    """A puzzle on a GPU: inputs of a real size, and our own kernel for the same job.

    Attributes:
        inputs: on the GPU.
        ours: runs our kernel once; its result is dropped.
        ours_is: what it computes, in words, honest about any difference.
        work: of the student's kernel.
    """

    inputs: Inputs
    ours: Callable[[], object]
    ours_is: str
    work: Work


@dataclass(frozen=True, repr=False)
class Puzzle:
    """A kernel to write.

    Attributes:
        name: for `check_puzzle`.
        title: a few words.
        formula: LaTeX.
        arguments: of the launcher, in order; the last one is the output.
        cases: makes the small cases, on a CPU.
        reference: the definition, in float64, from the inputs.
        suspects: mistakes that can be told from values.
        picture: of the specification, drawn from a case.
        race: makes the GPU's inputs and our kernel, on a device; None without one of ours.
        tolerance: largest error, of the largest expected value.
    """

    name: str
    title: str
    formula: str
    arguments: tuple[Argument, ...]
    cases: Callable[[], list[Case]]
    reference: Callable[[Inputs], Tensor]
    suspects: tuple[Suspect, ...]
    picture: Callable[[], Figure]
    race: Callable[[torch.device], Race] | None
    tolerance: float = 1e-5

    def __repr__(self) -> str:
        return f"<puzzle {self.name}: {', '.join(a.name for a in self.arguments)}>"

    @property
    def output(self) -> Argument:
        """The last argument."""
        return self.arguments[-1]

    def _repr_markdown_(self) -> str:
        """Return formula and arguments as a table, for a notebook."""
        lines = [f"$${self.formula}$$", "", "| argument | shape | unit | meaning |", "|-|-|-|-|"]
        for argument in self.arguments:
            shape = "number" if not argument.axes else f"[{', '.join(map(plural, argument.axes))}]"
            shape += f" {argument.kind}{'32' if argument.axes else ''}"
            last = "**output**: " if argument is self.output else ""
            lines.append(
                f"| `{argument.name}` | {shape} | {argument.unit} | {last}{argument.meaning} |"
            )
        return "\n".join(lines)


def plural(axis: str) -> str:
    """Return how an axis of a shape is written: "beads" for "bead", "3" for "xyz"."""
    if axis == "xyz":
        return "3"
    return axis.replace(" + 1", "s + 1") if axis.endswith(" + 1") else f"{axis}s"


def place_in_words(argument: Argument, inputs: Inputs, shape: tuple[int, ...], element: int) -> str:
    """Return what an element of an array stands for: "edge 17 (bead 5 to bead 3), channel 2".

    Args:
        argument: which array.
        inputs: of the case, for the ends of an edge.
        shape: of the array.
        element: in row-major order.
    """
    words = []
    for axis in range(len(shape) - 1, -1, -1):
        element, index = divmod(element, shape[axis])
        name = argument.axes[axis] if axis < len(argument.axes) else f"axis {axis}"
        if name == "xyz":
            words.append(f"component {'xyz'[index]}" if index < 3 else f"component {index}")
        elif name == "edge" and "sender" in inputs and "receiver" in inputs:
            i, j = int(inputs["receiver"][index]), int(inputs["sender"][index])
            words.append(f"edge {index} (i = {i}, j = {j})")
        else:
            words.append(f"{name} {index}")
    return ", ".join(reversed(words))
