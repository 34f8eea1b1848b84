"""Puzzle 1: the distance along every edge."""

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

MOLECULES, BEADS = 512, 256  # on a GPU: more than its cache holds


def _some_edges(beads: int, edges: int, seed: int) -> Inputs:
    """Return the first edges of a small molecule, in the order of a real list."""
    positions = chemistry.chain(beads, seed)
    found = chemistry.edges_within(positions)
    assert len(found.receiver) >= edges
    return {
        "positions": positions,
        "receiver": found.receiver[:edges].clone(),
        "sender": found.sender[:edges].clone(),
    }


def _cases() -> list[Case]:
    return [
        Case("32 edges of 12 beads", _some_edges(12, 32, seed=1)),
        Case("37 edges, so that the last block is not full", _some_edges(12, 37, seed=2)),
        Case("a single edge", _some_edges(5, 1, seed=3)),
    ]


def displacement(inputs: Inputs) -> Tensor:
    """Return x_j - x_i, [edges, 3], float64."""
    positions = inputs["positions"].double()
    result: Tensor = positions[inputs["sender"].long()] - positions[inputs["receiver"].long()]
    return result


def _reference(inputs: Inputs) -> Tensor:
    return displacement(inputs).norm(dim=1)


def _stride(row: int, column: int) -> Callable[[Inputs], Tensor]:
    """Return distances of beads whose component k is read at bead * row + k * column."""

    def wrong(inputs: Inputs) -> Tensor:
        flat = inputs["positions"].double().flatten()
        step = torch.arange(3) * (column or len(inputs["positions"]))
        ends = (inputs[name].long()[:, None] * row + step for name in ("sender", "receiver"))
        x_j, x_i = (flat[at.clamp_max(len(flat) - 1)] for at in ends)
        return (x_j - x_i).norm(dim=1)

    return wrong


_ROW_MAJOR = (
    "positions is [beads, 3], row by row: x, y, z of bead j lie at 3 j, 3 j + 1 and 3 j + 2."
)
_SUSPECTS = (
    Suspect(
        "formula",
        "these are the squares of the distances",
        "tl.sqrt is missing.",
        lambda inputs: displacement(inputs).square().sum(1),
    ),
    Suspect(
        "formula",
        "only x counts",
        "all three components belong to the norm.",
        lambda inputs: displacement(inputs)[:, 0].abs(),
    ),
    Suspect(
        "formula",
        "x and y count, z does not",
        "all three components belong to the norm.",
        lambda inputs: displacement(inputs)[:, :2].norm(dim=1),
    ),
    Suspect(
        "formula",
        "the components are added without being squared",
        "dx dx + dy dy + dz dz.",
        lambda inputs: displacement(inputs).sum(1),
    ),
    Suspect(
        "index",
        "each edge gets the distance of bead j from the origin",
        "the position of bead i, the receiver, must be subtracted.",
        lambda inputs: inputs["positions"].double()[inputs["sender"].long()].norm(dim=1),
    ),
    Suspect("index", "the stride between beads is 1 instead of 3", _ROW_MAJOR, _stride(1, 1)),
    Suspect("index", "x, y and z are read as if each were a row", _ROW_MAJOR, _stride(1, 0)),
)


def _race(device: torch.device) -> Race:
    from flashschnet_kernels.radial_basis.parameters import RadialParameters
    from flashschnet_kernels.radial_basis.triton import expand

    positions = chemistry.molecules(MOLECULES, BEADS, device)
    edges = chemistry.edges_within(positions, (BEADS,) * MOLECULES)
    nothing = positions.new_empty(0)
    basis = RadialParameters("gaussian", nothing, nothing, 0.0, chemistry.CUTOFF)
    inputs = {"positions": positions, "receiver": edges.receiver, "sender": edges.sender}
    count = len(edges.receiver)
    return Race(
        inputs,
        lambda: expand(positions, edges.receiver, edges.sender, basis),
        "our radial_basis with no functions: it writes the envelope as well",
        Work(bytes_moved=12 * count + positions.nbytes, flops=9 * count),
    )


PUZZLE = Puzzle(
    name="distance",
    title="1 · Distances",
    formula="r_{ij} = \\lVert x_j - x_i \\rVert",
    arguments=(
        Argument("positions", ("bead", "xyz"), "Å", "where the beads are"),
        Argument("receiver", ("edge",), "", "bead i of each edge", "int"),
        Argument("sender", ("edge",), "", "bead j of each edge", "int"),
        Argument("r_ij", ("edge",), "Å", "distances"),
    ),
    cases=_cases,
    reference=_reference,
    suspects=_SUSPECTS,
    picture=drawings.distance,
    race=_race,
)
