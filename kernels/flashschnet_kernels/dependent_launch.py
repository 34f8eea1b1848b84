"""Launches that begin while the one before them still runs: programmatic dependent launch.

A step is a chain of small kernels, and between two of them a GPU is idle for a microsecond or two:
the first drains, the next is set up. Since compute capability 9.0 a kernel may be set up while the
one before it drains. It then has to wait, before it touches what others wrote or still read, until
that one is complete.

Every kernel of the chain begins with `wait_for_launch_before`. So each is complete only after the
one before it is, and what any earlier one wrote is there. A kernel that does not wait must never be
launched with `launch_options`; one that waits may stand beside any other, since a launch without
the option starts when all before it is complete, as ever.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl

FIRST_CAPABILITY = (9, 0)
"""Compute capability from which a launch may begin early: H100, and GeForce RTX 50."""
FIRST_DRIVER = 12030
"""CUDA version of the driver, 12.3, from which such launches can be captured in a graph."""
ALONE = {"DEPENDENT": False}
"""The constant of a variant that waits for nothing, as ahead-of-time compiling names it."""


@triton.jit
def wait_for_launch_before(DEPENDENT: tl.constexpr):
    """Wait until the launch before is complete, then allow the next one to be set up.

    Only what no launch of a step writes may be read earlier.
    """
    if DEPENDENT:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()


def launch_options(device: torch.device) -> dict[str, Any]:
    """Return the options with which kernels that wait are launched on a device."""
    if device.type != "cuda" or not _begins_early(device.index or 0):
        return dict(ALONE)
    return {"DEPENDENT": True, "launch_pdl": True}


def begins_early(capability: tuple[int, int], driver: int) -> bool:
    """Return whether launches begin early, by compute capability and CUDA version of the driver."""
    return capability >= FIRST_CAPABILITY and driver >= FIRST_DRIVER


@cache
def _begins_early(index: int) -> bool:
    if torch.version.cuda is None:  # AMD's GPUs are called cuda too
        return False
    return begins_early(torch.cuda.get_device_capability(index), _driver())


def _driver() -> int:
    """Return the CUDA version of the driver, 12030 for 12.3; 0 where it does not say."""
    version = ctypes.c_int(0)
    status = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    return version.value if status == 0 else 0
