"""IO model of the network as plain PyTorch runs it: every operation reads and writes whole tensors.

A link is a row that filters are evaluated on: an unordered pair, or for the baseline a directed
edge. Comments name the operations in the order of the tuples.
"""

from __future__ import annotations

from flashschnet_lab.measure.stages import (
    INDEX,
    Moves,
    Sizes,
    Stage,
    choice,
    elementwise,
    gather,
    linear,
    linear_backward,
    scatter_add,
    total,
)
from flashschnet_lab.potentials.schnet import SchNetShape

ROWS_PER_SEARCH = 2048
"""Beads that the reference search compares at once with the rest of their molecule."""

_MASK = 0.25  # a boolean, in numbers of four bytes
_SCALARS_KEPT = 11.0  # per link: displacement, r, u, two arguments of cos, two masks, envelopes
_ENVELOPE = ((1, 1), (1, 1), (1, 1), (1, 1), (1, _MASK), (0, 1), (2 + _MASK, 1))
# scale, cos, + 1, halve, r < cutoff, zeros, where
_ENVELOPE_BACK = ((1 + _MASK, 1), (1, 1), (1, 1), (1, 1), (2, 1), (1, 1))
# where, halve, sin, negate, times it, scale


def neighbors(sizes: Sizes, plan: object, word: int) -> Stage:
    """Search all pairs of each molecule and list those within the cutoff."""
    pairs = sizes.all_edges / 2
    index = elementwise(pairs, INDEX, (0, 3), (2, 2), (1, 1), (1, 1), (3, 2), (2, 2))
    # nonzero, stack, times beads, + first, shift, cat
    kept = 2 * INDEX * pairs
    if choice(plan, "message_passing") == "edge_list":
        index += elementwise(pairs, INDEX, (2, 2), (4, 4))  # flip, cat
        kept *= 3
    rows = min(sizes.beads, ROWS_PER_SEARCH)
    compared = sizes.replicas * sizes.beads * rows * (sizes.beads / rows)
    search = elementwise(
        compared, word, (0, 3), (3, 3), (3, 1), (1, _MASK), (_MASK, _MASK), (_MASK, 0)
    )  # differences, squares, sum, < cutoff, i < j, nonzero
    extra = word * 7 * sizes.replicas * sizes.beads * rows
    return Stage("neighbors", search + index, kept=kept, extra=extra)


def links_of(sizes: Sizes, plan: object) -> float:
    """Return the rows that filters are evaluated on."""
    directed = choice(plan, "message_passing") == "edge_list"
    return sizes.all_edges if directed else sizes.all_edges / 2


def radial_basis(shape: SchNetShape, sizes: Sizes, links: float, word: int) -> Stage:
    """Displacements, distances, basis and envelope, one row per link and operation."""
    f, positions = shape.radial_functions, (sizes.all_beads, 3)
    moves = gather(links, word, positions) * 2 + elementwise(links, word, (6, 3), (3, 1))
    if shape.radial_basis == "exp_normal":
        moves += elementwise(links, word, (1, 1), (1, 1))  # -alpha r, exp
    basis = ((1, f), (f, f), (2 * f, f), (f, f), (f + 1, f))
    # - centre, times width, times itself, exp, times envelope
    moves += elementwise(links, word, *basis, *_ENVELOPE, *_ENVELOPE)
    kept = word * links * (4 * f + _SCALARS_KEPT)
    return Stage("radial basis", moves, kept=kept, extra=kept)


def radial_basis_backward(shape: SchNetShape, sizes: Sizes, links: float, word: int) -> Stage:
    """From gradients of basis and envelope to forces on the beads."""
    f, positions = shape.radial_functions, (sizes.all_beads, 3)
    basis = ((f + 1, f), (2 * f, f), (f, 1), (2 * f, f), (2 * f, f), (2 * f, f), (f, f), (2 * f, f))
    # times envelope, times Gaussian, sum; exp, two factors and the width, their sum
    moves = elementwise(links, word, *basis, (f, 1), *_ENVELOPE_BACK, *_ENVELOPE_BACK, (2, 1))
    if shape.radial_basis == "exp_normal":
        moves += elementwise(links, word, (2, 1), (1, 1), (2, 1))
    moves += elementwise(links, word, (4, 3), (1, _MASK), (3 + _MASK, 3), (4, 3), (3, 3))
    # r_ij / r, r == 0, masked, times the slope, negated
    moves += scatter_add(links, word, positions) * 2
    freed = word * links * (4 * f + _SCALARS_KEPT)
    return Stage("radial basis, backward", moves, kept=-freed, extra=3 * word * links * f)


