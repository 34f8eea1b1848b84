"""Temperature and friction of a simulation that runs: the same as if they had always been so."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flashschnet_kernels.plan import REFERENCE, flash, parse_plan
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_system
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.restart import restore, save_checkpoint
from flashschnet_lab.simulation.state import FIELDS

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")


def equal(a: Simulation, b: Simulation) -> bool:
    return all(torch.equal(getattr(a.state, n), getattr(b.state, n)) for n in FIELDS)


@pytest.fixture(params=["reference", "fused"])
def plan(request):
    if request.param == "reference":
        return REFERENCE
    pytest.importorskip("numba")
    return replace(REFERENCE, langevin="cpu", priors="cpu")


@pytest.mark.parametrize("new", [{"temperature": [500.0, 250.0]}, {"friction": 20.0}])
def test_going_on_is_starting_there(chain, plan, new):
    changed = Simulation(chain, 2, 300.0, device="cpu", plan=plan, seed=3)
    changed.run(20)
    changed.change(**new)
    changed.run(20)

    before = Simulation(chain, 2, 300.0, device="cpu", plan=plan, seed=3)
    before.run(20)
    after = Simulation(
        chain,
        2,
        new.get("temperature", 300.0),
        friction=new.get("friction", 1.0),
        device="cpu",
        plan=plan,
        seed=3,
        state=before.state,
    )
    after.run(20)
    assert equal(changed, after)
    assert changed.settings == after.settings
    before.run(20)
    assert not torch.equal(changed.state.positions, before.state.positions)


def test_one_number_is_for_all_and_nothing_changes_nothing(chain, plan):
    changed, plain = (Simulation(chain, 2, device="cpu", plan=plan) for _ in range(2))
    changed.change(temperature=400.0)
    assert changed.settings.temperatures == (400.0, 400.0)
    changed.change(temperature=300.0, friction=1.0)
    changed.change()
    for simulation in (changed, plain):
        simulation.run(10)
    assert equal(changed, plain)


def test_the_thermostat_follows(chain):
    simulation = Simulation(chain, 16, 300.0, device="cpu", friction=20.0, timestep_fs=2.0)
    simulation.run(100)
    simulation.change(temperature=600.0)
    simulation.run(400)
    kept = [frame.temperature.mean() for frame in simulation.iterate(400, every=20)]
    # 16 x 3 x 29 degrees of freedom: one standard error of one frame is 4 %, of the mean 1 to 2 %.
    assert sum(kept) / len(kept) == pytest.approx(600.0, rel=0.06)


def test_a_checkpoint_has_the_new_values(chain, tmp_path):
    whole = Simulation(chain, 2, device="cpu", seed=5)
    whole.change(temperature=[310.0, 450.0], friction=2.0)
    whole.run(10)
    save_checkpoint(whole, tmp_path / "c")
    again = restore(tmp_path / "c", chain, device="cpu")
    assert again.settings == whole.settings
    for simulation in (whole, again):
        simulation.run(10)
    assert equal(whole, again)


def test_a_reporter_may_change_it(chain):
    """Frames 10 apart: a change at step 10 acts from step 11 on."""
    reported = Simulation(chain, device="cpu", report_every=10, seed=2)
    reported.reporters.append(
        lambda frame: reported.change(temperature=500.0) if frame.step == 10 else None
    )
    reported.run(30)
    by_hand = Simulation(chain, device="cpu", seed=2)
    by_hand.run(10)
    by_hand.change(temperature=500.0)
    by_hand.run(20)
    assert equal(reported, by_hand)


@pytest.mark.parametrize(
    ("new", "word"),
    [
        ({"temperature": -1.0}, "kelvin"),
        ({"temperature": [300.0]}, "give one each"),
        ({"friction": -2.0}, "friction"),
    ],
)
def test_what_cannot_work_changes_nothing(chain, new, word):
    simulation = Simulation(chain, 2, device="cpu")
    settings, energies = simulation.settings, simulation.dynamics.kT.clone()
    with pytest.raises(UserError, match=word):
        simulation.change(**new)
    assert simulation.settings == settings
    assert torch.equal(simulation.dynamics.kT, energies)


def test_constant_energy_has_no_temperature(chain):
    simulation = Simulation(chain, device="cpu", integrator="verlet")
    with pytest.raises(UserError, match="verlet"):
        simulation.change(temperature=400.0)


def test_overdamped_beads_may_move_farther_when_hot(chain):
    simulation = Simulation(
        chain, device="cpu", integrator="brownian", friction=50.0, timestep_fs=4.0, speed_limit=1.0
    )
    limit = simulation.dynamics.move_limit
    simulation.change(temperature=1200.0)
    assert simulation.dynamics.move_limit == pytest.approx(2.0 * limit)


@needs_gpu
@pytest.mark.parametrize("name", ["exact", "flash-float32"])
def test_captured_steps_read_the_new_temperature(name):
    """The graphs of the steps before the change go on, and are the steps launched one by one."""
    system = load_system("chignolin")
    plan = parse_plan(name, "cuda") if name == "exact" else flash("cuda")
    captured, launched = (
        Simulation(system, 3, plan=plan, capture=capture, seed=2) for capture in (True, False)
    )
    for simulation in (captured, launched):
        simulation.run(70)
        stepper = simulation._stepper
        simulation.change(temperature=[280.0, 400.0, 650.0])
        simulation.run(73)
        assert simulation._stepper is stepper, "captured anew"
        simulation.change(friction=5.0)
        simulation.run(25)
    assert captured.captures
    assert equal(captured, launched)


@needs_gpu
def test_steps_made_ahead_are_dropped():
    system = load_system("chignolin")
    reported = Simulation(system, 2, report_every=20, seed=2)
    reported.reporters.append(
        lambda frame: reported.change(temperature=500.0) if frame.step == 40 else None
    )
    reported.run(100)
    by_hand = Simulation(system, 2, seed=2)
    by_hand.run(40)
    by_hand.change(temperature=500.0)
    by_hand.run(60)
    assert equal(reported, by_hand)
