"""Room for lists of neighbours: steps that ran short of it are made again, with more.

Large molecules have room for fewer tiles than there can be. A search that needs more says so on the
device, and the steps go on; what they make is thrown away when the host sees it. No step waits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flashschnet_lab.potentials.neighborhood import TileFinder
from flashschnet_lab.potentials.sum import ForceField
from flashschnet_lab.simulation.state import State


def watched(
    force_field: ForceField, before: State, advance: Callable[[State], State]
) -> tuple[State, Tensor | None]:
    """Make steps without a look at the room of their lists.

    Args:
        force_field: of the steps.
        before: what they start from.
        advance: makes them.

    Returns:
        The state after them, and [1] int32: 0, or what a list had no room for. Then the state is
        wrong, and the steps have to be made again from `before`, after `make_room`. None where
        there is always room.
    """
    finder = _bounded(force_field, before)
    if finder is None:
        return advance(before), None
    with finder.look_later():
        after = advance(before)
    return after, finder.shortage()


def make_room(force_field: ForceField, before: State, needed: int) -> None:
    """Give the lists of a force field more room, for steps that start from a state.

    Waits for the device: steps that were made ahead may still work in the room of before.
    """
    if before.positions.is_cuda:
        torch.cuda.synchronize(before.positions.device)
    finder = _bounded(force_field, before)
    if finder is not None:
        finder.grow(needed)


def _bounded(force_field: ForceField, state: State) -> TileFinder | None:
    """Return what finds the tiles of a force field, if it has not room for all of them."""
    if force_field.network is None or force_field.plan.neighbors != "tiles":
        return None
    if force_field._finder is None:
        force_field._neighbors(state.positions.reshape(-1, 3))  # the first search counts
    finder = force_field._finder
    return finder if isinstance(finder, TileFinder) and not finder.search.complete else None
