"""2. The radial basis: a program takes a block of edges and all functions."""

import triton
import triton.language as tl


@triton.jit
def rbf_kernel(
    r_ij, centres, width, cutoff, rbf, edges, functions, EDGES: tl.constexpr, BLOCK: tl.constexpr
):
    e = tl.program_id(0) * EDGES + tl.arange(0, EDGES)
    f = tl.arange(0, BLOCK)
    r = tl.load(r_ij + e, mask=e < edges, other=0.0)
    centre = tl.load(centres + f, mask=f < functions, other=0.0)
    envelope = tl.where(r < cutoff, 0.5 * (tl.cos(r * (3.141592653589793 / cutoff)) + 1.0), 0.0)
    z = r[:, None] - centre[None, :]  # [EDGES, BLOCK]
    value = envelope[:, None] * tl.exp(-width * z * z)
    inside = (e < edges)[:, None] & (f < functions)[None, :]
    tl.store(rbf + e[:, None] * functions + f[None, :], value, mask=inside)


def launch(r_ij, centres, width, cutoff, rbf):
    edges, functions = rbf.shape
    grid = (triton.cdiv(edges, 32),)
    block = triton.next_power_of_2(functions)
    rbf_kernel[grid](r_ij, centres, width, cutoff, rbf, edges, functions, EDGES=32, BLOCK=block)
