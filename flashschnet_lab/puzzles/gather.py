"""Puzzle 3: fetch the features of the sender of every edge."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flashschnet_lab.puzzles import chemistry, drawings
from flashschnet_lab.puzzles.specification import (
    Argument,
    Case,
    Inputs,
    Puzzle,
    Race,
    Suspect,
    Work,
)

MOLECULES, BEADS, CHANNELS = 64, 256, 64  # on a GPU


def _edges(beads: int, edges: int, channels: int, seed: int) -> Inputs:
    found = chemistry.edges_within(chemistry.chain(beads, seed))
    assert len(found.receiver) >= edges
    return {
        "features": chemistry.random(beads, channels, seed=seed),
        "receiver": found.receiver[:edges].clone(),
        "sender": found.sender[:edges].clone(),
    }


def _cases() -> list[Case]:
    return [
        Case("32 edges, 16 channels", _edges(12, 32, 16, seed=1)),
        Case("37 edges, so that the last block is not full", _edges(12, 37, 16, seed=2)),
        Case("12 channels, which is no power of two", _edges(12, 32, 12, seed=4)),
        Case("a single edge", _edges(5, 1, 16, seed=5)),
    ]


def _reference(inputs: Inputs) -> Tensor:
    result: Tensor = inputs["features"].double()[inputs["sender"].long()]
    return result


def _receiver(inputs: Inputs) -> Tensor:
    result: Tensor = inputs["features"].double()[inputs["receiver"].long()]
    return result


def _flat(stride: int) -> Callable[[Inputs], Tensor]:
    """Return what comes of reading row j at j * stride (0: at j * number of beads)."""

    def wrong(inputs: Inputs) -> Tensor:
        features = inputs["features"].double()
        row = inputs["sender"].long()[:, None] * (stride or len(features))
        at = row + torch.arange(features.shape[1])
        return features.flatten()[at.clamp_max(features.numel() - 1)]

    return wrong


_STRIDE = "row j of [beads, channels] begins at j * channels."
_SUSPECTS = (
    Suspect(
        "index",
        "i and j are swapped: these are the features of the receivers",
        "a message travels from the sender j to the receiver i, so it carries the features of j.",
        _receiver,
    ),
    Suspect("index", "the stride between rows is 1", _STRIDE, _flat(1)),
    Suspect("index", "the stride between rows is the number of beads", _STRIDE, _flat(0)),
)


def _race(device: torch.device) -> Race:
    from flashschnet_kernels.aggregation.triton import gather

    positions = chemistry.molecules(MOLECULES, BEADS, device)
    edges = chemistry.edges_within(positions, (BEADS,) * MOLECULES)
    features = chemistry.random(len(positions), CHANNELS, seed=1).to(device)
    inputs = {"features": features, "receiver": edges.receiver, "sender": edges.sender}
    count = len(edges.sender)
    moved = 4 * count + 4 * count * CHANNELS + features.nbytes
    return Race(inputs, lambda: gather(features, edges), "our gather", Work(moved, 0))


PUZZLE = Puzzle(
    name="gather",
    title="3 · Gather",
    formula="\\mathrm{out}_{ec} = h_{\\mathrm{sender}_e,\\,c}",
    arguments=(
        Argument("features", ("bead", "channel"), "", "$h$, what each bead knows"),
        Argument("receiver", ("edge",), "", "bead i of each edge (not needed here)", "int"),
        Argument("sender", ("edge",), "", "bead j of each edge", "int"),
        Argument("out", ("edge", "channel"), "", "the sender's features"),
    ),
    cases=_cases,
    reference=_reference,
    suspects=_SUSPECTS,
    picture=drawings.gather,
    race=_race,
)
