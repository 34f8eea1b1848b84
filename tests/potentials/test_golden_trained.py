"""Trained networks of mlcg and TorchMD-Net against what the original codes computed (float64)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashschnet_kernels.plan import parse_plan
from flashschnet_lab.potentials.batch import Batch
from flashschnet_lab.potentials.sum import ForceField
from tests.potentials.trained_networks import NAMES, Golden, load_golden

pytestmark = pytest.mark.golden
RELATIVE = 1e-9
EXACT = ("reference", "baseline")
"""The plans of a CPU that work in float64."""


@pytest.fixture(scope="module", params=NAMES)
def golden(shared, request) -> Golden:
    return load_golden(shared, request.param)


def relative_error(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def force_field_of(golden: Golden, plan: str, dtype: torch.dtype) -> ForceField:
    frames, beads = golden.positions.shape[:2]
    return ForceField(
        Batch((beads,) * frames),
        network=golden.network,
        bead_types=golden.bead_types.repeat(frames),
        plan=parse_plan(plan, "cpu"),
    ).to(dtype)


@pytest.mark.parametrize("plan", EXACT)
def test_every_frame_in_float64(golden, plan):
    """Pairs at either cutoff, expanded molecules and isolated beads are among the frames."""
    evaluation = force_field_of(golden, plan, torch.float64)(golden.positions)
    np.testing.assert_allclose(evaluation.energy.numpy(), golden.energy, rtol=RELATIVE)
    largest = np.linalg.norm(golden.forces, axis=(1, 2)).max()
    for found, exact in zip(evaluation.forces.numpy(), golden.forces, strict=True):
        # Frames without a pair have no forces but those of rounding.
        scale = max(np.linalg.norm(exact), 1e-4 * largest)
        assert np.linalg.norm(found - exact) < RELATIVE * scale
