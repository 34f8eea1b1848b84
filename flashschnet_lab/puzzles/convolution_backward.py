"""Puzzle 6: the backward of the fused convolution, from dE/dm to dE/dx."""

from __future__ import annotations

from functools import partial

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


def _with_gradient(inputs: Inputs, seed: int) -> Inputs:
    """Return the inputs of a convolution with dE/dm put after the features."""
    pull = chemistry.random(*inputs["features"].shape, seed=seed + 50)
    first = {name: inputs[name] for name in ("positions", "features")}
    return {**first, "message_gradient": pull.to(inputs["features"].device), **inputs}


def _cases() -> list[Case]:
    crowded = chemistry.chain(20, seed=2, spread=4.0)
    lonely = convolution.with_a_lonely_bead(7, seed=3)
    named = {
        "6 beads, rows of at most 5 edges": chemistry.chain(6, seed=1),
        "20 crowded beads, rows longer than 16 edges": crowded,
        "a bead without neighbours": lonely,
    }
    return [
        Case(name, _with_gradient(convolution.small(positions, seed), seed))
        for seed, (name, positions) in enumerate(named.items())
    ]


def position_gradient(inputs: Inputs, mistake: str = "", detached: str = "") -> Tensor:
    """Return dE/dx [beads, 3] of E = sum of dE/dm * m, float64, or what a mistake makes of it.

    Args:
        inputs: of the puzzle.
        mistake: "", "one direction", "not divided by r" or one of `convolution.filters`.
        detached: where the envelope is taken for a constant; see `convolution.filters`.
    """
    inputs = chemistry.double(inputs)
    i, j = convolution.receivers(inputs), inputs["sender"].long()
    displacement = inputs["positions"][j] - inputs["positions"][i]
    r_ij = displacement.norm(dim=1).requires_grad_(True)
    features, pull = inputs["features"], inputs["message_gradient"]
    product = pull[i] * features[j]
    if mistake != "one direction":
        product = product + pull[j] * features[i]
    filters = convolution.filters(r_ij, inputs, mistake, detached)
    (slope,) = torch.autograd.grad((product * filters).sum(), r_ij)
    over = slope if mistake == "not divided by r" else slope / r_ij.detach()
    row = torch.zeros_like(inputs["positions"])
    return row.index_add_(0, i, -over[:, None] * displacement)


_PRODUCT_RULE = (
    "C(r) depends on r as well. d(C f)/dr = C' f + C f', with "
    "C'(r) = -(pi / (2 cutoff)) sin(pi r / cutoff). A published code forgot it: its forces were "
    "7.5 % off, and its energy drifted."
)
_SUSPECTS = (
    *(
        Suspect(
            "formula",
            f"the derivative of the envelope is missing {where}",
            _PRODUCT_RULE,
            partial(position_gradient, detached=detached),
        )
        for detached, where in (
            ("both", "everywhere"),
            ("basis", "in the basis"),
            ("filter", "on the filter"),
        )
    ),
    Suspect(
        "index",
        "only the messages that i receives count, not those that it sends",
        "moving i changes r_ij in m_i and in m_j: g_i h_j + g_j h_i.",
        partial(position_gradient, mistake="one direction"),
    ),
    Suspect(
        "formula",
        "the direction is not a unit vector",
        "dr/dx_i = -(x_j - x_i) / r: divide by r.",
        partial(position_gradient, mistake="not divided by r"),
    ),
    *(
        Suspect(category, what, hint, partial(position_gradient, mistake=mistake))
        for category, what, hint, mistake in convolution.FILTER_SUSPECTS
    ),
)


def _race(device: torch.device) -> Race:
    from flashschnet_kernels.message_passing.filter_network import pack
    from flashschnet_kernels.message_passing.tile_geometry import measure_tiles
    from flashschnet_kernels.message_passing.triton import pass_messages
    from flashschnet_kernels.neighbors.tiles import TileSearch

    inputs = _with_gradient(convolution.gpu_inputs(device), seed=1)
    positions = inputs["positions"].clone().requires_grad_(True)
    sizes = (convolution.BEADS,) * convolution.MOLECULES
    tiles = TileSearch(sizes, inputs["cutoff"], device)(positions.detach())
    packed = pack(chemistry.filter_network(inputs), "float32")
    pairs = measure_tiles(positions, tiles, inputs["cutoff"])
    energy = (pass_messages(inputs["features"], pairs, packed) * inputs["message_gradient"]).sum()
    functions, channels = convolution.FUNCTIONS, convolution.CHANNELS
    edges = len(inputs["sender"])
    flops = edges * (2 * convolution.flops_per_filter(functions, channels) + 6 * channels)
    return Race(
        inputs,
        lambda: torch.autograd.grad(energy, positions, retain_graph=True),
        "our backward of the fused convolution: each filter serves both directions",
        Work(convolution.nbytes(inputs) + positions.nbytes, flops),
    )


PUZZLE = Puzzle(
    name="cfconv_backward",
    title="6 · Its backward",
    formula=(
        "\\frac{\\partial E}{\\partial x_i} = -\\sum_j s_{ij}\\, \\frac{x_j - x_i}{r_{ij}}, "
        "\\qquad s_{ij} = \\sum_c \\left(g_{ic} h_{jc} + g_{jc} h_{ic}\\right) W'_c(r_{ij}), "
        "\\qquad g = \\frac{\\partial E}{\\partial m}"
    ),
    arguments=(
        Argument("positions", ("bead", "xyz"), "Å", "where the beads are"),
        Argument("features", ("bead", "channel"), "", "$h$"),
        Argument(
            "message_gradient", ("bead", "channel"), "kcal/mol", "$g = \\partial E/\\partial m$"
        ),
        *convolution.ROWS,
        *convolution.NETWORK,
        Argument(
            "gradient", ("bead", "xyz"), "kcal/mol/Å", "$\\partial E/\\partial x$, minus the force"
        ),
    ),
    cases=_cases,
    reference=position_gradient,
    suspects=_SUSPECTS,
    picture=drawings.convolution_backward,
    race=_race,
)
