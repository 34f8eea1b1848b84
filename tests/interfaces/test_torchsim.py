"""torch-sim's own dynamics on our forces, many replicas and several proteins in one state."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest
import torch

if sys.version_info < (3, 11):
    pytest.skip("torch-sim needs Python 3.11", allow_module_level=True)
ts = pytest.importorskip("torch_sim", reason="torch-sim-atomistic is not installed")

from flashschnet_lab.errors import UserError
from flashschnet_lab.interfaces.torchsim import FlashSchNetModel, beads_as_state
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.system import System, build_force_field
from tests.interfaces.conftest import TIMESTEP_FS
from tests.interfaces.examples import example

EV = 4184.0 / (6.02214076e23 * 1.602176634e-19)
"""One kcal/mol in eV from the constants that define mole and coulomb; torch-sim's are of 2014."""
UNITS = ts.units.MetalUnits
PICOSECOND = float(UNITS.time)
KELVIN = float(UNITS.temperature)
BEFORE_0_4 = hasattr(ts, "nve")


def stepper(name: str, model, state, kelvin: float, timestep_fs: float, **more):
    """Return the first state of an integrator and what advances it by a step."""
    dt = torch.tensor(timestep_fs / 1000.0 * PICOSECOND, dtype=model.dtype)
    kT = torch.tensor(kelvin * KELVIN, dtype=model.dtype)
    if BEFORE_0_4:
        first, step = getattr(ts, name)(model, dt=dt, kT=kT, **more)
        return first(state), step
    first, step = getattr(ts, f"{name}_init"), getattr(ts, f"{name}_step")
    return first(state, model, kT=kT), partial(step, model=model, dt=dt, kT=kT, **more)


def kinetic(state):
    """Return the kinetic energy of every system in eV."""
    each = 0.5 * state.momenta.square().sum(1) / state.masses
    return torch.zeros_like(state.energy).index_add(0, state.system_idx, each)


@pytest.fixture(scope="module")
def other(system) -> System:
    """Another protein under the same network and priors."""
    return System(build_chain("WGAK", "extended"), system.model)


@pytest.mark.parametrize(
    "plan, dtype, tolerance",
    [("reference", torch.float64, 1e-7), (None, torch.float32, 2e-5)],
)
def test_a_batch_of_two_proteins_in_any_order(system, other, plan, dtype, tolerance):
    model = FlashSchNetModel([system, other], plan=plan, device="cpu", dtype=dtype)
    systems = [other, system, system, other, system]
    state = beads_as_state([s.protein for s in systems], dtype=dtype)
    noise = torch.from_numpy(np.random.default_rng(2).normal(0, 0.1, state.positions.shape))
    state.positions = state.positions + noise.to(dtype)
    truth = build_force_field(systems, dtype=torch.float64)(state.positions.double())
    found = model(state)
    assert found["energy"].dtype == found["forces"].dtype == dtype
    assert (found["forces"] - EV * truth.forces).norm() < tolerance * EV * truth.forces.norm()
    torch.testing.assert_close(
        found["energy"].double(), EV * truth.energy, rtol=tolerance, atol=0.0
    )
    part = model(state[[1, 3]])  # what an autobatcher does
    torch.testing.assert_close(part["energy"], found["energy"][[1, 3]], rtol=1e-5, atol=1e-6)


def test_nve_moves_as_ours_does_and_keeps_the_energy(system, ours):
    model = FlashSchNetModel(system, plan="reference", device="cpu", dtype="float64")
    state = beads_as_state([system.protein] * 2, dtype=torch.float64)
    state.positions = ours.state.positions.reshape(-1, 3).clone()
    state, step = stepper("nve", model, state, 300.0, TIMESTEP_FS)
    per_time = ours.state.velocities.reshape(-1, 3) / PICOSECOND
    state.momenta = per_time * state.masses[:, None]
    totals, expected = [], []
    for _ in range(100):
        state = step(state)
        totals.append((state.energy + kinetic(state)) / EV)
        ours.run(1)
        energies = ours.energies()
        expected.append(energies["potential"] + energies["kinetic"])
    positions = ours.state.positions.reshape(-1, 3)
    torch.testing.assert_close(state.positions, positions, rtol=0.0, atol=1e-4)
    np.testing.assert_allclose(torch.stack(totals).numpy(), expected, atol=1e-4)
    assert np.ptp(torch.stack(totals).numpy(), 0).max() < 0.05 * float(kinetic(state).min()) / EV


def test_langevin_reaches_its_temperature(system):
    replicas = 8
    model = FlashSchNetModel(system, device="cpu")
    assert model.plan.name == "exact"
    state = beads_as_state([system.protein] * replicas)
    torch.manual_seed(4)
    gamma = torch.tensor(50.0 / PICOSECOND)  # 50 per ps
    state, step = stepper("nvt_langevin", model, state, 300.0, 4.0, gamma=gamma)
    for _ in range(60):
        state = step(state)
    built, sums = model._seen[2], torch.zeros(replicas)
    for _ in range(150):
        state = step(state)
        sums += kinetic(state)
    assert model._seen[2] is built and len(model._force_fields) == 2  # nothing is built anew
    temperature = 2.0 * sums / 150 / (3 * system.protein.beads * KELVIN)
    assert float(temperature.mean()) == pytest.approx(300.0, rel=0.1)


def test_states_of_ase_atoms_are_recognised(system):
    pytest.importorskip("ase", reason="ase is not installed")
    from flashschnet_lab.interfaces.ase import beads_as_atoms

    model = FlashSchNetModel(system, plan="reference", device="cpu")
    own = model(beads_as_state([system.protein] * 2))
    atoms = beads_as_atoms(system.protein)
    made = ts.io.atoms_to_state([atoms, atoms], model.device, model.dtype)
    torch.testing.assert_close(model(made)["energy"], own["energy"], rtol=1e-4, atol=1e-5)


def test_what_cannot_be_moved_is_refused(system, other):
    model = FlashSchNetModel(system, plan="reference", device="cpu")
    with pytest.raises(UserError, match=r"system 1 of the state, of 19 atoms.*29 beads"):
        model(beads_as_state([system.protein, other.protein]))
    with pytest.raises(UserError, match="float64 and the model in torch.float32"):
        model(beads_as_state([system.protein], dtype=torch.float64))
    state = beads_as_state([system.protein])
    state.pbc = True
    with pytest.raises(UserError, match="pbc=False"):
        model(state)
    state = beads_as_state([system.protein])
    state.atomic_numbers = state.atomic_numbers.flip(0)
    with pytest.raises(UserError, match="not a protein of the model"):
        model(state)
    state = beads_as_state([system.protein] * 2)
    state.positions[-1] = float("nan")
    model.use_plan("reference")  # the first call after it looks
    with pytest.raises(UserError, match="system 1 is not finite"):
        model(state)
    mutant = System(build_chain("AGPWYR", "helix"), system.model)
    with pytest.raises(UserError, match="cannot be told apart"):
        FlashSchNetModel([system, mutant])


def test_the_example_runs(capsys):
    exec(example("torchsim"), {})
    assert capsys.readouterr().out.count(",") >= 7  # eight energies
