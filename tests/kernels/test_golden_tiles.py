"""The fused convolution over tiles against forces that the original codes computed (float64)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashschnet_kernels.plan import parse_plan
from flashschnet_lab.potentials.schnet import SchNetShape
from flashschnet_lab.system import Model, System, build_force_field
from tests.potentials.mlcg_data import mlcg_schnet, protein_from_types

pytestmark = pytest.mark.golden


@pytest.mark.parametrize("plan", ["flash-float32", "message_passing"])
def test_five_bead_network(shared, plan, triton_device):
    with np.load(shared / "golden/mlcg_schnet_5bead_random.npz") as golden:
        positions, types = golden["chignolin_pos"][:1], golden["chignolin_atom_types"]
        energy, forces = golden["chignolin_energy_expnormal"], golden["chignolin_forces_expnormal"]
        original = golden["chignolin_forces_expnormal_float32"][:1].astype(float)
    state = shared / "golden/weights_npz/mlcg_schnet_5bead_random_expnormal_state.npz"
    network = mlcg_schnet(state, SchNetShape()).float()
    system = System(
        protein_from_types("chignolin", types, positions[0]), Model("golden", None, network)
    )
    force_field = build_force_field([system], device=triton_device, plan=parse_plan(plan, "cuda"))
    evaluation = force_field(torch.from_numpy(positions).float().to(triton_device))

    def error(found: np.ndarray) -> float:
        return float(np.linalg.norm(found - forces[:1]) / np.linalg.norm(forces[:1]))

    assert float(evaluation.energy) == pytest.approx(energy[0], rel=1e-6)
    assert error(evaluation.forces.double().cpu().numpy()) < 2 * error(original)
