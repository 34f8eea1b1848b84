"""Fused Langevin steps: the same motion, guards, restarts and frames as the reference's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from flashschnet_kernels.plan import REFERENCE, KernelPlan, parse_plan
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_system
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.frames import HostCopies
from flashschnet_lab.simulation.fused_step import FusedStep
from flashschnet_lab.simulation.guards import SimulationStopped
from flashschnet_lab.simulation.restart import restore, save_checkpoint
from flashschnet_lab.simulation.state import FIELDS, Dynamics, State, kinetic_energy
from flashschnet_lab.system import System
from flashschnet_lab.units import BOLTZMANN, KCAL_PER_MOL

pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
"""Places without a term divide zero by zero in Triton's interpreter, and are left out."""

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
IMPLEMENTATIONS = ("triton", "cpu")


@pytest.fixture(params=IMPLEMENTATIONS)
def plan(request) -> KernelPlan:
    """A plan that fuses priors and steps, on the device that the machine has."""
    if request.param == "cpu" and DEVICE == "cuda":
        pytest.skip("for a machine without a GPU")
    pytest.importorskip({"triton": "triton", "cpu": "numba"}[request.param])
    if request.param == "triton" and DEVICE == "cpu" and not os.environ.get("TRITON_INTERPRET"):
        pytest.skip("needs a GPU, or Triton's interpreter")
    return replace(REFERENCE, langevin=request.param, priors=request.param)


@pytest.fixture(scope="module")
def alone() -> System:
    """Chignolin with its priors alone."""
    system = load_system("chignolin")
    return replace(system, model=replace(system.model, network=None))


def start(system: System, plan: KernelPlan, replicas: int = 2, **settings) -> Simulation:
    return Simulation(system, replicas, device=DEVICE, plan=plan, **{"seed": 4} | settings)


