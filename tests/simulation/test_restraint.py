"""Restraints: the formula, every plan, restarts, and what is told apart from the potential."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from flashschnet_kernels.plan import check_usable, parse_plan
from flashschnet_lab.analysis.coordinates import (
    between,
    c_alpha_rmsd,
    end_to_end,
    native_contact_share,
    radius_of_gyration,
)
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_system
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.exchange import Tempering, swap
from flashschnet_lab.simulation.receipt import last_force_error
from flashschnet_lab.simulation.restart import read_checkpoint, restore, save_checkpoint
from flashschnet_lab.simulation.restraint import Restraint, restrain
from flashschnet_lab.system import System

pytestmark = pytest.mark.usefixtures("one_thread")

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(scope="module")
def system() -> System:
    return load_system("chignolin")


def windows(system: System) -> list[Restraint]:
    """One of each sort for two replicas, all away from rest at the start of the protein."""
    protein, native = system.protein, np.asarray(system.reference)
    return [
        restrain(end_to_end(protein), [4.0, 12.0], [1.0, 2.0]),
        restrain(radius_of_gyration(protein), 8.0, [3.0, 4.0]),
        restrain(native_contact_share(protein, native), [0.5, 0.3], 20.0),
        restrain(c_alpha_rmsd(protein, native), [2.0, 3.0], 5.0, slack=0.1),
        restrain(between(protein, 1, 6, 11, 15), [3.0, -3.0], 2.0),
    ]


def test_a_harmonic_and_a_flat_bottom(system: System) -> None:
    x = torch.zeros(4, system.protein.beads, 3, dtype=torch.float64)
    x[:, 7, 0] = torch.tensor([3.0, 4.5, 6.0, 7.5])
    spring = restrain(between(system.protein, 0, 7), 5.0, 2.0, replicas=4)
    np.testing.assert_allclose(spring.energy(x), [4.0, 0.25, 1.0, 6.25])
    flat = restrain(between(system.protein, 0, 7), 5.0, 2.0, slack=1.0, replicas=4)
    np.testing.assert_allclose(flat.energy(x), [1.0, 0.0, 0.0, 2.25])
    own = restrain(between(system.protein, 0, 7), [3.0, 4.0, 5.0, 6.0], [1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(own.energy(x), [0.0, 0.25, 1.5, 4.5])
    np.testing.assert_allclose(own.rows([3, 3, 0, 1]).energy(x), [18.0, 4.5, 4.5, 12.25])
    slope = torch.autograd.functional.jacobian(lambda x: flat.energy(x).sum(), x)
    np.testing.assert_allclose(slope[:, 7, 0], [-2.0, 0.0, 0.0, 3.0])
    np.testing.assert_allclose(slope[:, 0, 0], [2.0, 0.0, 0.0, -3.0])


def test_a_dihedral_goes_the_shorter_way_round(system: System) -> None:
    spring = restrain(between(system.protein, 0, 1, 2, 3), [3.0, -3.0, 3.0], 2.0)
    values = torch.tensor([-3.0, 3.0, 2.5], dtype=torch.float64, requires_grad=True)
    short = 2.0 * math.pi - 6.0
    energy = spring.energy_of(values)
    np.testing.assert_allclose(energy.detach(), [short**2, short**2, 0.25])
    (slope,) = torch.autograd.grad(energy.sum(), values)
    np.testing.assert_allclose(slope, [2.0 * short, -2.0 * short, -1.0])


@pytest.mark.parametrize("name", ["reference", "baseline", "flash-float32", "exact"])
def test_every_plan_adds_the_force_and_not_the_energy(system: System, name: str) -> None:
    plan = parse_plan(name, "cpu")
    try:
        check_usable(plan, torch.device("cpu"))
    except ValueError as error:
        pytest.skip(str(error))
    free = Simulation(system, 2, device="cpu", plan=plan)
    held = Simulation(system, 2, device="cpu", plan=plan, restraints=windows(system))
    torch.testing.assert_close(held.state.energy, free.state.energy)
    x = free.state.positions.double().requires_grad_()
    total = sum(restraint.energy(x) for restraint in windows(system))
    (slope,) = torch.autograd.grad(total.sum(), x)
    assert slope.abs().max() > 1.0
    difference = held.state.forces.double() - free.state.forces.double()
    torch.testing.assert_close(difference, -slope, atol=2e-4, rtol=1e-4)
    np.testing.assert_allclose(held.restraint_energy(), total.detach(), rtol=1e-5)
    np.testing.assert_allclose(held.energies()["restraint"], total.detach(), rtol=1e-5)
    assert "restraint" not in free.energies() and not free.restraint_energy().any()
    held.restrain()
    torch.testing.assert_close(held.state.forces, free.state.forces)
    free.restrain(*windows(system))
    torch.testing.assert_close(free.state.forces - held.state.forces, difference.float())
    assert last_force_error(free) < 1e-5  # of the potential alone


@pytest.mark.parametrize("device", DEVICES)
def test_a_restart_is_exact(system: System, same, tmp_path, device: str) -> None:
    whole, first = (
        Simulation(system, 2, device=device, restraints=windows(system)) for _ in range(2)
    )
    for simulation in (whole, first):
        simulation.restraints[0].centres.add_(0.1)  # in place, as a pull does
    whole.run(40)
    first.run(17)
    save_checkpoint(first, tmp_path / "checkpoint")
    second = restore(tmp_path / "checkpoint", system, device=device)
    second.run(23)
    assert same(whole.state, second.state)
    np.testing.assert_array_equal(whole.restraint_energy(), second.restraint_energy())
    assert [r.to_dict() for r in second.restraints] == [r.to_dict() for r in whole.restraints]
    free = Simulation(system, 2, device=device)
    free.run(40)
    assert not torch.equal(free.state.positions, whole.state.positions)


def test_older_versions_refuse_what_they_cannot_hold(system: System, tmp_path) -> None:
    simulation = Simulation(system, 2, device="cpu")
    save_checkpoint(simulation, tmp_path / "free")
    simulation.restrain(windows(system)[0])
    save_checkpoint(simulation, tmp_path / "held")
    assert read_checkpoint(tmp_path / "free")["format"] == 1
    assert read_checkpoint(tmp_path / "held")["format"] == 2


def test_energy_is_conserved_only_with_the_restraints(chain: System) -> None:
    """Without a thermostat, potential + kinetic + restraint is constant; without the last, not."""
    spring = restrain(end_to_end(chain.protein), 15.0, 4.0)
    simulation = Simulation(
        chain, 1, device="cpu", integrator="verlet", timestep_fs=1.0, dtype="float64",
        restraints=[spring],
    )  # fmt: skip
    totals, held = [], []
    for frame in simulation.iterate(300, every=5):
        totals.append(float(frame.potential_energy[0] + frame.kinetic_energy[0]))
        held.append(float(simulation.restraint_energy()[0]))
    assert np.ptp(held) > 5.0
    assert np.ptp(np.add(totals, held)) < 0.05 * np.ptp(held)


def test_windows_of_one_batch_are_the_simulations_of_each(chain: System) -> None:
    coordinate = end_to_end(chain.protein)
    both = Simulation(chain, 2, device="cpu", restraints=[restrain(coordinate, [6.0, 14.0], 2.0)])
    alone = Simulation(
        chain, 1, device="cpu", first_replica=1, restraints=[restrain(coordinate, 14.0, 2.0)]
    )
    both.run(30)
    alone.run(30)
    torch.testing.assert_close(both.state.positions[1:], alone.state.positions)


def test_trades_count_what_restraints_hold(chain: System) -> None:
    ladder, spring = (300.0, 400.0, 500.0), restrain(end_to_end(chain.protein), [5, 10, 20], 1.0)
    tempering = Tempering(
        Simulation(chain, 3, device="cpu", restraints=[spring], seed=2), ladder, every=5
    )
    for attempt in range(1, 9):
        tempering._move_to(5 * attempt)
        simulation = tempering.simulation
        total = simulation.state.energy.numpy() + simulation.restraint_energy()
        expected = swap(tempering.rungs, total, ladder, attempt, seed=2)
        tempering._trade_if_due()
        np.testing.assert_array_equal(tempering.rungs, expected)
        np.testing.assert_array_equal(tempering.exchanges.energies[-1], simulation.state.energy)


def test_restraints_that_cannot_hold(system: System, chain: System) -> None:
    distance = between(system.protein, 0, 7)
    with pytest.raises(UserError, match="one number or one per replica"):
        restrain(distance, [1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(UserError, match="strength"):
        restrain(distance, 1.0, -1.0)
    with pytest.raises(UserError, match="centre"):
        restrain(distance, float("nan"), 1.0)
    with pytest.raises(UserError, match="half a period"):
        restrain(between(system.protein, 0, 1, 2, 3), 0.0, 1.0, slack=3.2)
    simulation = Simulation(chain, 2, device="cpu")
    with pytest.raises(UserError, match="for 1 replicas"):
        simulation.restrain(restrain(end_to_end(chain.protein), 5.0, 1.0))
    with pytest.raises(UserError, match="beads"):
        simulation.restrain(restrain(distance, 5.0, 1.0, replicas=2))
    assert simulation.restraints == ()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
@pytest.mark.parametrize("name", ["exact", "flash-float32"])
def test_captured_steps_hold_like_launched_ones(system: System, same, name: str) -> None:
    plan = parse_plan(name, "cuda")
    captured, launched = (
        Simulation(system, 2, plan=plan, capture=capture, restraints=windows(system))
        for capture in (True, False)
    )
    for simulation in (captured, launched):
        simulation.run(50)
        simulation.restraints[0].centres.add_(0.5)  # graphs read it from memory
        simulation.run(50)
    assert captured.captures
    assert same(captured.state, launched.state)
