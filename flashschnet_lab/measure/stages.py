"""The vocabulary of the IO model: sizes, operations, stages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

INDEX = 8
"""Bytes of an index (int64)."""

FUSED = ("triton", "cpu")
"""Implementations of message passing without a tensor that has a row per pair."""

_PLAINEST = {"quantization": "none", "filters": "network"}

WORD = {"float32": 4, "float64": 8}
"""Bytes of a number, by precision."""


@dataclass(frozen=True)
class Sizes:
    """How large a molecule is, and how many copies there are. All but `replicas` are of one copy.

    Attributes:
        beads: beads.
        directed_edges: ordered pairs of beads closer than the network's cutoff.
        replicas: copies.
        bonds, angles, dihedrals, repulsion: terms of the classical priors.
        contacts: pairs of a structure-based potential.
    """

    beads: int
    directed_edges: int
    replicas: int = 1
    bonds: int = 0
    angles: int = 0
    dihedrals: int = 0
    repulsion: int = 0
    contacts: int = 0

    @property
    def all_beads(self) -> int:
        """Beads of all copies."""
        return self.beads * self.replicas

    @property
    def all_edges(self) -> int:
        """Directed edges of all copies."""
        return self.directed_edges * self.replicas

    @property
    def density(self) -> float:
        """Part of all ordered pairs of a molecule that lie within the cutoff."""
        return self.directed_edges / max(1, self.beads * (self.beads - 1))


@dataclass(frozen=True)
class Moves:
    """What operations do: bytes read, bytes written, floating-point operations."""

    read: float = 0.0
    written: float = 0.0
    flops: float = 0.0

    def __add__(self, other: Moves) -> Moves:
        return Moves(self.read + other.read, self.written + other.written, self.flops + other.flops)

    def __mul__(self, times: float) -> Moves:
        return Moves(self.read * times, self.written * times, self.flops * times)


def total(moves: Iterable[Moves]) -> Moves:
    """Return the sum of moves."""
    return sum(moves, Moves())


def elementwise(rows: float, word: int, *operations: tuple[float, float]) -> Moves:
    """Return what element-by-element operations do.

    Args:
        rows: links or beads.
        word: bytes of a number.
        *operations: numbers (read, written) per row, one pair for each operation. Each number that
            is written costs one FLOP; exp, cos and tanh count as one too.
    """
    read, written = (sum(column) for column in zip(*operations, strict=True))
    return Moves(rows * word * read, rows * word * written, rows * written)


def matmul(rows: float, word: int, inputs: int, outputs: int, bias: bool = False) -> Moves:
    """Return what rows [rows, inputs] times a weight [inputs, outputs] (plus bias) do."""
    numbers = rows * inputs + inputs * outputs + bias * outputs
    return Moves(word * numbers, word * rows * outputs, 2.0 * rows * inputs * outputs)


def linear(
    rows: float, word: int, inputs: int, outputs: int, plan: object, bias: bool = False
) -> Moves:
    """Return what a linear layer does: a product, in 16 bit with its scales if the plan says so."""
    if choice(plan, "quantization") == "none":
        return matmul(rows, word, inputs, outputs, bias)
    operands = elementwise(rows, 1, (word * inputs, 2 * inputs))  # rounded
    product = Moves(2 * (rows * inputs + inputs * outputs), 4 * rows * outputs)
    scaled = elementwise(rows, 4, (outputs, outputs))
    flops = 2.0 * rows * inputs * outputs + rows * (inputs + outputs)
    return replace(operands + product + scaled, flops=flops)


def linear_backward(rows: float, word: int, inputs: int, outputs: int, plan: object) -> Moves:
    """Return what the gradient of a linear layer with respect to its [rows, inputs] does."""
    if choice(plan, "quantization") == "none":
        return matmul(rows, word, outputs, inputs)
    scaled = elementwise(rows, 4, (outputs, outputs), (outputs, 1), (inputs + 1, inputs))
    # by channel, largest of each row, back by row
    rounded = elementwise(rows, 1, (4 * outputs + 4, 2 * outputs))
    product = Moves(2 * (rows * outputs + inputs * outputs), 4 * rows * inputs)
    flops = 2.0 * rows * inputs * outputs + rows * (inputs + 3 * outputs)
    return replace(scaled + rounded + product, flops=flops)


def gather(rows: float, word: int, source: tuple[float, float]) -> Moves:
    """Return what picking `rows` rows of a table [its rows, width] does; it is read once."""
    return Moves(word * prod(source) + INDEX * rows, word * rows * source[1])


def scatter_add(rows: float, word: int, target: tuple[float, float]) -> Moves:
    """Return what zeroing a table [rows of it, width] and adding `rows` rows into it does."""
    size = word * prod(target)
    return Moves(word * rows * target[1] + INDEX * rows + size, 2 * size, float(rows * target[1]))


@dataclass(frozen=True)
class Stage:
    """One stage of an evaluation, as the models describe it.

    Attributes:
        name: for people.
        moves: bytes and FLOPs.
        kept: change of the bytes alive from its begin to its end; negative where it frees.
        extra: most bytes that it needs besides what is alive at its begin.
        on_chip: bytes that it moves between multiprocessors and cache without global memory.
    """

    name: str
    moves: Moves
    kept: float = 0.0
    extra: float = 0.0
    on_chip: float = 0.0


def choice(plan: object, operator: str) -> str:
    """Return the implementation of an operator in a plan; plans without it do not change it."""
    return str(getattr(plan, operator, _PLAINEST.get(operator, "reference")))
