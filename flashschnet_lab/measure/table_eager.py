"""IO model of tabulated filters as plain PyTorch reads them: rows of pieces, and Horner's rule.

Everything around the filters is that of `eager`: an unordered pair serves both directions.
"""

from __future__ import annotations

from flashschnet_kernels.filter_table.table import FORMS
from flashschnet_lab.measure import eager
from flashschnet_lab.measure.stages import (
    INDEX,
    Moves,
    Sizes,
    Stage,
    choice,
    elementwise,
    gather,
    scatter_add,
)
from flashschnet_lab.measure.table_tiles import TYPICAL_PIECES
from flashschnet_lab.potentials.schnet import SchNetShape
from flashschnet_lab.potentials.tables import CLASSES

_MASK = 0.25  # a boolean, in numbers of four bytes
_COORDINATE = ((1, 1),) * 7 + ((1, _MASK), (0, 1), (2 + _MASK, 1), (1, 1), (1, 1))
# stretch, expm1, negate, scale, shift, clamp twice; r < cutoff, beyond, where; + 1/2, floor
_COORDINATE_BACK = ((2 + _MASK, 1), (1, 1), (2, 1), (1, 1), (1, 1), (2, 1), (1, 1), (1, 1))
_SCALARS_KEPT = 7.0


def distances(sizes: Sizes, links: float, word: int) -> tuple[Stage, Stage]:
    """Distances of all pairs, and from dE/dr to forces."""
    positions = (sizes.all_beads, 3)
    moves = gather(links, word, positions) * 2 + elementwise(links, word, (6, 3), (3, 1))
    back = elementwise(links, word, (4, 3), (1, _MASK), (3 + _MASK, 3), (4, 3), (3, 3))
    back += scatter_add(links, word, positions) * 2
    kept = word * links * 4
    return (
        Stage("radial basis", moves, kept=kept, extra=kept + 6 * word * links),
        Stage("radial basis, backward", back, kept=-kept, extra=9 * word * links),
    )


def block(
    shape: SchNetShape, sizes: Sizes, plan: object, links: float, word: int, number: int
) -> tuple[list[Stage], list[Stage]]:
    """One block, forward and backward."""
    network = eager.block(shape, sizes, plan, links, word, number)
    backward = eager.block_backward(shape, sizes, plan, links, word, number)
    looked_up, back = _filters(shape, plan, links, word, number)
    return [looked_up, *network[1:]], [*backward[:-1], back]


def _filters(
    shape: SchNetShape, plan: object, links: float, word: int, number: int
) -> tuple[Stage, Stage]:
    """Coordinates, a row of coefficients for every pair, and Horner's rule; and back to dE/dr."""
    name = choice(plan, "filters").removeprefix("table-")
    orders, c = FORMS[CLASSES[name].form], shape.channels
    row, rows = word * links * c, 4 * links * orders * c
    table = 4.0 * (TYPICAL_PIECES[name] + 1) * orders * c
    moves = elementwise(links, word, *_COORDINATE) + Moves(table + INDEX * links, rows)
    if word == 8:
        moves += Moves(rows, 2 * rows)
        rows *= 3
    steps = [(2, 1), (c + 1, c), *[(c + 1, c), (2 * c, c)] * (orders - 1)]
    moves += elementwise(links, word, *steps)
    # A sum needs nothing for its gradient, a product with t needs what was multiplied.
    kept = orders * row + word * links * _SCALARS_KEPT
    back = [(c + 1, c), (2 * c, c), (c, 1), (2, 1)] * (orders - 1)
    added = [] if number == shape.blocks - 1 else [(2, 1)]  # over blocks
    moves_back = elementwise(links, word, *back, *_COORDINATE_BACK, *added)
    label = f"block {number} filter"
    return (
        Stage(label, moves, kept=kept, extra=kept + rows),
        Stage(label + ", backward", moves_back, kept=-kept, extra=2 * row),
    )
