"""3. Gather: a program copies a block of rows."""

import triton
import triton.language as tl


@triton.jit
def gather_kernel(features, sender, out, edges, channels, EDGES: tl.constexpr, BLOCK: tl.constexpr):
    e = tl.program_id(0) * EDGES + tl.arange(0, EDGES)
    c = tl.arange(0, BLOCK)
    inside = (e < edges)[:, None] & (c < channels)[None, :]
    j = tl.load(sender + e, mask=e < edges, other=0)
    row = tl.load(features + j[:, None] * channels + c[None, :], mask=inside)
    tl.store(out + e.to(tl.int64)[:, None] * channels + c[None, :], row, mask=inside)


def launch(features, receiver, sender, out):
    edges, channels = out.shape
    grid = (triton.cdiv(edges, 16),)
    block = triton.next_power_of_2(channels)
    gather_kernel[grid](features, sender, out, edges, channels, EDGES=16, BLOCK=block)
