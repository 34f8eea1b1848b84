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
        r_ij [edges] in angstrom, rbf [edges, functions] with the envelope in it, and the envelope
        [edges] alone. Zero from the cutoff on. Differentiable at r_ij > 0.
    """
    displacements = positions.index_select(0, sender) - positions.index_select(0, receiver)
    r_ij = displacements.norm(dim=1)  # [edges]
    if basis.kind == "gaussian":
        rbf = gaussian_basis(r_ij, basis.centres, -basis.widths, basis.cutoff)
    else:
        rbf = exp_normal_basis(r_ij, basis.centres, basis.widths, basis.alpha, basis.cutoff)
    return r_ij, rbf, cosine_envelope(r_ij, basis.cutoff)


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
    r_ij: Tensor, centres: Tensor, betas: Tensor, alpha: float, cutoff: float
) -> Tensor:
    """Return C(r) exp(-beta (exp(-alpha r) - centre)^2), [pairs] and [basis] to [pairs, basis].

    Source: Unke and Meuwly, PhysNet, J. Chem. Theory Comput. 15, 3678 (2019).
    """
    z = torch.exp(-alpha * r_ij)[:, None] - centres[None, :]  # [pairs, basis]
    return cosine_envelope(r_ij, cutoff)[:, None] * torch.exp(-betas[None, :] * z * z)
