"""The fused convolution over tiles against forces that the original codes computed (float64)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashschnet_kernels.plan import parse_plan
from flashschnet_lab.measure.accuracy import force_limit
from flashschnet_lab.potentials.schnet import SchNetShape
from flashschnet_lab.system import Model, System, build_force_field
from tests.potentials.mlcg_data import mlcg_schnet, protein_from_types
from tests.potentials.trained_networks import load_golden, system_of

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


EVERYWHERE = [
    *(("general trp", "flash-float32"), ("c-alpha", "flash-float32")),
    ("c-alpha", "exact"),  # 256 wide, which the fused bead work takes in slabs
]
ON_A_GPU = [
    *(("general trp", plan) for plan in ("radial_basis", "message_passing", "exact", "balanced")),
    *(("general trp", plan) for plan in ("fast", "filters=table-exact")),
    *(("c-alpha", plan) for plan in ("radial_basis", "exact,nodes=reference")),
    ("c-alpha", "balanced"),
]


COMPUTED = 8
"""Times the original's float32 error that filters computed in tiles may have on steep networks.

It is 5.5 on a native C-alpha conformation: products of halves keep 22 bits, and tanh and exp2 are
the short forms.
"""


@pytest.mark.parametrize(("name", "plan"), EVERYWHERE + ON_A_GPU)
def test_trained_networks(shared, name, plan, triton_device):
    """Of TorchMD-Net, with a lower cutoff and biases, and of mlcg, 256 wide."""
    on_gpu = triton_device.type == "cuda"
    if not on_gpu and (name, plan) not in EVERYWHERE:
        pytest.skip(
            "the interpreter is too slow; one plan runs all that is new in the fused kernels"
        )
    golden = load_golden(shared, name)
    frames = slice(None) if on_gpu else slice(1)
    chosen = parse_plan(plan, "cuda")
    positions = golden.positions[frames].float().to(triton_device)
    systems = [system_of(golden)] * len(positions)
    evaluation = build_force_field(systems, device=triton_device, plan=chosen)(positions)

    def error(found: np.ndarray) -> float:
        exact = golden.forces[frames]
        return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))

    factor = 2 if chosen.tabulated or not chosen.fused else COMPUTED
    allowed = max(force_limit(chosen, "float32"), factor * error(golden.forces32[frames]))
    assert error(evaluation.forces.double().cpu().numpy()) < allowed
    scale = np.abs(golden.energy[frames]).max()
    energies = evaluation.energy.cpu().numpy()
    np.testing.assert_allclose(energies, golden.energy[frames], rtol=0, atol=allowed * scale)
