"""RMSD after the best superposition, with its exact gradient and no look from the host.

With both sets of beads about their centres, the best rotation belongs to the largest eigenvalue of
a symmetric 4 x 4 matrix K made of their covariances. In the eigenvector q, a unit quaternion, it is
quadratic: it follows from the projector q q^T. Source: B. K. P. Horn, Journal of the Optical
Society of America A 4, 629 (1987).

The projector is the limit of (K + c)^n for a c that makes K + c positive; `SQUARINGS` squarings
give n = 2^SQUARINGS. That is a fixed number of small products, where a library's eigenvalues or
singular values would wait for the device in every step. Where the largest eigenvalue is double,
all beads on a line say, the projector is that of a plane, whose rotation is the mean of all that
fit equally well; it moves the beads as each of them does.

The best rotation needs no gradient: at the minimum a small turn changes nothing in first order. So
d RMSD / dx_i = (x_i - R y_i) / (N RMSD) with R kept is exact, x and y about their centres.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

SQUARINGS = 40
"""Two eigenvalues that differ by 1e-11 of their size are told apart."""


def rmsd(positions: Tensor, reference: Tensor, selection: Tensor) -> Tensor:
    """Return the RMSD from a reference after the best superposition, angstrom, float64.

    Differentiable once. Where RMSD is 0 it has no gradient, and 0 stands for it: there a spring
    that wants 0 has no force either.

    Args:
        positions: [replicas, beads, 3], angstrom.
        reference: [selected, 3] float64, angstrom.
        selection: [selected] int64, the beads that are superposed and measured.
    """
    value: Tensor = _Rmsd.apply(positions.double().index_select(1, selection), reference)
    return value


def rotations(moving: Tensor, target: Tensor) -> Tensor:
    """Return the proper rotations R that bring R target closest to moving, [replicas, 3, 3].

    Args:
        moving: [replicas, beads, 3] float64, about their centres.
        target: [beads, 3] float64, about its centre.
    """
    s = torch.einsum("na,rnb->rab", target, moving)  # [replicas, 3, 3]
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in s.unbind(-2))
    rows = (
        (xx + yy + zz, yz - zy, zx - xz, xy - yx),
        (yz - zy, xx - yy - zz, xy + yx, zx + xz),
        (zx - xz, xy + yx, yy - xx - zz, yz + zy),
        (xy - yx, zx + xz, yz + zy, zz - xx - yy),
    )
    k = torch.stack([torch.stack(row, -1) for row in rows], -2)  # [replicas, 4, 4]
    size = k.square().sum((-1, -2), keepdim=True).sqrt()
    one = torch.eye(4, dtype=k.dtype, device=k.device)
    p = k + size * one + torch.finfo(k.dtype).tiny * one
    for _ in range(SQUARINGS):
        p = p / p.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
        p = p @ p
    p = p / p.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    (ww, wx, wy, wz), (_, ii, ij, iz), (_, _, jj, jz), (_, _, _, zz) = (
        row.unbind(-1) for row in p.unbind(-2)
    )
    rotation = (
        (ww + ii - jj - zz, 2 * (ij - wz), 2 * (iz + wy)),
        (2 * (ij + wz), ww - ii + jj - zz, 2 * (jz - wx)),
        (2 * (iz - wy), 2 * (jz + wx), ww - ii - jj + zz),
    )
    return torch.stack([torch.stack(row, -1) for row in rotation], -2)


class _Rmsd(torch.autograd.Function):
    """RMSD of the selected beads [replicas, selected, 3] from a reference [selected, 3]."""

    @staticmethod
    def forward(ctx: Any, chosen: Tensor, reference: Tensor) -> Tensor:
        moving = chosen - chosen.mean(1, keepdim=True)
        target = reference - reference.mean(0)
        apart = moving - torch.einsum("rab,nb->rna", rotations(moving, target), target)
        value = apart.square().sum(-1).mean(1).sqrt()
        ctx.save_for_backward(apart, value)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        apart, value = ctx.saved_tensors
        slope = torch.where(value > 0.0, upstream / (apart.shape[1] * value), 0.0)
        return slope[:, None, None] * apart, None
