"""Distance, radial basis and envelope of every edge in one pass, compiled for the CPU by Numba."""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from flashschnet_kernels.edges import Edges
from flashschnet_kernels.first_order import first_order
from flashschnet_kernels.numba_math import exponential, match_torch_threads, quarter_sine
from flashschnet_kernels.radial_basis.parameters import RadialParameters, check_inputs


def expand(
    positions: Tensor,
    receiver: Tensor,
    sender: Tensor,
    basis: RadialParameters,
    edges: Edges | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return distance, basis functions and envelope of every edge, as the reference does.

    First derivatives with respect to the positions only. Same bits every run, on any number of
    threads; with `edges` the sum of the position gradient runs on all threads too.

    Args:
        positions: [beads, 3] float32 or float64, in angstrom, on the CPU.
        receiver, sender: [edges] int32 or int64.
        basis: of the dtype of `positions`.
        edges: the structure that `receiver` and `sender` come from.

    Raises:
        RuntimeError: centres or widths that require a gradient.
        TypeError: a dtype or device that is not supported.
        ValueError: shapes that do not belong together.
    """
    check_inputs(positions, receiver, sender, basis, edges)
    return _Expand.apply(positions, receiver, sender, basis, edges)


class _Expand(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        positions: Tensor,
        receiver: Tensor,
        sender: Tensor,
        basis: RadialParameters,
        edges: Edges | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        count, functions = receiver.shape[0], basis.centres.shape[0]
        r_ij = positions.new_empty(count)
        rbf = positions.new_empty(count, functions)
        envelope = positions.new_empty(count)
        match_torch_threads()
        _forward(
            *_arrays(positions, receiver, sender),
            *_basis_arguments(basis),
            *_arrays(r_ij, rbf, envelope),
        )
        ctx.save_for_backward(positions, receiver, sender, r_ij)
        ctx.basis, ctx.edges = basis, edges
        ctx.set_materialize_grads(False)
        return r_ij, rbf, envelope

    @staticmethod
    @first_order
    def backward(
        ctx: Any, grad_r: Tensor | None, grad_rbf: Tensor | None, grad_envelope: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        positions, receiver, sender, r_ij = ctx.saved_tensors
        basis, edges = ctx.basis, ctx.edges
        match_torch_threads()
        # A gradient that is not there is an array of no rows.
        slope = torch.zeros_like(r_ij) if grad_r is None else grad_r.clone()  # dE/dr
        rbf_rows = r_ij.new_empty(0, len(basis.centres)) if grad_rbf is None else grad_rbf
        envelope_rows = r_ij.new_empty(0) if grad_envelope is None else grad_envelope
        _add_slopes(
            *_arrays(r_ij, rbf_rows, envelope_rows), *_basis_arguments(basis), slope.numpy()
        )
        out = torch.empty_like(positions, memory_format=torch.contiguous_format)
        if edges is None:
            _scatter(*_arrays(positions, receiver, sender, r_ij, slope, out))
        else:
            rows = _arrays(edges.row_start, edges.reverse)
            _sum_rows(*_arrays(positions, sender, r_ij, slope), *rows, out.numpy())
        return out, None, None, None, None


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    # One layout, so that a kernel is compiled once per dtype.
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _basis_arguments(basis: RadialParameters) -> tuple[Any, ...]:
    centres, widths = _arrays(basis.centres, basis.widths)
    real = centres.dtype.type
    numbers = (real(basis.alpha), real(basis.cutoff), real(basis.lower))
    return centres, widths, *numbers, basis.kind == "exp_normal"


@njit(parallel=True, cache=True, fastmath={"contract", "nsz"})
def _forward(
    positions,
    receiver,
    sender,
    centres,
    widths,
    alpha,
    cutoff,
    lower,
    exp_normal,
    r_ij,
    rbf,
    envelope,
):
    """Write r_ij [edges], rbf [edges, functions] and envelope [edges]; threads over edges."""
    real = r_ij.dtype.type
    for e in prange(r_ij.shape[0]):
        i, j = receiver[e], sender[e]
        dx = positions[j, 0] - positions[i, 0]
        dy = positions[j, 1] - positions[i, 1]
        dz = positions[j, 2] - positions[i, 2]
        r = math.sqrt(dx * dx + dy * dy + dz * dz)
        r_ij[e] = r
        if r >= cutoff or r < lower:
            envelope[e] = real(0.0)
            rbf[e, :] = real(0.0)
            continue
        s = quarter_sine((cutoff - r) / cutoff, real)
        scale = s * s
        envelope[e] = scale
        if lower > real(0.0):
            s = quarter_sine(min(r - lower, cutoff - r) * (real(2.0) / (cutoff - lower)), real)
            envelope[e] = s * s
        u = exponential(-alpha * (r - lower)) if exp_normal else r
        for f in range(centres.shape[0]):
            z = u - centres[f]
            rbf[e, f] = scale * exponential(-widths[f] * z * z)


@njit(parallel=True, cache=True, fastmath={"contract", "nsz", "reassoc"})
def _add_slopes(
    r_ij, grad_rbf, grad_envelope, centres, widths, alpha, cutoff, lower, exp_normal, slope
):
    """Add dE/dr through basis and envelope to slope [edges]; threads over edges.

    A sum over functions is split over vector lanes, in the same way every run.
    """
    real = r_ij.dtype.type
    with_rbf, with_envelope = len(grad_rbf) > 0, len(grad_envelope) > 0
    for e in prange(r_ij.shape[0]):
        r = r_ij[e]
        if r >= cutoff or r < lower:
            continue
        s = quarter_sine((cutoff - r) / cutoff, real)
        c = quarter_sine(r / cutoff, real)
        change = real(-math.pi) / cutoff * s * c  # C'(r)
        if with_envelope:
            slope[e] += grad_envelope[e] * (
                _hump_slope(r, lower, cutoff, real) if lower > real(0.0) else change
            )
        if with_rbf:
            u = exponential(-alpha * (r - lower)) if exp_normal else r
            scaled_du = -alpha * u * s * s if exp_normal else s * s  # C du/dr
            total = real(0.0)
            for f in range(centres.shape[0]):
                z = u - centres[f]
                wz = widths[f] * z
                term = change - real(2.0) * wz * scaled_du
                total += grad_rbf[e, f] * exponential(-wz * z) * term
            slope[e] += total


@njit(cache=True, fastmath={"contract", "nsz"})
def _hump_slope(r, lower, cutoff, real):
    """Return the slope of the envelope between two cutoffs, see `envelope_triton`."""
    step = real(2.0) / (cutoff - lower)
    t = min(r - lower, cutoff - r) * step
    half = real(math.pi) * step * quarter_sine(t, real) * quarter_sine(real(1.0) - t, real)
    return half if r - lower < cutoff - r else -half


@njit(cache=True, fastmath={"contract", "nsz"})
def _scatter(positions, receiver, sender, r_ij, slope, out):
    """Write dE/dx of every bead, edge by edge on one thread: few operations per edge."""
    real = r_ij.dtype.type
    out[:] = real(0.0)
    for e in range(r_ij.shape[0]):
        if r_ij[e] > real(0.0):  # no direction otherwise
            i, j = receiver[e], sender[e]
            pull = slope[e] / r_ij[e]
            for axis in range(3):
                change = pull * (positions[j, axis] - positions[i, axis])
                out[j, axis] += change
                out[i, axis] -= change


@njit(parallel=True, cache=True, fastmath={"contract", "nsz"})
def _sum_rows(positions, sender, r_ij, slope, row_start, reverse, out):
    """Write dE/dx_i = - sum over the row of i of (slope_e + slope_reverse(e)) (x_j - x_i) / r."""
    real = r_ij.dtype.type
    for i in prange(out.shape[0]):
        x = y = z = real(0.0)
        for e in range(row_start[i], row_start[i + 1]):
            if r_ij[e] > real(0.0):
                j = sender[e]
                pull = (slope[e] + slope[reverse[e]]) / r_ij[e]
                x -= pull * (positions[j, 0] - positions[i, 0])
                y -= pull * (positions[j, 1] - positions[i, 1])
                z -= pull * (positions[j, 2] - positions[i, 2])
        out[i, 0] = x
        out[i, 1] = y
        out[i, 2] = z
