"""Puzzle 7: the same messages without a list of neighbours, tile by tile of all pairs."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from flashschnet_lab.puzzles import chemistry, convolution, drawings
from flashschnet_lab.puzzles.specification import (
    Argument,
    Case,
    Inputs,
    Puzzle,
    Race,
    Suspect,
    Work,
)

BEADS = 1024  # on a GPU


def _small(positions: Tensor, seed: int) -> dict[str, Any]:
    inputs = convolution.small(positions, seed)
    return {name: value for name, value in inputs.items() if name not in ("row_start", "sender")}


def _cases() -> list[Case]:
    return [
        Case("8 beads", _small(chemistry.chain(8, seed=1), seed=1)),
        Case("13 beads: the last tile is not full", _small(chemistry.chain(13, seed=2), seed=2)),
        Case(
            "19 beads, one out of reach",
            _small(convolution.with_a_lonely_bead(19, seed=3), seed=3),
        ),
    ]


def all_pairs(inputs: Inputs, mistake: str = "", size: int = 0) -> Tensor:
    """Return m_i = sum over j != i of W(r_ij) h_j, float64, or what a mistake makes of it.

    Args:
        inputs: of the puzzle.
        mistake: "", "with itself", "with itself twice", "upper", "lower", "same tile
            twice", "same tile once", "no tile but the own", or one of `convolution.filters`.
        size: of a tile.
    """
    inputs = chemistry.double(inputs)
    beads = len(inputs["positions"])
    index = torch.arange(beads, device=inputs["positions"].device)
    i, j = (axis.flatten() for axis in torch.meshgrid(index, index, indexing="ij"))
    same = (i // size == j // size) if size else torch.zeros_like(i, dtype=torch.bool)
    count = (i != j).double()
    if mistake == "with itself":
        count = torch.ones_like(count)
    elif mistake == "with itself twice":
        count = 1.0 + (i == j)
    elif mistake == "upper":
        count = (i < j).double()
    elif mistake == "lower":
        count = (i > j).double()
    elif mistake == "same tile twice":
        count = count * (1.0 + same)
    elif mistake == "same tile once":
        count = count * (~same | (i < j))
    elif mistake == "no tile but the own":
        count = count * same
    r_ij = (inputs["positions"][j] - inputs["positions"][i]).norm(dim=1)
    message = count[:, None] * convolution.filters(r_ij, inputs, mistake) * inputs["features"][j]
    return torch.zeros_like(inputs["features"]).index_add_(0, i, message)


def _reference(inputs: Inputs) -> Tensor:
    """Return the messages row by row, so that a large molecule fits in memory."""
    if len(inputs["positions"]) <= 64:
        return all_pairs(inputs)
    edges = chemistry.edges_within(inputs["positions"])
    return convolution.messages({**inputs, "row_start": edges.row_start, "sender": edges.sender})


_BOTH = (
    "a pair i < j sends two messages, W h_j to i and W h_i to j: sum the tile along its columns "
    "and along its rows."
)
_SUSPECTS = (
    *(
        Suspect(
            "mask",
            "every bead also sends a message to itself" + (", twice" if "twice" in mistake else ""),
            "r_ii = 0 is below the cutoff. Switch off i == j.",
            partial(all_pairs, mistake=mistake),
        )
        for mistake in ("with itself", "with itself twice")
    ),
    Suspect(
        "index", "only the message from j to i counts, for i < j", _BOTH,
        partial(all_pairs, mistake="upper"),
    ),
    Suspect(
        "index", "only the message from i to j counts, for i < j", _BOTH,
        partial(all_pairs, mistake="lower"),
    ),
    *(
        Suspect(category, what, hint, partial(all_pairs, mistake=mistake, size=size))
        for size in (4, 8, 16)
        for mistake, category, what, hint in (
            (
                "same tile twice",
                "mask",
                "pairs within one tile are counted twice",
                "a tile on the diagonal holds (i, j) and (j, i), and you serve both directions of "
                "each: keep i < j there.",
            ),
            (
                "same tile once",
                "index",
                "pairs within one tile serve one direction only",
                "a tile on the diagonal must serve both directions as well.",
            ),
            (
                "no tile but the own",
                "index",
                "only pairs within one tile are counted",
                "the grid needs two axes: tiles of rows, and tiles of columns.",
            ),
        )
    ),
    *(
        Suspect(category, what, hint, partial(all_pairs, mistake=mistake))
        for category, what, hint, mistake in convolution.FILTER_SUSPECTS
    ),
)  # fmt: skip


def _race(device: torch.device) -> Race:
    from flashschnet_kernels.message_passing.filter_network import pack
    from flashschnet_kernels.message_passing.tile_geometry import measure_tiles
    from flashschnet_kernels.message_passing.triton import pass_messages
    from flashschnet_kernels.neighbors.tiles import TileSearch

    functions, channels = convolution.FUNCTIONS, convolution.CHANNELS
    positions = chemistry.molecules(1, BEADS, device)
    inputs: dict[str, Any] = {
        "positions": positions,
        "features": chemistry.random(BEADS, channels, seed=1),
        **chemistry.basis(functions),
        **chemistry.filter_weights(functions, channels),
    }
    inputs = {n: v.to(device) if isinstance(v, Tensor) else v for n, v in inputs.items()}
    search = TileSearch((BEADS,), inputs["cutoff"], device)
    packed = pack(chemistry.filter_network(inputs), "float32")

    def ours() -> Tensor:
        pairs = measure_tiles(positions, search(positions), inputs["cutoff"])
        return pass_messages(inputs["features"], pairs, packed)

    pairs = BEADS * (BEADS - 1) // 2
    flops = pairs * (convolution.flops_per_filter(functions, channels) + 4 * channels)
    work = Work(convolution.nbytes(inputs) + inputs["features"].nbytes, flops)
    return Race(inputs, ours, "our convolution with its tile search: it skips empty tiles", work)


PUZZLE = Puzzle(
    name="tile",
    title="7 · A tile of all pairs",
    formula=f"m_i = \\sum_{{j \\ne i}} W(r_{{ij}}) \\odot h_j, \\qquad {convolution.FILTER}",
    arguments=(
        Argument("positions", ("bead", "xyz"), "Å", "one molecule"),
        Argument("features", ("bead", "channel"), "", "$h$"),
        *convolution.NETWORK,
        Argument("messages", ("bead", "channel"), "", "$m$"),
    ),
    cases=_cases,
    reference=_reference,
    suspects=_SUSPECTS,
    picture=drawings.tile,
    race=_race,
)
