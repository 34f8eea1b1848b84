"""Radial basis expansion with the cosine envelope, in plain PyTorch (the definition)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flashschnet_kernels.edges import Edges
from flashschnet_kernels.radial_basis.parameters import RadialParameters


def expand(
    positions: Tensor,
    receiver: Tensor,
    sender: Tensor,
    basis: RadialParameters,
    edges: Edges | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return distance, basis functions and envelope of every edge.

    Args:
        positions: [beads, 3] in angstrom.
        receiver, sender: [edges] integer, the ends of each edge: directed edges or unordered pairs.
        basis: centres and widths of the basis functions, of the dtype of `positions`.
        edges: not used here; kernels need it for a sum over edges in an order that is fixed.

    Returns:
        r_ij [edges] in angstrom, rbf [edges, functions] with the cosine envelope in it, and the
        envelope on the filter [edges]: the same, or a hump where there is a lower cutoff. Zero from
        the cutoff on and below the lower one. Differentiable at r_ij > 0.
    """
    displacements = positions.index_select(0, sender) - positions.index_select(0, receiver)
    r_ij = displacements.norm(dim=1)  # [edges]
    return r_ij, radial_basis(r_ij, basis), filter_envelope(r_ij, basis.lower, basis.cutoff)


def radial_basis(r_ij: Tensor, basis: RadialParameters) -> Tensor:
    """Return the basis functions of distances [pairs], the cosine envelope in them.

    Returns:
        [pairs, functions]; zero from the cutoff on, and below the lower cutoff if there is one.
    """
    if basis.kind == "gaussian":
        rbf = gaussian_basis(r_ij, basis.centres, -basis.widths, basis.cutoff)
    else:
        parameters = (basis.centres, basis.widths, basis.alpha, basis.cutoff, basis.lower)
        rbf = exp_normal_basis(r_ij, *parameters)
    if basis.lower > 0.0:
        rbf = torch.where((r_ij >= basis.lower)[:, None], rbf, torch.zeros_like(rbf))
    return rbf


def filter_envelope(r_ij: Tensor, lower: float, cutoff: float) -> Tensor:
    """Return the envelope on the filter, shape of `r_ij`: that of the basis, or a hump.

    With a lower cutoff it is (cos(pi (2 x + 1)) + 1) / 2 with x = (r - lower) / (cutoff - lower),
    which is sin^2(pi x): 0 at both cutoffs and beyond them, with its slope, and 1 in the middle.

    Source: TorchMD-Net 0.2.0, `CosineCutoff`; Majewski et al., Nature Communications 14, 5739
    (2023) for networks that have it.
    """
    if lower == 0.0:
        return cosine_envelope(r_ij, cutoff)
    hump = torch.sin((r_ij - lower) * (math.pi / (cutoff - lower))).square()
    return torch.where((r_ij >= lower) & (r_ij < cutoff), hump, torch.zeros_like(hump))


def filter_envelope_slope(r_ij: Tensor, lower: float, cutoff: float) -> Tensor:
    """Return the slope of `filter_envelope` by the distance, zero where that is zero."""
    if lower == 0.0:
        return cosine_envelope_slope(r_ij, cutoff)
    step = math.pi / (cutoff - lower)
    slope = torch.sin((r_ij - lower) * (2.0 * step)) * step
    return torch.where((r_ij >= lower) & (r_ij < cutoff), slope, torch.zeros_like(slope))


def cosine_envelope(r_ij: Tensor, cutoff: float) -> Tensor:
    """Return C(r) = (cos(pi r / cutoff) + 1) / 2 below the cutoff and 0 beyond, shape of `r_ij`.

    C and its slope vanish at the cutoff, so energies and forces are smooth there.
    """
    envelope = 0.5 * (torch.cos(r_ij * (math.pi / cutoff)) + 1.0)
    return torch.where(r_ij < cutoff, envelope, torch.zeros_like(envelope))


def cosine_envelope_slope(r_ij: Tensor, cutoff: float) -> Tensor:
    """Return C'(r) = -(pi / 2 cutoff) sin(pi r / cutoff), zero from the cutoff on."""
    slope = torch.sin(r_ij * (math.pi / cutoff)) * (-0.5 * math.pi / cutoff)
    return torch.where(r_ij < cutoff, slope, torch.zeros_like(slope))


def gaussian_basis(r_ij: Tensor, centres: Tensor, coefficient: Tensor, cutoff: float) -> Tensor:
    """Return C(r) exp(coefficient (r - centre)^2), [pairs] and [basis] to [pairs, basis].

    Lengths in angstrom; `coefficient` is negative, per square angstrom: one for all or [basis].
    """
    z = r_ij[:, None] - centres[None, :]  # [pairs, basis]
    return cosine_envelope(r_ij, cutoff)[:, None] * torch.exp(coefficient * z * z)


def exp_normal_basis(
    r_ij: Tensor, centres: Tensor, betas: Tensor, alpha: float, cutoff: float, lower: float = 0.0
) -> Tensor:
    """Return C(r) exp(-beta (exp(alpha (lower - r)) - centre)^2), [pairs, basis].

    `r_ij` is [pairs], centres and betas are [basis]. Not zero below the lower cutoff.

    Source: Unke and Meuwly, PhysNet, J. Chem. Theory Comput. 15, 3678 (2019).
    """
    z = torch.exp(alpha * (lower - r_ij))[:, None] - centres[None, :]  # [pairs, basis]
    return cosine_envelope(r_ij, cutoff)[:, None] * torch.exp(-betas[None, :] * z * z)
