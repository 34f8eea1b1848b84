"""Puzzle 2: distances in a Gaussian basis, with the envelope."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flashschnet_kernels.radial_basis.reference import cosine_envelope, gaussian_basis
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

MOLECULES, BEADS, FUNCTIONS = 128, 256, 32  # on a GPU


def _distances(edges: int, functions: int, seed: int) -> Inputs:
    """Return distances from 2 to 11 angstrom: some beyond the cutoff."""
    shuffled = torch.randperm(edges, generator=torch.Generator().manual_seed(seed))
    r_ij = (2.0 + 9.0 * (shuffled + 0.5) / edges).float()
    return {"r_ij": r_ij, **chemistry.basis(functions)}


def _cases() -> list[Case]:
    return [
        Case("32 edges, 16 functions", _distances(32, 16, seed=1)),
        Case("37 edges, so that the last block is not full", _distances(37, 16, seed=2)),
        Case("20 functions, which is no power of two", _distances(24, 20, seed=3)),
        Case("a single edge", _distances(1, 16, seed=4)),
    ]


def _parts(inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Return r - centre [edges, functions] and the envelope [edges, 1], float64."""
    r_ij = inputs["r_ij"].double()
    difference = r_ij[:, None] - inputs["centres"].double()[None, :]
    return difference, cosine_envelope(r_ij, inputs["cutoff"])[:, None]


def _reference(inputs: Inputs) -> Tensor:
    r_ij, centres = inputs["r_ij"].double(), inputs["centres"].double()
    return gaussian_basis(r_ij, centres, torch.tensor(-inputs["width"]), inputs["cutoff"])


def _without_envelope(inputs: Inputs) -> Tensor:
    difference, _ = _parts(inputs)
    return torch.exp(-inputs["width"] * difference**2)


def _without_cutoff(inputs: Inputs) -> Tensor:
    difference, _ = _parts(inputs)
    angle = inputs["r_ij"].double()[:, None] * (math.pi / inputs["cutoff"])
    return 0.5 * (torch.cos(angle) + 1.0) * torch.exp(-inputs["width"] * difference**2)


def _step_instead(inputs: Inputs) -> Tensor:
    difference, envelope = _parts(inputs)
    return (envelope > 0) * torch.exp(-inputs["width"] * difference**2)


def _not_squared(inputs: Inputs) -> Tensor:
    difference, envelope = _parts(inputs)
    return envelope * torch.exp(-inputs["width"] * difference)


def _width_squared(inputs: Inputs) -> Tensor:
    difference, envelope = _parts(inputs)
    return envelope * torch.exp(-((inputs["width"] * difference) ** 2))


def _one_centre(inputs: Inputs) -> Tensor:
    difference, envelope = _parts(inputs)
    return envelope * torch.exp(-inputs["width"] * difference[:, :1] ** 2).expand_as(difference)


_CUT = "C(r) is zero from the cutoff on: tl.where(r < cutoff, ..., 0.0)."
_SUSPECTS = (
    Suspect("formula", "the envelope is missing", "multiply by C(r).", _without_envelope),
    Suspect(
        "formula",
        "beyond the cutoff the cosine comes back up",
        _CUT + " Its cosine is periodic, and the list holds pairs beyond the cutoff.",
        _without_cutoff,
    ),
    Suspect(
        "formula",
        "the envelope is a step: 1 up to the cutoff, then 0",
        "C(r) = (cos(pi r / cutoff) + 1) / 2 goes to zero smoothly.",
        _step_instead,
    ),
    Suspect("formula", "r - centre is not squared", "exp(-width (r - centre)^2).", _not_squared),
    Suspect(
        "formula",
        "the width is squared, too",
        "width stands outside the square: exp(-width (r - centre)^2).",
        _width_squared,
    ),
    Suspect(
        "index",
        "every function has the centre of the first one",
        "the centres need an index of their own, along the second axis: r[:, None] - "
        "centre[None, :].",
        _one_centre,
    ),
)


def _race(device: torch.device) -> Race:
    from flashschnet_kernels.radial_basis.parameters import RadialParameters
    from flashschnet_kernels.radial_basis.triton import expand

    positions = chemistry.molecules(MOLECULES, BEADS, device)
    edges = chemistry.edges_within(positions, (BEADS,) * MOLECULES)
    numbers = chemistry.basis(FUNCTIONS)
    centres = numbers["centres"].to(device)
    widths = torch.full_like(centres, numbers["width"])
    basis = RadialParameters("gaussian", centres, widths, 0.0, chemistry.CUTOFF)
    receiver, sender = edges.receiver, edges.sender
    r_ij = (positions[sender.long()] - positions[receiver.long()]).norm(dim=1)
    count = len(r_ij) * FUNCTIONS
    return Race(
        {"r_ij": r_ij, **numbers, "centres": centres},
        lambda: expand(positions, receiver, sender, basis),
        "our radial_basis: it computes the distances as well",
        Work(bytes_moved=4 * len(r_ij) + 4 * count + centres.nbytes, flops=6 * count),
    )


PUZZLE = Puzzle(
    name="rbf",
    title="2 · Radial basis",
    formula=(
        "\\mathrm{rbf}_{ef} = C(r_e)\\, e^{-\\mathrm{width}\\,(r_e - \\mu_f)^2}, \\qquad "
        "C(r) = \\tfrac12\\left(\\cos\\frac{\\pi r}{\\mathrm{cutoff}} + 1\\right)"
        "\\text{ below the cutoff, else } 0"
    ),
    arguments=(
        Argument("r_ij", ("edge",), "Å", "distances"),
        Argument("centres", ("function",), "Å", "$\\mu_f$"),
        Argument("width", (), "1/Å²", "the same for all functions"),
        Argument("cutoff", (), "Å", "from here on all is zero"),
        Argument("rbf", ("edge", "function"), "", "the basis functions"),
    ),
    cases=_cases,
    reference=_reference,
    suspects=_SUSPECTS,
    picture=drawings.rbf,
    race=_race,
)
