"""Triton kernels run on the GPU where there is one, and in Triton's interpreter elsewhere."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    # Read by triton.jit when a kernel module is imported, which no test does before this file.
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def triton_device() -> torch.device:
    """Device of the tensors that Triton kernels are tested with."""
    triton = pytest.importorskip("triton")
    version = tuple(int(part) for part in triton.__version__.split(".")[:2])
    numpy_version = tuple(int(part) for part in np.__version__.split(".")[:2])
    if not torch.cuda.is_available() and version < (3, 7) and numpy_version >= (2, 4):
        pytest.skip("the interpreter of Triton before 3.7 does not work with numpy 2.4 or later")
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