def test_twenty_steps_are_those_of_the_reference(alone, plan):
    fused, reference = start(alone, plan), start(alone, REFERENCE)
    for simulation in (fused, reference):
        simulation.run(20)
    for name, close in (("positions", 2e-5), ("velocities", 2e-3), ("forces", 2e-2)):
        found, expected = getattr(fused.state, name), getattr(reference.state, name)
        torch.testing.assert_close(found, expected, rtol=0, atol=close)
    torch.testing.assert_close(fused.state.energy, reference.state.energy, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(fused.state.kinetic, reference.state.kinetic, rtol=1e-4, atol=1e-3)
    assert fused.state.step == 20


@pytest.mark.parametrize("trouble", [1e5, float("nan")])
def test_guards_are_those_of_the_reference(chain, plan, trouble):
    found = []
    for each in (plan, REFERENCE):
        simulation = start(chain, each, keep_going=True)
        simulation.run(2)
        simulation.state.velocities[1, 7, 2] = trouble
        stays = simulation.state.positions[1].clone()
        simulation.run(5)
        assert torch.equal(simulation.state.positions[1], stays)
        assert not torch.equal(simulation.state.positions[0], stays)
        assert simulation.state.step == 7
        found.append(simulation.failures())
    assert found[0] == found[1]
    assert (found[0][0].replica, found[0][0].step, found[0][0].bead) == (1, 3, 7)


def test_a_failure_is_an_error_that_names_it(chain, plan):
    simulation = start(chain, plan)
    simulation.state.velocities[0, 3] = torch.inf
    with pytest.raises(SimulationStopped, match="replica 0 left physics at step 1: bead 3"):
        simulation.run(5)


def test_a_restart_goes_on_to_the_bit(chain, plan, same, tmp_path):
    whole, first = (start(chain, plan, temperature=[280.0, 320.0]) for _ in range(2))
    steps = 100 if plan.langevin == "cpu" or DEVICE == "cuda" else 4
    whole.run(2 * steps)
    first.run(steps)
    save_checkpoint(first, tmp_path / "c")
    second = restore(tmp_path / "c", chain, plan=plan, device=DEVICE)
    second.run(steps)
    assert same(whole.state, second.state)


def test_a_replica_moves_alike_alone_and_in_a_batch(chain, plan):
    batch = start(chain, plan, replicas=3, first_replica=5)
    one = start(chain, plan, replicas=1, first_replica=7)
    fields = {name: getattr(batch.state, name)[[2]].clone() for name in FIELDS}
    one.state = State(step=0, **fields)  # the reference's first forces may differ in a last bit
    for simulation in (batch, one):
        simulation.run(4)
    assert torch.equal(batch.state.positions[2], one.state.positions[0])


def test_plans_change_while_it_runs(chain, plan):
    changed, steady = start(chain, REFERENCE), start(chain, REFERENCE)
    for each in (plan, REFERENCE, replace(plan, priors="reference"), parse_plan("baseline"), plan):
        changed.use_plan(each)
        changed.run(3)
    steady.run(15)
    assert changed.state.step == 15
    torch.testing.assert_close(changed.state.positions, steady.state.positions, rtol=0, atol=2e-5)


def test_other_integrators_are_those_of_the_reference(chain, plan):
    fused, reference = (start(chain, p, integrator="verlet") for p in (plan, REFERENCE))
    for simulation in (fused, reference):
        simulation.run(5)
    torch.testing.assert_close(fused.state.positions, reference.state.positions, rtol=0, atol=1e-5)


def test_float64_on_a_cpu_is_as_exact_as_the_reference(chain):
    pytest.importorskip("numba")
    fused = Simulation(
        chain, device="cpu", plan=replace(REFERENCE, langevin="cpu", priors="cpu"), dtype="float64"
    )
    reference = Simulation(chain, device="cpu", plan=REFERENCE, dtype="float64")
    for simulation in (fused, reference):
        simulation.run(20)
    torch.testing.assert_close(fused.state.positions, reference.state.positions, rtol=0, atol=1e-12)


def test_triton_refuses_float64(chain):
    pytest.importorskip("triton")
    with pytest.raises(UserError, match="langevin=triton works in float32"):
        start(chain, replace(REFERENCE, langevin="triton"), dtype="float64")


@pytest.fixture(scope="module")
def well() -> Iterator[tuple[State, Dynamics, float]]:
    """Beads in harmonic wells, each replica as warm as it should become."""
    replicas, beads, temperature, stiffness = 32, 40, 300.0, 5.0
    generator = torch.Generator().manual_seed(1)
    inverse_mass = torch.full((beads, 1), KCAL_PER_MOL / 14.0)
    kT = BOLTZMANN * temperature  # noqa: N806
    shape = (replicas, beads, 3)
    x = torch.randn(shape, generator=generator) * (kT / stiffness) ** 0.5
    v = torch.randn(shape, generator=generator) * (kT * inverse_mass) ** 0.5
    never = torch.full((replicas,), -1)
    energy = 0.5 * stiffness * x.double().square().sum((1, 2))
    kinetic = kinetic_energy(v, inverse_mass)
    state = State(0, x, v, -stiffness * x, energy, kinetic, never, never.clone())
    dynamics = Dynamics(
        evaluate=None,  # type: ignore[arg-type]
        noise=None,  # type: ignore[arg-type]
        inverse_mass=inverse_mass,
        kT=torch.full((replicas, 1, 1), kT),
        timestep=0.01,
        friction=5.0,
        move_limit=1.0,
    )
    yield state, dynamics, stiffness


@pytest.mark.parametrize("implementation", ["reference", "cpu"])
def test_temperature_and_spread_in_a_well(well, implementation):
    if implementation == "cpu":
        pytest.importorskip("numba")
    state, dynamics, stiffness = well

    def gradient(x):
        flat = x.view(-1, 3)
        return 0.5 * stiffness * flat.square().sum(1), stiffness * flat

    streams = torch.arange(len(state.energy))
    steps = FusedStep(gradient, dynamics, 3, streams, implementation, state, capture=False)
    kinetic, potential = [], []
    for _ in range(60):
        state = steps.run(state, 5, lambda: False)
        kinetic.append(state.kinetic)
        potential.append(state.energy)
    half_kT = 0.5 * float(dynamics.kT[0]) * 3 * 40  # noqa: N806
    # A replica's mean has a relative error of sqrt(2 / 120), times that of samples that remember.
    error = 5.0 * np.sqrt(2.0 / (120 * 32 * 60 / 10))
    assert float(torch.stack(kinetic).mean()) == pytest.approx(half_kT, rel=error)
    assert float(torch.stack(potential).mean()) == pytest.approx(half_kT, rel=error)


class Watcher:
    """A reporter that keeps what it sees."""

    def __init__(self, simulation: Simulation, stop_at: int = -1) -> None:
        self.simulation, self.stop_at = simulation, stop_at
        self.frames, self.seen = [], []

    def __call__(self, frame) -> None:
        self.frames.append(frame)
        self.seen.append(self.simulation.state)
        if frame.step == self.stop_at:
            self.simulation.stop()


def watched(chain, run_ahead: int, stop_at: int = -1, trouble: bool = False):
    simulation = Simulation(chain, 2, device=DEVICE, plan=REFERENCE, seed=4, report_every=30)
    simulation._run_ahead = run_ahead
    watcher = Watcher(simulation, stop_at)
    simulation.reporters.append(watcher)
    if trouble:
        simulation.run(130)
        simulation.state.velocities[1, 2] = torch.inf
        with pytest.raises(SimulationStopped, match="step 131"):
            simulation.run(170)
    else:
        simulation.run(250)
    return simulation, watcher


@pytest.mark.parametrize(("stop_at", "trouble"), [(-1, False), (120, False), (-1, True)])
def test_running_ahead_changes_nothing_that_is_seen(chain, same, stop_at, trouble):
    (plain, slow), (ahead, fast) = (watched(chain, n, stop_at, trouble) for n in (0, 1))
    assert same(plain.state, ahead.state)
    assert [f.step for f in slow.frames] == [f.step for f in fast.frames]
    for one, other in zip(slow.frames, fast.frames, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.potential_energy, other.potential_energy)
        np.testing.assert_array_equal(one.temperature, other.temperature)
    # A reporter that saves a checkpoint saves that of its frame.
    assert [s.step for s in fast.seen] == [f.step for f in fast.frames]
    expected = [0, 30, 60, 90, 120, 150, 180, 210, 240]
    steps = [f.step for f in fast.frames]
    if trouble:
        assert ahead.state.step == 150
    elif stop_at > 0:
        assert steps == expected[:5]
        assert ahead.state.step == 120
    else:
        assert steps == expected
        assert ahead.state.step == 250


def test_a_reporter_may_put_the_replicas_elsewhere(chain):
    simulation = Simulation(chain, device=DEVICE, plan=REFERENCE, report_every=10)
    simulation._run_ahead = 1
    moved = []

    def shift(frame) -> None:
        if frame.step == 20:
            state = simulation.state
            simulation.state = replace(state, positions=state.positions + 100.0)
        moved.append(float(frame.positions.mean()))

    simulation.reporters.append(shift)
    simulation.run(40)
    assert len(moved) == 5
    assert abs(moved[2]) < 50 < moved[3]


@pytest.mark.parametrize("due", [False, True])
def test_what_steps_had_no_room_for_travels_with_their_state(chain, due):
    simulation = Simulation(chain, device=DEVICE, plan=REFERENCE)
    copies = HostCopies(simulation.device)
    for needed in (0, 37):  # of the last two copies the host may read
        short = torch.tensor([needed], dtype=torch.int32, device=DEVICE)
        copy = copies.start(simulation.state, due, short)
        assert copy.shortage() == needed
        assert copy.wait().step == simulation.state.step
    assert copies.start(simulation.state, due).shortage() == 0


def test_a_frame_is_a_copy(chain):
    simulation = Simulation(chain, device=DEVICE, plan=REFERENCE)
    frame = simulation.frame()
    before = frame.positions.copy(), frame.kinetic_energy.copy()
    simulation.state.positions.add_(1.0)
    simulation.state.kinetic.zero_()
    np.testing.assert_array_equal(frame.positions, before[0])
    np.testing.assert_array_equal(frame.kinetic_energy, before[1])


@pytest.mark.skipif(DEVICE == "cpu", reason="CUDA graphs need a GPU")
def test_captured_steps_are_the_same_to_the_bit(alone, plan):
    captured, launched = (start(alone, plan, capture=capture) for capture in (True, False))
    assert captured.captures
    for simulation in (captured, launched):
        simulation.run(47)
        simulation.run(3)
    for name in FIELDS:
        assert torch.equal(getattr(captured.state, name), getattr(launched.state, name)), name
