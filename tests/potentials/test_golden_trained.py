"""Trained networks of mlcg and TorchMD-Net against what the original codes computed (float64)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashschnet_kernels.plan import parse_plan
from flashschnet_lab.potentials.sum import Evaluation
from flashschnet_lab.potentials.tables import class_of
from flashschnet_lab.system import build_force_field
from tests.potentials.test_golden import EXACT, relative_error
from tests.potentials.trained_networks import NAMES, Golden, load_golden, system_of

pytestmark = pytest.mark.golden
RELATIVE = 1e-9
TABLES = [
    *(("general trp", name) for name in ("exact", "balanced", "filters=table-fast")),
    *(("c-alpha", name) for name in ("exact", "balanced", "fast")),
]
"""Trp-cage has a conformation with pairs down to 3.07 A; for the other no compact table is exact
enough, so "fast" reads a cubic one."""


def evaluate(golden: Golden, plan: str, dtype: torch.dtype) -> Evaluation:
    """Evaluate all frames, each a molecule of the batch, with a system's force field."""
    systems = [system_of(golden)] * len(golden.positions)
    force_field = build_force_field(systems, dtype=dtype, plan=parse_plan(plan, "cpu"))
    return force_field(golden.positions.to(dtype))


@pytest.mark.parametrize(
    ("name", "plan"),
    [(name, plan) for name in NAMES for plan in (EXACT if name != "chignolin" else EXACT[:2])],
)
def test_every_frame_in_float64(shared, name, plan):
    """Pairs at either cutoff, expanded molecules and isolated beads are among the frames."""
    golden = load_golden(shared, name)
    evaluation = evaluate(golden, plan, torch.float64)
    np.testing.assert_allclose(evaluation.energy.numpy(), golden.energy, rtol=RELATIVE)
    largest = np.linalg.norm(golden.forces, axis=(1, 2)).max()
    for found, exact in zip(evaluation.forces.numpy(), golden.forces, strict=True):
        # Frames without a pair have no forces but those of rounding.
        scale = max(np.linalg.norm(exact), 1e-4 * largest)
        assert np.linalg.norm(found - exact) < RELATIVE * scale


@pytest.mark.parametrize("name", ["general trp", "c-alpha"])
@pytest.mark.parametrize("plan", EXACT)
def test_float32_is_as_good_as_the_original_float32(shared, name, plan):
    golden = load_golden(shared, name)
    found = evaluate(golden, plan, torch.float32).forces.double().numpy()
    theirs = relative_error(golden.forces32, golden.forces)
    assert relative_error(found, golden.forces) < 2 * theirs


@pytest.mark.parametrize(("name", "plan"), TABLES)
def test_a_table_keeps_its_promise(shared, name, plan):
    """Or it is as good as the original in float32, whose rounding is more than "exact" promises."""
    pytest.importorskip("numba")
    golden = load_golden(shared, name)
    found = evaluate(golden, plan, torch.float32).forces.double().numpy()
    theirs = relative_error(golden.forces32, golden.forces)
    promise = class_of(parse_plan(plan, "cpu").table_class).promise
    assert relative_error(found, golden.forces) < max(promise, 2 * theirs)
