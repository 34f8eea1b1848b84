"""1. The distance along every edge: a program takes a block of edges."""

import triton
import triton.language as tl


@triton.jit
def distance_kernel(positions, receiver, sender, r_ij, edges, BLOCK: tl.constexpr):
    e = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = e < edges
    i = tl.load(receiver + e, mask=inside, other=0)
    j = tl.load(sender + e, mask=inside, other=0)
    dx = tl.load(positions + 3 * j) - tl.load(positions + 3 * i)
    dy = tl.load(positions + 3 * j + 1) - tl.load(positions + 3 * i + 1)
    dz = tl.load(positions + 3 * j + 2) - tl.load(positions + 3 * i + 2)
    tl.store(r_ij + e, tl.sqrt(dx * dx + dy * dy + dz * dz), mask=inside)


def launch(positions, receiver, sender, r_ij):
    edges = len(r_ij)
    distance_kernel[(triton.cdiv(edges, 128),)](positions, receiver, sender, r_ij, edges, BLOCK=128)
