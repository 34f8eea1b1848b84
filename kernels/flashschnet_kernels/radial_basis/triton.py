"""Distance, radial basis and envelope of every edge in one pass, on a GPU."""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from flashschnet_kernels.ahead_of_time import Specialisation
from flashschnet_kernels.edges import Edges
from flashschnet_kernels.envelope_triton import (
    cosine_envelope,
    cosine_envelope_slope,
    filter_envelope,
    filter_envelope_slope,
)
from flashschnet_kernels.first_order import first_order
from flashschnet_kernels.launching import FMA
from flashschnet_kernels.radial_basis.parameters import RadialParameters, check_inputs

EDGES = 32  # per program of the forward and of the backward
ROW_EDGES = 128  # of one bead, added at once
MOST_FUNCTIONS = 128  # in registers at once
WARPS = 4


def expand(
    positions: Tensor,
    receiver: Tensor,
    sender: Tensor,
    basis: RadialParameters,
    edges: Edges | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return distance, basis functions and envelope of every edge, as the reference does.

    First derivatives with respect to the positions only. Without `edges` the position gradient is
    added with atomics, in an order that changes from run to run; with it, bead by bead in the order
    of the rows, with the same bits every run.

    Args:
        positions: [beads, 3] float32 or float64, in angstrom.
        receiver, sender: [edges] int32 or int64.
        basis: of the dtype of `positions`.
        edges: the structure that `receiver` and `sender` come from.

    Raises:
        RuntimeError: centres or widths that require a gradient.
        TypeError: a dtype that is not supported.
        ValueError: `edges` of another number of edges.
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
        positions, receiver, sender = (
            tensor.contiguous() for tensor in (positions, receiver, sender)
        )
        centres, widths = basis.centres.contiguous(), basis.widths.contiguous()
        count, functions = receiver.shape[0], centres.shape[0]
        r_ij = positions.new_empty(count)
        rbf = positions.new_empty(count, functions)
        envelope = positions.new_empty(count)
        if count:
            _forward[(triton.cdiv(count, EDGES),)](
                positions,
                receiver,
                sender,
                centres,
                widths,
                r_ij,
                rbf,
                envelope,
                count,
                **_constants(basis),
                num_warps=WARPS,
                **FMA,
            )
        # A row of 4 bytes per edge is all that the backward needs beside its input.
        ctx.save_for_backward(positions, receiver, sender, r_ij, centres, widths)
        ctx.basis, ctx.edges = basis, edges
        ctx.set_materialize_grads(False)
        return r_ij, rbf, envelope

    @staticmethod
    @first_order
    def backward(
        ctx: Any, grad_r: Tensor | None, grad_rbf: Tensor | None, grad_envelope: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        positions, receiver, sender, r_ij, centres, widths = ctx.saved_tensors
        count, edges = r_ij.shape[0], ctx.edges
        gradients = [
            None if gradient is None else gradient.contiguous()
            for gradient in (grad_r, grad_rbf, grad_envelope)
        ]
        if count == 0 or all(gradient is None for gradient in gradients):
            return torch.zeros_like(positions), None, None, None, None
        arguments = (positions, receiver, sender, r_ij, centres, widths, *gradients)
        grid = (triton.cdiv(count, EDGES),)
        constants = _constants(ctx.basis)
        if edges is None:
            out = torch.zeros_like(positions)
            _backward[grid](
                *arguments, out, count, atomic=True, **constants, num_warps=WARPS, **FMA
            )
        else:
            slope = torch.empty_like(r_ij)
            _backward[grid](
                *arguments, slope, count, atomic=False, **constants, num_warps=WARPS, **FMA
            )
            out = torch.empty_like(positions)
            row_start, reverse = edges.row_start.contiguous(), edges.reverse.contiguous()
            _sum_rows[(edges.beads,)](
                positions,
                sender,
                r_ij,
                slope,
                row_start,
                reverse,
                out,
                ROW_EDGES,
                num_warps=1,
                **FMA,
            )
        return out, None, None, None, None


def _constants(basis: RadialParameters) -> dict[str, Any]:
    functions = basis.centres.shape[0]
    return {
        "functions": functions,
        "alpha": basis.alpha if basis.kind == "exp_normal" else 0.0,
        "cutoff": basis.cutoff,
        "lower": basis.lower,
        "exp_normal": basis.kind == "exp_normal",
        "edges_block": EDGES,
        "functions_block": min(triton.next_power_of_2(max(1, functions)), MOST_FUNCTIONS),
    }


@triton.jit
def _displacement(positions, receiver, sender, e, inside):
    """Return both bead indices (int64) and x_sender - x_receiver of edges `e`."""
    i = tl.load(receiver + e, mask=inside, other=0).to(tl.int64)
    j = tl.load(sender + e, mask=inside, other=0).to(tl.int64)
    dx = tl.load(positions + 3 * j, mask=inside, other=0.0)
    dy = tl.load(positions + 3 * j + 1, mask=inside, other=0.0)
    dz = tl.load(positions + 3 * j + 2, mask=inside, other=0.0)
    dx -= tl.load(positions + 3 * i, mask=inside, other=0.0)
    dy -= tl.load(positions + 3 * i + 1, mask=inside, other=0.0)
    dz -= tl.load(positions + 3 * i + 2, mask=inside, other=0.0)
    return i, j, dx, dy, dz


@triton.jit
def _inverse(r):
    """Return 1 / r, and 0 where r = 0: there a distance has no direction."""
    return tl.where(r > 0.0, 1.0 / tl.where(r > 0.0, r, 1.0), 0.0)


@triton.jit
def basis_argument(r, alpha: tl.constexpr, lower: tl.constexpr, exp_normal: tl.constexpr):
    """Return u(r), what a basis function is a Gaussian of."""
    u = r
    if exp_normal:
        if lower > 0.0:
            u = tl.exp(-alpha * (r - lower))
        else:
            u = tl.exp(-alpha * r)
    return u


@triton.jit(do_not_specialize=["count"])
def _forward(
    positions,
    receiver,
    sender,
    centres,
    widths,
    r_ij,
    rbf,
    envelope,
    count,
    functions: tl.constexpr,
    alpha: tl.constexpr,
    cutoff: tl.constexpr,
    lower: tl.constexpr,
    exp_normal: tl.constexpr,
    edges_block: tl.constexpr,
    functions_block: tl.constexpr,
):
    """Write r_ij [count], rbf [count, functions] and envelope [count].

    positions [beads, 3], centres and widths [functions] float32 or float64, as all outputs;
    receiver and sender [count] int32 or int64. Grid: one program per `edges_block` edges. Nothing
    is added up between programs: same bits every run.
    """
    e = tl.program_id(0).to(tl.int64) * edges_block + tl.arange(0, edges_block)
    inside = e < count
    i, j, dx, dy, dz = _displacement(positions, receiver, sender, e, inside)
    r = tl.sqrt(dx * dx + dy * dy + dz * dz)  # [edges_block]
    scale = cosine_envelope(r, cutoff)
    tl.store(r_ij + e, r, mask=inside)
    tl.store(envelope + e, filter_envelope(r, lower, cutoff), mask=inside)
    if lower > 0.0:
        scale = tl.where(r < lower, 0.0, scale)
    u = basis_argument(r, alpha, lower, exp_normal)
    for first in range(0, functions, functions_block):
        f = first + tl.arange(0, functions_block)
        known = f < functions
        centre = tl.load(centres + f, mask=known, other=0.0)
        width = tl.load(widths + f, mask=known, other=0.0)
        z = u[:, None] - centre[None, :]  # [edges_block, functions_block]
        value = scale[:, None] * tl.exp(-width[None, :] * z * z)
        at = rbf + e[:, None] * functions + f[None, :]
        tl.store(at, value, mask=inside[:, None] & known[None, :])


@triton.jit(do_not_specialize=["count"])
def _backward(
    positions,
    receiver,
    sender,
    r_ij,
    centres,
    widths,
    grad_r,
    grad_rbf,
    grad_envelope,
    out,
    count,
    functions: tl.constexpr,
    alpha: tl.constexpr,
    cutoff: tl.constexpr,
    lower: tl.constexpr,
    exp_normal: tl.constexpr,
    edges_block: tl.constexpr,
    functions_block: tl.constexpr,
    atomic: tl.constexpr,
):
    """Reduce the gradients of an edge to dE/dr, and add that to both of its beads if `atomic`.

    grad_r [count], grad_rbf [count, functions], grad_envelope [count], each may be None. `out` is
    [beads, 3], zeros, if `atomic`, and [count] for dE/dr otherwise. Grid: one program per
    `edges_block` edges. Sums in the dtype of the positions; with atomics their order, and so the
    last bits, change from run to run. First derivative.
    """
    e = tl.program_id(0).to(tl.int64) * edges_block + tl.arange(0, edges_block)
    inside = e < count
    r = tl.load(r_ij + e, mask=inside, other=1.0)
    slope = tl.zeros_like(r)  # dE/dr
    if grad_r is not None:
        slope += tl.load(grad_r + e, mask=inside, other=0.0)
    if grad_envelope is not None:
        change = filter_envelope_slope(r, lower, cutoff)
        slope += tl.load(grad_envelope + e, mask=inside, other=0.0) * change
    if grad_rbf is not None:
        scale = cosine_envelope(r, cutoff)
        change = cosine_envelope_slope(r, cutoff)
        if lower > 0.0:
            scale = tl.where(r < lower, 0.0, scale)
            change = tl.where(r < lower, 0.0, change)
        u = basis_argument(r, alpha, lower, exp_normal)
        scaled_du = scale  # C du/dr
        if exp_normal:
            scaled_du = -alpha * u * scale
        for first in range(0, functions, functions_block):
            f = first + tl.arange(0, functions_block)
            known = f < functions
            centre = tl.load(centres + f, mask=known, other=0.0)
            width = tl.load(widths + f, mask=known, other=0.0)
            z = u[:, None] - centre[None, :]  # [edges_block, functions_block]
            wz = width[None, :] * z
            at = grad_rbf + e[:, None] * functions + f[None, :]
            gradient = tl.load(at, mask=inside[:, None] & known[None, :], other=0.0)
            term = change[:, None] - 2.0 * wz * scaled_du[:, None]
            slope += tl.sum(gradient * tl.exp(-wz * z) * term, axis=1)
    if atomic:
        i, j, dx, dy, dz = _displacement(positions, receiver, sender, e, inside)
        pull = slope * _inverse(r)
        tl.atomic_add(out + 3 * j, pull * dx, mask=inside, sem="relaxed")
        tl.atomic_add(out + 3 * j + 1, pull * dy, mask=inside, sem="relaxed")
        tl.atomic_add(out + 3 * j + 2, pull * dz, mask=inside, sem="relaxed")
        tl.atomic_add(out + 3 * i, -pull * dx, mask=inside, sem="relaxed")
        tl.atomic_add(out + 3 * i + 1, -pull * dy, mask=inside, sem="relaxed")
        tl.atomic_add(out + 3 * i + 2, -pull * dz, mask=inside, sem="relaxed")
    else:
        tl.store(out + e, slope, mask=inside)


@triton.jit
def _sum_rows(positions, sender, r_ij, slope, row_start, reverse, out, row_edges: tl.constexpr):
    """Write dE/dx_i = - sum over the row of i of (slope_e + slope_reverse(e)) (x_j - x_i) / r.

    slope [edges], out [beads, 3]. Grid: one program per bead, `row_edges` edges at once, in the
    order of the row: same bits every run, whatever else is in the batch.
    """
    i = tl.program_id(0).to(tl.int64)
    x_i = tl.load(positions + 3 * i)
    y_i = tl.load(positions + 3 * i + 1)
    z_i = tl.load(positions + 3 * i + 2)
    lane = tl.arange(0, row_edges)
    x = tl.zeros_like(lane).to(x_i.dtype)
    y = x
    z = x
    end = tl.load(row_start + i + 1).to(tl.int64)
    for first in range(tl.load(row_start + i).to(tl.int64), end, row_edges):
        e = first + lane
        inside = e < end
        j = tl.load(sender + e, mask=inside, other=0).to(tl.int64)
        opposite = tl.load(reverse + e, mask=inside, other=0).to(tl.int64)
        both = tl.load(slope + e, mask=inside, other=0.0)
        both += tl.load(slope + opposite, mask=inside, other=0.0)
        pull = -both * _inverse(tl.load(r_ij + e, mask=inside, other=1.0))
        x += pull * (tl.load(positions + 3 * j, mask=inside, other=0.0) - x_i)
        y += pull * (tl.load(positions + 3 * j + 1, mask=inside, other=0.0) - y_i)
        z += pull * (tl.load(positions + 3 * j + 2, mask=inside, other=0.0) - z_i)
    tl.store(out + 3 * i, tl.sum(x, axis=0))
    tl.store(out + 3 * i + 1, tl.sum(y, axis=0))
    tl.store(out + 3 * i + 2, tl.sum(z, axis=0))


def specialisations() -> list[Specialisation]:
    """Return the variants that a simulation launches: both bases, float32, 64 functions.

    And the basis of TorchMD-Net's networks, 18 functions and a lower cutoff.
    """
    found, cgschnet, torchmd = [], torch.ones(64), torch.ones(18)
    for basis in (
        RadialParameters("gaussian", cgschnet, cgschnet, 1.0 / 3.0, 15.0),
        RadialParameters("exp_normal", cgschnet, cgschnet, 1.0 / 3.0, 15.0),
        RadialParameters("exp_normal", torchmd, torchmd, 5.0 / 9.0, 12.0, 3.0),
    ):
        constants = _constants(basis)
        found.append(_variant(_forward, constants))
        for atomic in (True, False):
            found.append(_variant(_backward, {**constants, "atomic": atomic, "grad_r": None}))
    found.append(_variant(_sum_rows, {"row_edges": ROW_EDGES}, warps=1))
    return found


def _variant(kernel: Any, constants: dict[str, Any], warps: int = WARPS) -> Specialisation:
    types = {name: "*i32" for name in ("receiver", "sender", "row_start", "reverse")}
    types["count"] = "i32"
    names = [name for name in kernel.arg_names if name not in constants]
    signature = {name: types.get(name, "*fp32") for name in names}
    return Specialisation(kernel, signature, constants, num_warps=warps)
