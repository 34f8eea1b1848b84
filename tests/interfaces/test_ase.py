"""ASE's own dynamics on our forces."""

from __future__ import annotations

import numpy as np
import pytest
import torch

ase = pytest.importorskip("ase", reason="ase is not installed")

from ase import units
from ase.io import read
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.errors import UserError
from flashschnet_lab.interfaces.ase import FlashSchNetCalculator, beads_as_atoms
from flashschnet_lab.system import build_force_field
from tests.interfaces.conftest import TIMESTEP_FS
from tests.interfaces.examples import example

EV = 4184.0 / (6.02214076e23 * 1.602176634e-19)
"""One kcal/mol in eV from the constants that define mole and coulomb; ASE's are those of 2014."""


@pytest.fixture
def atoms(system):
    found = beads_as_atoms(system.protein)
    found.calc = FlashSchNetCalculator(system, plan="reference", device="cpu", dtype="float64")
    return found


def numerical_forces(atoms):
    try:
        from ase.calculators.fd import calculate_numerical_forces
    except ImportError:  # before 3.24
        return atoms.calc.calculate_numerical_forces(atoms, d=1e-4)
    return calculate_numerical_forces(atoms, eps=1e-4)


def test_atoms_are_the_beads(system, tmp_path):
    protein = system.protein
    atoms = beads_as_atoms(protein)
    assert len(atoms) == protein.beads and not atoms.pbc.any()
    np.testing.assert_array_equal(atoms.get_masses(), protein.masses)
    np.testing.assert_array_equal(atoms.positions, protein.positions)
    assert (atoms.get_chemical_symbols()[:5], atoms.get_tags()[5]) == (list("NCCCO"), 1)
    atoms.write(tmp_path / "beads.pdb")
    again = read(tmp_path / "beads.pdb")
    assert list(again.arrays["residuenames"]) == [
        protein.residues[index].name for index in protein.residue_of_bead
    ]


@pytest.mark.parametrize(
    "plan, dtype, tolerance",
    [("reference", "float64", 1e-7), ("flash-float32", "float32", 1e-5), (None, "float32", 2e-5)],
)
def test_energy_and_forces_are_ours_in_electronvolt(system, plan, dtype, tolerance):
    rattled = np.random.default_rng(1).normal(system.protein.positions, 0.1)
    truth = build_force_field([system], dtype=torch.float64)(torch.from_numpy(rattled))
    atoms = beads_as_atoms(system.protein, rattled + 1000.0)
    atoms.calc = FlashSchNetCalculator(system, plan=plan, device="cpu", dtype=dtype)
    forces = EV * truth.forces.numpy()
    error = np.linalg.norm(atoms.get_forces() - forces) / np.linalg.norm(forces)
    assert error < tolerance
    assert atoms.get_potential_energy() == pytest.approx(EV * float(truth.energy), rel=tolerance)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    assert atoms.calc.plan.name == (plan or "exact")


def test_forces_are_the_slope_of_the_energy(atoms):
    atoms.rattle(0.05, seed=1)
    np.testing.assert_allclose(atoms.get_forces(), numerical_forces(atoms), atol=2e-6)


def test_velocity_verlet_moves_as_ours_does_and_keeps_the_energy(atoms, ours):
    atoms.positions[:] = ours.state.positions[0]
    atoms.set_velocities(ours.state.velocities[0].numpy() / (1000.0 * units.fs))  # of A/ps
    dynamics = VelocityVerlet(atoms, timestep=TIMESTEP_FS * units.fs)
    totals, expected = [], []
    for _ in range(10):
        dynamics.run(10)
        ours.run(10)
        totals.append(atoms.get_total_energy() / EV)
        energies = ours.energies()
        expected.append(energies["potential"][0] + energies["kinetic"][0])
    np.testing.assert_allclose(atoms.positions, ours.frame().positions[0], atol=1e-4)
    np.testing.assert_allclose(totals, expected, atol=1e-4)
    kinetic = atoms.get_kinetic_energy() / EV
    assert np.ptp(totals) < 0.05 * kinetic  # velocity Verlet wobbles at 2 fs, and does not drift


def test_langevin_reaches_its_temperature(system):
    atoms = beads_as_atoms(system.protein)
    atoms.calc = FlashSchNetCalculator(system, device="cpu")
    dynamics = Langevin(
        atoms,
        timestep=4 * units.fs,
        temperature_K=300.0,
        friction=0.05 / units.fs,
        rng=np.random.default_rng(3),
    )
    kept, finder = [], None
    dynamics.attach(lambda: kept.append(atoms.get_temperature()), interval=5)
    dynamics.run(100)
    finder = atoms.calc._force_field._finder
    del kept[:]
    dynamics.run(500)
    assert atoms.calc._force_field._finder is finder  # neighbours are kept, nothing is built anew
    assert np.mean(kept) == pytest.approx(300.0, rel=0.1)


def test_another_plan_is_used_and_a_wrong_one_is_not(atoms):
    before = atoms.get_potential_energy()
    atoms.calc.use_plan(KernelPlan(filters="table-exact"))
    tabulated = atoms.get_potential_energy()
    assert tabulated != before and tabulated == pytest.approx(before, rel=1e-6)
    atoms.calc.use_plan("reference")
    for plan in ("no such plan", "flash-fp16"):
        with pytest.raises(UserError):
            atoms.calc.use_plan(plan)
    assert atoms.get_potential_energy() == before


def test_what_is_not_the_protein_is_refused(system, atoms):
    atoms.get_forces()
    wrong = atoms[:-1]
    wrong.calc = atoms.calc
    with pytest.raises(UserError, match=f"{len(wrong)} atoms, but .* has {system.protein.beads}"):
        wrong.get_forces()
    wrong = atoms.copy()
    wrong.calc = atoms.calc
    wrong.numbers[3] = 16
    with pytest.raises(UserError, match="atom 3 has another element than bead A:ALA 1 C"):
        wrong.get_forces()
    wrong = atoms.copy()
    wrong.calc = atoms.calc
    wrong.arrays["bead_types"][2] = 7
    wrong.positions += 1.0
    with pytest.raises(UserError, match="atom 2 is not of the type of bead A:ALA 1 CB"):
        wrong.get_forces()
    wrong = atoms.copy()
    wrong.calc = atoms.calc
    wrong.set_cell([50.0] * 3)
    wrong.pbc = True
    with pytest.raises(UserError, match="pbc = False"):
        wrong.get_forces()
    with pytest.raises(UserError, match="float16 is unknown"):
        FlashSchNetCalculator(system, dtype="float16")


def test_beads_that_flew_apart_stop_a_run(atoms):
    dynamics = VelocityVerlet(atoms, timestep=20.0)  # of 10 fs each
    with pytest.raises(UserError, match=r"2 \* ase.units.fs"):
        dynamics.run(300)


def test_the_example_runs():
    exec(example("ase.md"), {})
