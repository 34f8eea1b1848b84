"""Energies of the classical terms, one value per term, in plain PyTorch (the definition).

Lengths in angstrom, energies in kcal/mol. Every function takes positions [beads, 3] and returns
[terms] in the dtype of the positions.
"""

from __future__ import annotations

import torch
from torch import Tensor


def harmonic_bonds(positions: Tensor, bonds: Tensor, k: Tensor, r0: Tensor) -> Tensor:
    """Return k (r - r0)^2 for bonds [terms, 2]; k in kcal/mol/A^2, without a factor of one half."""
    r = distances(positions, bonds)
    return k * (r - r0) ** 2


def cosine_angles(positions: Tensor, angles: Tensor, k: Tensor, cos0: Tensor) -> Tensor:
    """Return k (cos theta - cos0)^2 for angles [terms, 3], the apex in the middle."""
    first, apex, last = angles.unbind(1)
    u = _at(positions, first) - _at(positions, apex)
    v = _at(positions, last) - _at(positions, apex)
    cos = (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))
    return k * (cos - cos0) ** 2


def dihedral_angles(positions: Tensor, dihedrals: Tensor) -> Tensor:
    """Return the angle of each dihedral [terms, 4] in (-pi, pi], trans = pi (IUPAC sign)."""
    a, b, c, d = (_at(positions, index) for index in dihedrals.unbind(1))
    b1, b2, b3 = b - a, c - b, d - c
    normal_1 = torch.linalg.cross(b1, b2)
    normal_2 = torch.linalg.cross(b2, b3)
    sine = b2.norm(dim=1) * (b1 * normal_2).sum(1)
    return torch.atan2(sine, (normal_1 * normal_2).sum(1))


def fourier_dihedrals(
    positions: Tensor, dihedrals: Tensor, v0: Tensor, k1: Tensor, k2: Tensor
) -> Tensor:
    """Return v0 + sum_n k1_n sin(n phi) + k2_n cos(n phi), with k1 and k2 [terms, orders]."""
    phi = dihedral_angles(positions, dihedrals)
    order = torch.arange(1, k1.shape[1] + 1, device=phi.device, dtype=phi.dtype)
    n_phi = phi[:, None] * order  # [terms, orders]
    return v0 + (k1 * torch.sin(n_phi) + k2 * torch.cos(n_phi)).sum(1)


def repulsion(positions: Tensor, pairs: Tensor, sigma: Tensor) -> Tensor:
    """Return (sigma / r)^6 kcal/mol for pairs [terms, 2]; no cutoff."""
    i, j = pairs.unbind(1)
    r_ij = _at(positions, j) - _at(positions, i)
    return (sigma * sigma / (r_ij * r_ij).sum(1)) ** 3


def distances(positions: Tensor, pairs: Tensor) -> Tensor:
    """Return the distance [terms] of each pair [terms, 2]."""
    i, j = pairs.unbind(1)
    return (_at(positions, j) - _at(positions, i)).norm(dim=1)


def _at(positions: Tensor, index: Tensor) -> Tensor:
    """Return positions[index]; unlike that, its gradient adds in the same order every time."""
    return positions.index_select(0, index)