def block(
    shape: SchNetShape, sizes: Sizes, plan: object, links: float, word: int, number: int
) -> list[Stage]:
    """One block forward: filters, gather, multiply, aggregate."""
    f, c, beads = shape.radial_functions, shape.channels, sizes.all_beads
    ways, row = _ways(plan), word * links * c
    filters = linear(links, word, f, c, plan, bias=True)
    filters += linear(links, word, c, c, plan, bias=shape.filter_bias)
    filters += elementwise(links, word, (c, c), (c + 1, c))  # tanh, times envelope
    added = elementwise(beads, word, (2 * c, c)) if ways == 2 else Moves()
    label = f"block {number} "
    return [
        # Kept for the backward pass: after tanh, before and after the envelope.
        Stage(label + "filter", filters, kept=3 * row, extra=3 * row),
        Stage(label + "gather", gather(links, word, (beads, c)) * ways, ways * row, ways * row),
        Stage(
            label + "multiply",
            elementwise(links, word, (2 * c, c)) * ways,
            extra=row,
        ),
        # The embedding has no gradient, so the first block does not need its filters again.
        Stage(
            label + "aggregate",
            _aggregate(links, word, (beads, c), plan) * ways + added,
            kept=-(row if number == 0 else 0) + word * beads * c,
            extra=row + word * beads * c * ways,
        ),
    ]


def block_backward(
    shape: SchNetShape, sizes: Sizes, plan: object, links: float, word: int, number: int
) -> list[Stage]:
    """One block backward, from the gradient of the messages to those of basis and features."""
    f, c, beads = shape.radial_functions, shape.channels, sizes.all_beads
    ways, row, first = _ways(plan), word * links * c, number == 0
    last = number == shape.blocks - 1
    products = elementwise(links, word, *([(2 * c, c)] * (1 if first else 2))) * ways
    if ways == 2:
        products += elementwise(links, word, (2 * c, c))  # gradients of both directions
    filters = [elementwise(links, word, (2 * c, c), (c, 1), (c + 1, c), (2 * c, c))]
    # times filter, sum: envelope; times envelope; tanh
    filters += [linear_backward(links, word, c, c, plan), linear_backward(links, word, f, c, plan)]
    if not last:
        filters.append(elementwise(links, word, (2 * f, f), (2, 1)))  # sums over blocks
    multiply_kept = -(2 if first else 3) * row if ways == 2 else -row
    # The second direction follows the first.
    label = f"block {number} "
    stages = [
        Stage(
            label + "aggregate, backward",
            gather(links, word, (beads, c)) * ways,
            kept=row - word * beads * c,
            extra=row,
        ),
        Stage(
            label + "multiply, backward",
            products,
            kept=multiply_kept,
            extra=(1 if first else 2) * row,
        ),
    ]
    if not first:
        back = _aggregate(links, word, (beads, c), plan) * ways
        back += elementwise(beads, word, (2 * c, c)) * (ways - 1)
        kept = word * beads * c - (row if ways == 1 else 0.0)
        stages.append(Stage(label + "gather, backward", back, kept))
    freed = 3 * row - (word * links * f if last else 0.0)
    stages.append(Stage(label + "filter, backward", total(filters), kept=-freed, extra=2 * row))
    return stages


def _ways(plan: object) -> int:
    """Return how often a link is gathered: a pair serves both directions."""
    return 1 if choice(plan, "message_passing") == "edge_list" else 2


def _aggregate(links: float, word: int, target: tuple[float, float], plan: object) -> Moves:
    if choice(plan, "aggregation") == "reference":
        return scatter_add(links, word, target)
    beads, width = target  # a segment reduce: rows in, sums out, and where each segment begins
    return Moves(
        word * links * width + INDEX * (links + beads), word * beads * width, links * width
    )
