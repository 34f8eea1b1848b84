"""Energies and forces against those that the original codes computed (float64)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from flashschnet_kernels.plan import parse_plan
from flashschnet_kernels.priors import reference as terms
from flashschnet_lab.loading import load_system
from flashschnet_lab.measure.accuracy import LIMITS, network_force_error
from flashschnet_lab.potentials.schnet import SchNetShape
from flashschnet_lab.potentials.tables import CLASSES, class_of
from flashschnet_lab.proteins.mapping import read_protein
from flashschnet_lab.system import Model, System, build_force_field
from tests.potentials.mlcg_data import PDB_NAMES, mlcg_prior_table, mlcg_schnet, protein_from_types

pytestmark = pytest.mark.golden
RELATIVE = 1e-9
SYSTEMS = ("chignolin", "trpcage", "1enh")
BASES = {"expnormal": "exp_normal", "gaussian": "gaussian"}
EXACT = (
    "reference",
    "baseline",
    "radial_basis",
    "aggregation",
    "radial_basis,aggregation",
    "message_passing",
    "flash-float32",
)
"""The plans of a CPU that work in float64."""

SIXTEEN_BIT = {"fp16": 2.5e-3, "bf16": 2e-2}
"""Allowed force error of a random network in 16 bit: measured 1.2e-3 to 1.9e-3 and 0.9e-2 to
1.5e-2, an eighth of the precision. Trained networks keep `LIMITS`."""


def relative_error(found: np.ndarray, golden: np.ndarray) -> float:
    return float(np.linalg.norm(found - golden) / np.linalg.norm(golden))


def load(path) -> dict[str, np.ndarray]:
    return dict(np.load(path))


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_prior_term(shared, name):
    golden = load(shared / "golden/mlcg_prior_5bead.npz")
    table = mlcg_prior_table(shared / "golden/weights_npz/mlcg_prior_5bead_all20aa.json")
    positions = golden[f"{name}_pos"]
    protein = protein_from_types(name, golden[f"{name}_atom_types"], positions[0])
    model = Model("golden", table)
    force_field = build_force_field([System(protein, model)], dtype=torch.float64)
    names = golden["term_names"].tolist()
    for frame, x in enumerate(positions):
        per_term = np.zeros(len(names))
        for family, values in force_field.priors.per_term(torch.from_numpy(x)).items():
            labels = force_field.priors.term_names(family)
            np.add.at(per_term, [names.index(label) for label in labels], values.numpy())
        scale = np.abs(golden[f"{name}_energy_terms"][frame]).max()
        np.testing.assert_allclose(
            per_term, golden[f"{name}_energy_terms"][frame], rtol=RELATIVE, atol=RELATIVE * scale
        )
        evaluation = force_field(torch.from_numpy(x))
        energy = golden[f"{name}_energy_total"][frame]
        assert abs(float(evaluation.energy) - energy) < RELATIVE * abs(energy)
        forces = golden[f"{name}_forces_total"][frame]
        assert relative_error(evaluation.forces.numpy(), forces) < RELATIVE


@pytest.mark.parametrize("name", SYSTEMS)
def test_structures_map_to_the_same_molecule(shared, name):
    golden = load(shared / "golden/mlcg_prior_5bead.npz")
    protein = read_protein(shared / f"pdb/{PDB_NAMES[name]}.pdb")
    np.testing.assert_array_equal(protein.bead_types, golden[f"{name}_atom_types"])


def golden_system(shared, name: str, basis: str, with_prior: bool = False):
    """Return the system in float64, and everything that was computed of it."""
    golden = load(shared / "golden/mlcg_schnet_5bead_random.npz")
    folder = shared / "golden/weights_npz"
    shape = SchNetShape(radial_basis=BASES[basis])
    network = mlcg_schnet(folder / f"mlcg_schnet_5bead_random_{basis}_state.npz", shape)
    prior = mlcg_prior_table(folder / "mlcg_prior_5bead_all20aa.json") if with_prior else None
    protein = protein_from_types(name, golden[f"{name}_atom_types"], golden[f"{name}_pos"][0])
    return System(protein, Model("golden", prior, network)), golden


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("plan", EXACT)
@pytest.mark.parametrize("basis", BASES)
def test_every_plan_on_every_frame(shared, name, basis, plan):
    """Energies and forces with the priors, and of the network alone."""
    system, golden = golden_system(shared, name, basis, with_prior=True)
    positions = torch.from_numpy(golden[f"{name}_pos"])
    both = evaluate(system, positions, plan)
    # What the network adds: in float64 a difference is as good as an evaluation of its own.
    priors = evaluate(replace(system, model=replace(system.model, network=None)), positions, plan)
    alone = [total - part for total, part in zip(both, priors, strict=True)]
    for kind, (energies, forces) in (("total_", both), ("", alone)):
        np.testing.assert_allclose(energies, golden[f"{name}_energy_{kind}{basis}"], rtol=RELATIVE)
        assert relative_error(forces, golden[f"{name}_forces_{kind}{basis}"]) < RELATIVE


@pytest.mark.parametrize("plan", EXACT)
@pytest.mark.parametrize("basis", BASES)
def test_a_network_without_priors(shared, basis, plan):
    system, golden = golden_system(shared, "chignolin", basis)
    energies, forces = evaluate(system, torch.from_numpy(golden["chignolin_pos"]), plan)
    np.testing.assert_allclose(energies, golden[f"chignolin_energy_{basis}"], rtol=RELATIVE)
    assert relative_error(forces, golden[f"chignolin_forces_{basis}"]) < RELATIVE


def evaluate(system: System, positions: torch.Tensor, plan: str) -> tuple[np.ndarray, np.ndarray]:
    """Return energies [frames] and forces [frames, beads, 3] in float64."""
    force_field = build_force_field(
        [system] * len(positions), dtype=torch.float64, plan=parse_plan(plan, "cpu")
    )
    found = force_field(positions)
    return found.energy.numpy(), found.forces.numpy()


def chignolin_in_float32(shared, basis: str, plan: str) -> tuple[float, float]:
    """Return the force error of a plan in float32, and that of the original float32."""
    system, golden = golden_system(shared, "chignolin", basis)
    assert system.model.network is not None
    system.model.network.float()
    positions = torch.from_numpy(golden["chignolin_pos"]).float()
    force_field = build_force_field([system] * len(positions), plan=parse_plan(plan, "cpu"))
    forces = force_field(positions).forces.double().numpy()
    exact = golden[f"chignolin_forces_{basis}"]
    theirs = golden[f"chignolin_forces_{basis}_float32"].astype(float)
    return relative_error(forces, exact), relative_error(theirs, exact)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("plan", EXACT)
def test_float32_is_as_good_as_the_original_float32(shared, basis, plan):
    ours, theirs = chignolin_in_float32(shared, basis, plan)
    assert ours < 2 * theirs


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("plan", CLASSES)
def test_a_table_keeps_its_promise_on_every_frame(shared, basis, plan):
    """In float32, compiled, of a network that the search for a table has not seen."""
    pytest.importorskip("numba")
    system, golden = golden_system(shared, "chignolin", basis)
    assert system.model.network is not None
    system.model.network.float()
    positions = torch.from_numpy(golden["chignolin_pos"]).float()
    force_field = build_force_field([system] * len(positions), plan=parse_plan(plan, "cpu"))
    forces = force_field(positions).forces.double().numpy()
    error = relative_error(forces, golden[f"chignolin_forces_{basis}"])
    assert error < class_of(plan).promise


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("kind", SIXTEEN_BIT)
@pytest.mark.parametrize("switch", ["flash", "quantization"])
def test_16_bit_of_the_random_network(shared, basis, kind, switch):
    plan = {"flash": f"message_passing,aggregation,{kind}", "quantization": kind}[switch]
    ours, theirs = chignolin_in_float32(shared, basis, plan)
    assert 10 * theirs < ours < SIXTEEN_BIT[kind]


@pytest.mark.parametrize("name", SYSTEMS)
def test_16_bit_of_the_trained_networks(name):
    """On the native conformation: what trained weights and calibration keep."""
    system = load_system(name)
    positions = torch.from_numpy(system.protein.positions).float()[None]
    for kind in SIXTEEN_BIT:
        plan = parse_plan({"fp16": "flash", "bf16": "flash-bf16"}[kind], "cpu")
        error = network_force_error(system, positions, plan)
        assert error is not None
        assert error < LIMITS[kind]


def test_trained_c_alpha_network(shared):
    golden = load(shared / "golden/mlcg_schnet_cln_ca.npz")
    shape = SchNetShape(types=42, hidden=256, blocks=3, radial_functions=33, cutoff=5.0, alpha=1.0)
    network = mlcg_schnet(shared / "golden/weights_npz/mlcg_schnet_cln_ca_state.npz", shape)
    for x, energy, forces in zip(
        golden["pos"], golden["energy_SchNet"], golden["forces_SchNet"], strict=True
    ):
        x = torch.from_numpy(x).requires_grad_()
        i, j = torch.triu_indices(10, 10, 1)
        found = network(torch.from_numpy(golden["atom_types"]), x, torch.stack((i, j))).sum()
        (gradient,) = torch.autograd.grad(found, x)
        assert abs(found.item() - energy) <= RELATIVE * max(1.0, abs(energy))
        scale = np.linalg.norm(forces) + 1e-3
        assert np.linalg.norm(-gradient.numpy() - forces) <= RELATIVE * scale


def test_c_alpha_priors(shared):
    golden = {
        k: torch.from_numpy(v)
        for k, v in load(shared / "golden/mlcg_schnet_cln_ca.npz").items()
        if v.dtype.kind != "U"
    }
    index = {k: golden[f"index_{k}"].T for k in ("bonds", "angles", "dihedrals", "non_bonded")}
    for frame, x in enumerate(golden["pos"]):
        energies = {
            "bonds": terms.harmonic_bonds(
                x, index["bonds"], golden["param_bonds_k"], golden["param_bonds_r0"]
            ),
            "angles": terms.cosine_angles(
                x, index["angles"], golden["param_angles_k"], golden["param_angles_cos0"]
            ),
            "dihedrals": terms.fourier_dihedrals(
                x,
                index["dihedrals"],
                golden["param_dihedrals_v0"],
                golden["param_dihedrals_k1s"],
                golden["param_dihedrals_k2s"],
            ),
            "non_bonded": terms.repulsion(x, index["non_bonded"], golden["param_sigma_pairs"]),
        }
        for family, values in energies.items():
            expected = golden[f"energy_{family}"][frame]
            torch.testing.assert_close(values.sum(), expected, rtol=RELATIVE, atol=1e-10)
