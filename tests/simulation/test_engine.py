"""The loop: stepping, frames, replicas, seeds, bad settings."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from flashschnet_kernels.plan import parse_plan
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_system
from flashschnet_lab.simulation import engine
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.room import watched
from flashschnet_lab.simulation.settings import Settings


def test_three_lines(chain):
    simulation = Simulation(chain, replicas=2, device="cpu")
    simulation.run(10)
    assert simulation.state.step == 10
    assert simulation.time_ps == pytest.approx(0.04)
    assert simulation.state.positions.shape == (2, chain.protein.beads, 3)


def test_runs_add_up_to_the_bit(tiny, same):
    whole, halves = (Simulation(tiny, 2, device="cpu", seed=3) for _ in range(2))
    whole.run(30)
    halves.run(7)
    halves.run(23)
    assert same(whole.state, halves.state)


def test_reporters_see_the_start_and_every_interval(chain):
    frames = []
    simulation = Simulation(chain, 2, device="cpu", reporters=[frames.append], report_every=5)
    simulation.run(12)
    simulation.run(3)
    assert [f.step for f in frames] == [0, 5, 10, 15]
    assert frames[1].positions.dtype == np.float32
    assert frames[1].potential_energy.shape == (2,)


def test_iterate_yields_frames_and_can_be_stopped(chain):
    simulation = Simulation(chain, device="cpu")
    seen = []
    for frame in simulation.iterate(1000, every=10):
        seen.append(frame.step)
        if len(seen) == 3:
            simulation.stop()
    assert seen == [10, 20, 30]


def test_stop_from_another_thread(chain):
    simulation = Simulation(chain, device="cpu")
    stopper = threading.Thread(target=simulation.stop)

    def start_stopper(frame):
        if frame.step and stopper.ident is None:
            stopper.start()

    simulation.reporters.append(start_stopper)
    simulation.run(10**9)
    assert 0 < simulation.state.step < 10**9


@pytest.mark.parametrize("integrator", ["langevin", "verlet"])  # fused steps, and the definition
@pytest.mark.parametrize("way", ["run", "iterate"])
def test_a_stop_just_before_a_step_gives_no_frame_twice(chain, monkeypatch, integrator, way):
    simulation = Simulation(chain, 2, device="cpu", report_every=5, integrator=integrator)

    def stopped_at_15(force_field, state, advance):
        if state.step == 15:
            simulation.stop()
        return watched(force_field, state, advance)

    monkeypatch.setattr(engine, "watched", stopped_at_15)
    frames = []
    if way == "run":
        simulation.reporters.append(frames.append)
        simulation.run(1000)
    else:
        frames += [simulation.frame(), *simulation.iterate(1000, every=5)]
    assert [f.step for f in frames] == [0, 5, 10, 15]


def test_one_seed_repeats_and_two_differ(tiny, same):
    a, b, c = (Simulation(tiny, device="cpu", seed=s) for s in (1, 1, 2))
    for simulation in (a, b, c):
        simulation.run(5)
    assert same(a.state, b.state)
    assert not torch.equal(a.state.positions, c.state.positions)


def test_a_replica_alone_is_the_replica_in_a_batch(tiny):
    batch = Simulation(tiny, 64, device="cpu", seed=5, dtype="float64")
    alone = Simulation(tiny, 1, device="cpu", seed=5, dtype="float64", first_replica=37)
    batch.run(20)
    alone.run(20)
    torch.testing.assert_close(
        batch.state.positions[37], alone.state.positions[0], rtol=0, atol=1e-10
    )


def test_every_replica_has_its_temperature(chain, ramp):
    simulation = Simulation(chain, 3, ramp.tolist(), device="cpu")
    assert simulation.settings.temperatures == tuple(ramp)
    assert simulation.dynamics.kT.flatten().diff().min() > 0


@pytest.mark.parametrize("integrator", ["langevin", "verlet", "brownian"])
def test_integrators_run(chain, integrator):
    settings = {"friction": 50.0, "timestep_fs": 0.5} if integrator == "brownian" else {}
    simulation = Simulation(chain, 2, device="cpu", integrator=integrator, **settings)
    simulation.run(20)
    assert torch.isfinite(simulation.state.positions).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"timestep_fs": 4000.0}, "femtoseconds"),
        ({"timestep_fs": 0.0}, "femtoseconds"),
        ({"integrator": "leapfrog"}, "langevin, verlet, brownian"),
        ({"dtype": "float16"}, "float32, float64"),
        ({"friction": -1.0}, "friction"),
        ({"integrator": "brownian", "friction": 0.0}, "friction"),
        ({"seed": -1}, "seed"),
        ({"first_replica": -1}, "first_replica"),
        ({"temperatures": (-3.0,)}, "kelvin"),
        ({"temperatures": ()}, "at least one replica"),
    ],
)
def test_settings_that_cannot_work(settings, words):
    with pytest.raises(UserError, match=words):
        Settings(**{"temperatures": (300.0,), **settings})


def test_arguments_that_cannot_work(chain):
    with pytest.raises(UserError, match="2 temperatures for 3 replicas"):
        Simulation(chain, 3, [300.0, 310.0], device="cpu")
    with pytest.raises(UserError, match="shape"):
        Simulation(chain, 2, device="cpu", positions=np.zeros((5, 3)))
    with pytest.raises(UserError, match="0 replicas"):
        Simulation(chain, 0, device="cpu")


def test_minimise_goes_downhill(tiny):
    start = tiny.protein.positions + np.random.default_rng(0).normal(
        0, 0.1, tiny.protein.positions.shape
    )
    simulation = Simulation(tiny, device="cpu", positions=start)
    before = simulation.state.energy.item()
    simulation.minimise()
    assert simulation.state.energy.item() < before
    assert simulation.state.forces.norm(dim=-1).max() < 100


def test_the_plan_can_change_while_it_runs():
    system = load_system("chignolin")
    changed, steady = (Simulation(system, 2, device="cpu", seed=4) for _ in range(2))
    for name in ("baseline", "radial_basis,aggregation", "flash-float32", "reference"):
        changed.use_plan(parse_plan(name, "cpu"))
        assert changed.plan.name == name
        changed.run(2)
    steady.run(8)
    difference = (changed.state.positions - steady.state.positions).abs().max()
    assert changed.state.step == steady.state.step
    assert float(difference) < 1e-3


def test_a_plan_may_be_named():
    simulation = Simulation(load_system("chignolin"), device="cpu", plan="flash-float32")
    assert simulation.plan == parse_plan("flash-float32", "cpu")
    simulation.use_plan("reference")
    assert simulation.plan == parse_plan("reference", "cpu")
    with pytest.raises(UserError, match="quick"):
        simulation.use_plan("quick")
    assert simulation.plan.name == "reference"


def test_a_plan_that_cannot_run_here_leaves_the_old_one():
    simulation = Simulation(load_system("chignolin"), device="cpu", dtype="float64")
    before = simulation.plan
    with pytest.raises(UserError, match="float32 runs"):
        simulation.use_plan(parse_plan("quantization", "cpu"))
    assert simulation.plan == before
    simulation.run(1)
