"""What the CPU kernels share: functions that LLVM turns into vector instructions, and threads.

Numba takes exp and sin from the C library, one number at a time. The polynomials here stay in the
dtype of their argument, float32 or float64, and vectorise.

Numba's cache on disk watches the file of a kernel, not this one: after a change here, remove the
__pycache__ folders of the kernels.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import torch
from numba import njit, types
from numba.extending import overload


def match_torch_threads(most: int | None = None) -> None:
    """Let Numba use as many threads as PyTorch does, as far as it has them.

    Args:
        most: threads that the work is worth; work of less than some hundred microseconds is worth
            one, because the others have to wake up first.
    """
    threads, usable = torch.get_num_threads(), available_threads()
    numba.set_num_threads(min(usable, most or usable))
    if torch.get_num_threads() != threads:  # Numba's first launch sets OpenMP's number of threads
        torch.set_num_threads(threads)


def available_threads() -> int:
    """Return the number of threads that PyTorch uses and Numba has."""
    return min(torch.get_num_threads(), int(numba.config.NUMBA_NUM_THREADS))


@njit(cache=True)
def _exponential32(x):
    x = max(x, np.float32(-87.0))
    k = np.float32(math.floor(x * np.float32(1.4426950408889634) + np.float32(0.5)))
    # log(2) in two parts: k times the first is exact.
    t = (x - k * np.float32(0.693359375)) + k * np.float32(2.12194440054690583e-4)
    p = np.float32(1.0 / 5040.0)  # Taylor: the next term is at most 5e-9 at |t| = log(2) / 2
    p = p * t + np.float32(1.0 / 720.0)
    p = p * t + np.float32(1.0 / 120.0)
    p = p * t + np.float32(1.0 / 24.0)
    p = p * t + np.float32(1.0 / 6.0)
    p = p * t + np.float32(0.5)
    p = p * t * t + t + np.float32(1.0)
    exponent = np.int32((np.int32(k) + np.int32(127)) << np.int32(23))
    return p * exponent.view(np.float32)  # p 2^k


@njit(cache=True)
def _exponential64(x):
    return math.exp(x)


def exponential(x: Any) -> Any:
    """Return exp(x) for x <= 0, inside Numba kernels; at least 1e-38 in float32."""
    raise NotImplementedError("only for use inside Numba kernels")


@overload(exponential)
def _choose_exponential(x):
    if x == types.float32:
        return lambda x: _exponential32(x)
    return lambda x: _exponential64(x)


@njit(cache=True)
def quarter_sine(t, real):
    """Return sin(pi/2 t) for t in [0, 1]; `real` is the dtype to compute in.

    Polynomial of least greatest relative error, 4e-22, rounding aside.
    """
    u = t * t
    p = real(6.064190900795492e-12) - real(4.248884839244850e-14) * u
    p = real(-6.688002441981118e-10) + p * u
    p = real(5.692172686367703e-8) + p * u
    p = real(-3.598843234157670e-6) + p * u
    p = real(1.604411847870717e-4) + p * u
    p = real(-4.681754135318643e-3) + p * u
    p = real(7.969262624616705e-2) + p * u
    p = real(-6.459640975062463e-1) + p * u
    p = real(1.5707963267948966) + p * u
    return t * p
