"""The one table of what counts as exact."""

from __future__ import annotations

import torch
from torch import Tensor

FACTOR = 2.0
"""Allowed error against the float64 reference, in units of that of eager PyTorch in the dtype."""

FLOOR = {
    torch.float64: 1e-14,
    torch.float32: 1e-6,
    torch.float16: 1e-3,
    torch.bfloat16: 8e-3,
}
"""Error that is always allowed, relative to the largest value: a few units in the last place."""


def assert_as_exact_as_eager(
    found: Tensor, eager: Tensor, exact: Tensor, scale: float | None = None
) -> None:
    """Compare a result with the reference in the same dtype and in float64.

    Args:
        found: result of the operator under test.
        eager: reference, same dtype.
        exact: reference in float64, from the same inputs.
        scale: size of the terms that were added up, where they cancel; the largest absolute value
            of `exact` otherwise.
    """
    assert found.dtype == eager.dtype
    assert found.shape == eager.shape == exact.shape
    assert found.isfinite().all()
    if exact.numel() == 0:
        return
    floor = FLOOR[found.dtype]
    found, eager, exact = (tensor.detach().double().cpu() for tensor in (found, eager, exact))
    scale = exact.abs().max().item() if scale is None else scale
    allowed = max(FACTOR * (eager - exact).abs().max().item(), floor * scale)
    error = (found - exact).abs().max().item()
    assert error <= allowed, f"error {error:.2e}, allowed {allowed:.2e} (scale {scale:.2e})"


SIXTEEN_BIT = {"float16": 2e-3, "bfloat16": 1.6e-2}
"""Error of the fused convolution with 16-bit weights and activations, relative to the sizes of the
terms that are added up: four roundings."""

SPLIT_HALVES = 2.0**-24 / FLOOR[torch.float32]
"""Scale of a float32 product made of halves of float16, where the terms are smaller than that.

An activation of at most 1 is rounded to a multiple of 2^-24, however small it is, as it is near the
cutoff: an error of up to 2^-25 in each of the two layers.
"""


def assert_within(found: Tensor, exact: Tensor, allowed: float) -> None:
    """Compare a result with the reference in float64, up to an absolute error."""
    assert found.shape == exact.shape
    assert found.isfinite().all()
    error = (found.detach().double().cpu() - exact.detach()).abs()
    largest = error.max().item() if error.numel() else 0.0
    assert largest <= allowed, f"error {largest:.2e}, allowed {allowed:.2e}"


NETWORK = {"float32": 1e-5, "float16": 1e-2}
"""Error of a whole network's energies and gradient, relative to the largest of them. In float16 it
holds half a dozen layers in 16 bit and partial sums in bfloat16, which Triton's interpreter cuts
off where a GPU rounds."""
