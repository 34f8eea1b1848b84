"""Puzzle 5: the fused continuous-filter convolution, from positions to messages in one kernel."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flashschnet_kernels.radial_basis.reference import cosine_envelope
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

MOLECULES, BEADS, FUNCTIONS, CHANNELS = 16, 256, 32, 64  # on a GPU
SMALL_FUNCTIONS, SMALL_CHANNELS = 16, 32  # matrix units take 16 at least


def small(positions: Tensor, seed: int) -> dict[str, Any]:
    """Return the inputs of a convolution on a few beads."""
    edges = chemistry.edges_within(positions)
    return {
        "positions": positions,
        "features": chemistry.random(len(positions), SMALL_CHANNELS, seed=seed),
        "row_start": edges.row_start,
        "sender": edges.sender,
        **chemistry.basis(SMALL_FUNCTIONS),
        **chemistry.filter_weights(SMALL_FUNCTIONS, SMALL_CHANNELS),
    }


def with_a_lonely_bead(beads: int, seed: int) -> Tensor:
    """Return a chain whose middle bead was carried far away."""
    positions = chemistry.chain(beads, seed)
    positions[beads // 2] += 100.0
    return positions


def _cases() -> list[Case]:
    return [
        Case("6 beads, rows of at most 5 edges", small(chemistry.chain(6, seed=1), seed=1)),
        Case(
            "20 crowded beads, rows longer than 16 edges",
            small(chemistry.chain(20, seed=2, spread=4.0), seed=2),
        ),
        Case("a bead without neighbours", small(with_a_lonely_bead(7, seed=3), seed=3)),
    ]


def receivers(inputs: Inputs) -> Tensor:
    """Return bead i of every edge, from the rows."""
    start = inputs["row_start"].long()
    beads = torch.arange(len(start) - 1, device=start.device)
    return torch.repeat_interleave(beads, start.diff())


def envelope_of(r_ij: Tensor, cutoff: float, kind: str = "") -> Tensor:
    """Return C(r), or what a mistake makes of it: "none", "uncut"."""
    if kind == "none":
        return torch.ones_like(r_ij)
    if kind == "uncut":
        return 0.5 * (torch.cos(r_ij * (math.pi / cutoff)) + 1.0)
    return cosine_envelope(r_ij, cutoff)


def filters(r_ij: Tensor, inputs: Inputs, mistake: str = "", detached: str = "") -> Tensor:
    """Return W(r) = C(r) L2 tanh(L1 rbf(r) + b1), [pairs, channels], or what a mistake makes of it.

    Args:
        r_ij: [pairs] float64.
        inputs: float64.
        mistake: "", "no envelope in the basis", "no envelope on the filter", "uncut", "no bias",
            "no tanh", "first transposed" or "second transposed".
        detached: where C(r) is taken for a constant: "", "basis", "filter" or "both".
    """
    first, second = inputs["first_weight"], inputs["second_weight"]
    envelope = envelope_of(r_ij, inputs["cutoff"], "uncut" if mistake == "uncut" else "")[:, None]
    inside = outside = envelope
    if mistake == "no envelope in the basis":
        inside = torch.ones_like(envelope)
    if mistake == "no envelope on the filter":
        outside = torch.ones_like(envelope)
    inside = inside.detach() if detached in ("basis", "both") else inside
    outside = outside.detach() if detached in ("filter", "both") else outside
    if mistake == "first transposed":
        first = first.reshape(first.shape[::-1]).T
    if mistake == "second transposed":
        second = second.T
    z = r_ij[:, None] - inputs["centres"][None, :]
    hidden = inside * torch.exp(-inputs["width"] * z * z) @ first.T  # [pairs, channels]
    hidden = hidden if mistake == "no bias" else hidden + inputs["first_bias"]
    hidden = hidden if mistake == "no tanh" else torch.tanh(hidden)
    return outside * (hidden @ second.T)


def messages(inputs: Inputs, mistake: str = "", most: int = 0) -> Tensor:
    """Return m_i = sum_j W(r_ij) h_j over the rows, float64, or what a mistake makes of it.

    Args:
        inputs: of the puzzle.
        mistake: as for `filters`, or "receiver", or "padded": the lanes past the end of a row count
            as edges from bead 0.
        most: edges of a row that are counted, 0 for all; if "padded", the length of a block.
    """
    inputs = chemistry.double(inputs)
    i, j = receivers(inputs), inputs["sender"].long()
    if mistake == "padded":
        beads = torch.arange(len(inputs["features"]))
        padding = torch.repeat_interleave(beads, -inputs["row_start"].long().diff() % most)
        i, j, most = torch.cat((i, padding)), torch.cat((j, torch.zeros_like(padding))), 0
    r_ij = (inputs["positions"][j] - inputs["positions"][i]).norm(dim=1)
    message = filters(r_ij, inputs, mistake) * inputs["features"][i if mistake == "receiver" else j]
    if most:
        place = torch.arange(len(i), device=i.device) - inputs["row_start"].long()[i]
        message = message * (place < most)[:, None]
    return torch.zeros_like(inputs["features"]).index_add_(0, i, message)


_TRANSPOSED = (
    "element (channel, function) lies at channel * functions + function; hidden = rbf L1^T, so "
    "tl.dot needs the block [functions, channels]: load it with the indices swapped, or tl.trans."
)
FILTER_SUSPECTS = (
    ("formula", "the envelope on the filter is missing", "W(r) = C(r) L2 tanh(...).",
     "no envelope on the filter"),
    ("formula", "the envelope in the basis is missing",
     "rbf_f = C(r) exp(...): C(r) stands here, too.", "no envelope in the basis"),
    ("formula", "beyond the cutoff the cosine comes back up",
     "the list holds pairs beyond the cutoff: C(r) is zero there.", "uncut"),
    ("formula", "the bias is missing", "tanh(L1 rbf + b1).", "no bias"),
    ("formula", "tanh is missing", "tanh(x) = 2 sigmoid(2 x) - 1.", "no tanh"),
    ("index", "the first weight is read with swapped strides", _TRANSPOSED, "first transposed"),
    ("index", "the second weight is transposed", _TRANSPOSED, "second transposed"),
)  # fmt: skip
"""Category, sentence, hint and mistake of `filters`."""

_SUSPECTS = (
    Suspect(
        "index",
        "i and j are swapped: the filter multiplies the receiver's own features",
        "a message carries the features of the sender: h_j, not h_i.",
        partial(messages, mistake="receiver"),
    ),
    *(
        Suspect(category, what, hint, partial(messages, mistake=mistake))
        for category, what, hint, mistake in FILTER_SUSPECTS
    ),
    *(
        Suspect(
            "mask",
            f"only the first {most} edges of each row are counted",
            "rows can be longer than a block: loop over the row, a block at a time.",
            partial(messages, most=most),
        )
        for most in (1, 4, 8, 16)
    ),
    *(
        Suspect(
            "mask",
            "lanes past the end of a row are counted, as edges from bead 0",
            "the last block of a row is not full: set the envelope to zero where e >= end.",
            partial(messages, mistake="padded", most=block),
        )
        for block in (8, 16, 32, 64)
    ),
)


def gpu_inputs(device: torch.device) -> dict[str, Any]:
    """Return inputs of a real size on a GPU."""
    positions = chemistry.molecules(MOLECULES, BEADS, device)
    edges = chemistry.edges_within(positions, (BEADS,) * MOLECULES)
    inputs = {
        "positions": positions,
        "features": chemistry.random(len(positions), CHANNELS, seed=1),
        "row_start": edges.row_start,
        "sender": edges.sender,
        **chemistry.basis(FUNCTIONS),
        **chemistry.filter_weights(FUNCTIONS, CHANNELS),
    }
    return {n: v.to(device) if isinstance(v, Tensor) else v for n, v in inputs.items()}


def flops_per_filter(functions: int, channels: int) -> int:
    """Return the operations of one filter: basis, two layers, tanh."""
    return 6 * functions + 2 * functions * channels + 2 * channels * channels + 4 * channels


def nbytes(inputs: Inputs) -> int:
    """Return the bytes of all tensors."""
    return sum(value.nbytes for value in inputs.values() if isinstance(value, Tensor))


def _race(device: torch.device) -> Race:
    from flashschnet_kernels.message_passing.filter_network import pack
    from flashschnet_kernels.message_passing.tile_geometry import measure_tiles
    from flashschnet_kernels.message_passing.triton import pass_messages
    from flashschnet_kernels.neighbors.tiles import TileSearch

    inputs = gpu_inputs(device)
    positions, features = inputs["positions"], inputs["features"]
    tiles = TileSearch((BEADS,) * MOLECULES, inputs["cutoff"], device)(positions)
    packed = pack(chemistry.filter_network(inputs), "float32")

    def ours() -> Tensor:
        return pass_messages(features, measure_tiles(positions, tiles, inputs["cutoff"]), packed)

    edges = len(inputs["sender"])
    flops = edges * (flops_per_filter(FUNCTIONS, CHANNELS) + 2 * CHANNELS)
    work = Work(nbytes(inputs) + features.nbytes, flops)
    return Race(inputs, ours, "our fused convolution: each filter serves both directions", work)


NETWORK = (
    Argument("centres", ("function",), "Å", "$\\mu_f$"),
    Argument("width", (), "1/Å²", "of the basis functions"),
    Argument("cutoff", (), "Å", "from here on $C(r) = 0$"),
    Argument("first_weight", ("channel", "function"), "", "$L_1$"),
    Argument("first_bias", ("channel",), "", "$b_1$"),
    Argument("second_weight", ("channel", "channel"), "", "$L_2$, [out, in]"),
)
FILTER = "W(r) = C(r)\\; L_2 \\tanh\\left(L_1\\,\\mathrm{rbf}(r) + b_1\\right)"
ROWS = (
    Argument("row_start", ("bead + 1",), "", "edges of i: row_start[i] to row_start[i+1]", "int"),
    Argument("sender", ("edge",), "", "bead j of each edge", "int"),
)

PUZZLE = Puzzle(
    name="cfconv",
    title="5 · Fused convolution",
    formula=f"m_i = \\sum_j W(r_{{ij}}) \\odot h_j, \\qquad {FILTER}",
    arguments=(
        Argument("positions", ("bead", "xyz"), "Å", "where the beads are"),
        Argument("features", ("bead", "channel"), "", "$h$"),
        *ROWS,
        *NETWORK,
        Argument("messages", ("bead", "channel"), "", "$m$; zero for a bead without edges"),
    ),
    cases=_cases,
    reference=messages,
    suspects=_SUSPECTS,
    picture=drawings.convolution,
    race=_race,
)
