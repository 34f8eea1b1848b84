"""Radial basis expansion with the cosine envelope, in plain PyTorch (the definition)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cosine_envelope(r_ij: Tensor, cutoff: float) -> Tensor:
    """Return C(r) = (cos(pi r / cutoff) + 1) / 2 below the cutoff and 0 beyond, shape of `r_ij`.

    C and its slope vanish at the cutoff, so energies and forces are smooth there.
    """
    envelope = 0.5 * (torch.cos(r_ij * (math.pi / cutoff)) + 1.0)
    return torch.where(r_ij < cutoff, envelope, torch.zeros_like(envelope))


def gaussian_basis(r_ij: Tensor, centres: Tensor, coefficient: Tensor, cutoff: float) -> Tensor:
    """Return C(r) exp(coefficient (r - centre)^2), [pairs] and [basis] to [pairs, basis].

    Lengths in angstrom; `coefficient` is one negative number, per square angstrom.
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
