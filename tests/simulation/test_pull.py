"""A pull is a spring between two beads: its force is the gradient, and it is gone when let go."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashschnet_kernels.plan import check_usable, parse_plan
from flashschnet_lab.analysis.coordinates import between
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_sequence, load_system, structure_based_model
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.pull import SPRING, Pull, let_go, pull
from flashschnet_lab.simulation.restraint import restrain
from flashschnet_lab.system import System

pytestmark = pytest.mark.usefixtures("one_thread")

BEAD, OTHER = 46, 1


@pytest.fixture(scope="module")
def system() -> System:
    return load_system("chignolin")


def spring_forces(positions: torch.Tensor, made: Pull) -> torch.Tensor:
    """Return what two beads feel of U = k/2 (r - d)^2, from the textbook."""
    x = positions.double()
    apart = x[:, BEAD] - x[:, OTHER]
    r = apart.norm(dim=-1, keepdim=True)
    on_bead = -SPRING * (r - made.rest_lengths[:, None]) * apart / r
    forces = torch.zeros_like(x)
    forces[:, BEAD], forces[:, OTHER] = on_bead, -on_bead
    return forces


@pytest.mark.parametrize("name", ["reference", "baseline", "flash-float32", "exact"])
def test_every_plan_adds_the_spring(system: System, name: str) -> None:
    plan = parse_plan(name, "cpu")
    try:
        check_usable(plan, torch.device("cpu"))
    except ValueError as error:
        pytest.skip(str(error))
    simulation = Simulation(system, 2, device="cpu", plan=plan)
    free = simulation.state
    made = pull(simulation, BEAD, OTHER, goal=30.0)
    torch.testing.assert_close(simulation.state.energy, free.energy)  # it starts at rest
    made.move(1.0)
    pulled = simulation.force_field(free.positions)
    expected = spring_forces(free.positions, made)
    assert expected.abs().max() > 1.0
    difference = pulled.forces.double() - free.forces.double()
    torch.testing.assert_close(difference, expected, atol=2e-4, rtol=1e-4)
    stretch = made.lengths(free.positions) - made.rest_lengths
    held = torch.from_numpy(simulation.restraint_energy())
    torch.testing.assert_close(held, stretch**2, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(pulled.energy, free.energy)  # the spring's energy is told apart
    let_go(simulation)
    torch.testing.assert_close(simulation.state.forces, free.forces)
    torch.testing.assert_close(simulation.state.energy, free.energy)


def test_the_force_is_the_gradient_in_float64() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 4, 3)) * 3.0)
    chain = load_sequence("G").protein
    made = restrain(between(chain, 0, 3), torch.tensor([1.0, 2.0]), 1.7)
    assert torch.autograd.gradcheck(made.energy, x.clone().requires_grad_())


def test_contacts_and_other_restraints_stay_while_it_pulls(system: System) -> None:
    native = system.protein.with_positions(np.asarray(system.reference))
    taught = System(native, structure_based_model(native))
    simulation = Simulation(taught, 1, device="cpu", plan=parse_plan("reference", "cpu"))
    before = simulation.force_field.contacts
    simulation.restrain(restrain(between(native, 0, 9), 5.0, 1.0))
    pull(simulation, BEAD, OTHER, goal=20.0)
    again = pull(simulation, BEAD, OTHER, goal=25.0)  # ends the earlier one
    assert simulation.force_field.contacts is before
    assert [r.coordinate.name for r in simulation.restraints] == ["distance 0-9", "pull"]
    simulation.use_plan(parse_plan("baseline", "cpu"))
    assert simulation.restraints[1] is again.restraint  # a new plan keeps pulling
    again.move(1.0)
    pulled = simulation._evaluate(simulation.state.positions)[1]
    let_go(simulation)
    assert not torch.equal(pulled, simulation.state.forces)
    assert [r.coordinate.name for r in simulation.restraints] == ["distance 0-9"]
    assert simulation.force_field.contacts is not None


def test_the_rest_length_moves_at_its_speed_and_stops_at_the_goal() -> None:
    spring = restrain(between(load_sequence("G").protein, 0, 3), torch.tensor([10.0, 31.0]), 2.0)
    made = Pull(spring, goal=30.0, speed=4.0)
    made.move(0.5)
    torch.testing.assert_close(made.rest_lengths, torch.tensor([12.0, 30.0]).double())
    made.move(100.0)
    torch.testing.assert_close(made.rest_lengths, torch.tensor([30.0, 30.0]).double())


def test_the_chain_follows() -> None:
    """A strong spring brings the ends of a helix where it wants them."""
    chain = load_sequence("AGWKLA", shape="helix")
    simulation = Simulation(chain, 1, device="cpu", plan=parse_plan("reference", "cpu"))
    last = chain.protein.beads - 4
    made = pull(simulation, last, 1, goal=14.0, speed=10.0, spring=10.0)
    start = float(made.lengths(simulation.state.positions))
    for _ in range(40):
        simulation.run(10)
        made.move(10 * simulation.settings.timestep_ps)
    end = float(made.lengths(simulation.state.positions))
    assert start < 10.0 and end == pytest.approx(14.0, abs=1.5)


@pytest.mark.parametrize(
    ("bead", "other", "goal"), [(3, 3, 10.0), (0, 99, 10.0), (-1, 0, 10.0), (0, 3, -5.0)]
)
def test_nonsense_is_refused(system: System, bead: int, other: int, goal: float) -> None:
    simulation = Simulation(system, 1, device="cpu", plan=parse_plan("reference", "cpu"))
    with pytest.raises(UserError, match="a pull"):
        pull(simulation, bead, other, goal)
    assert simulation.restraints == ()
