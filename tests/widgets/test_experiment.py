"""A simulation that is changed while it goes on: what stays, what changes, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashschnet_lab.analysis.structure import c_alpha_indices, rmsd
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_sequence, load_system
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.system import System
from flashschnet_lab.widgets.experiment import CHUNK_SECONDS, Experiment

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def system() -> System:
    return load_system("chignolin")


@pytest.fixture
def experiment(system: System) -> Experiment:
    return Experiment(system, replicas=2, plan="reference", device="cpu")


def small(**options: object) -> Experiment:
    """A chain without a network, so that a step takes no time."""
    return Experiment(load_sequence("AGA"), plan="reference", device="cpu", **options)  # type: ignore[arg-type]


def test_chunks_make_the_trajectory_of_one_run(system: System, experiment: Experiment) -> None:
    """Looking on, measuring memory and checking forces change nothing."""
    plain = Simulation(system, 2, device="cpu", plan=experiment.plan)
    plain.run(9)
    for steps in (1, 2, 1, 5):
        experiment.advance(steps)
    experiment.check_forces()
    state = experiment.simulation.state
    assert state.step == 9 and torch.equal(state.positions, plain.state.positions)
    newest = experiment.recording.samples[-1]
    assert newest.time_ps == pytest.approx(9 * 0.004)
    expected = rmsd(plain.state.positions, system.reference, c_alpha_indices(system.protein))
    np.testing.assert_allclose(newest.rmsd, expected, atol=1e-5)
    assert len(experiment.recording.samples) == 5


def test_settings_change_and_the_molecule_stays(experiment: Experiment) -> None:
    experiment.advance(3)
    before = experiment.simulation.state
    experiment.change(temperature=500.0, friction=2.0)
    experiment.change(timestep_fs=2.0)
    after, settings = experiment.simulation.state, experiment.settings
    assert torch.equal(after.positions, before.positions)
    assert torch.equal(after.velocities, before.velocities)
    assert settings.temperatures == (500.0, 500.0)
    assert (settings.friction, settings.timestep_fs) == (2.0, 2.0)
    experiment.advance(5)
    assert experiment.time_ps == pytest.approx(3 * 0.004 + 5 * 0.002)
    assert [text for _, text in experiment.recording.marks] == ["500 K, friction 2", "2 fs"]


def test_heat_arrives() -> None:
    hot = small(replicas=32, temperature=100.0, friction=10.0)
    hot.advance(200)
    hot.change(temperature=600.0)
    hot.advance(200)  # eight times 1 / friction
    spread = 600.0 * np.sqrt(2.0 / (3 * hot.system.protein.beads * 32))
    assert abs(hot.recording.samples[-1].temperature.mean() - 600.0) < 5.0 * spread


def test_replicas_come_as_copies_and_go(experiment: Experiment) -> None:
    experiment.advance(5)
    before = experiment.simulation.state.positions
    experiment.change(replicas=4, copy_of=1)
    grown = experiment.simulation.state.positions
    assert torch.equal(grown[:2], before)
    assert torch.equal(grown[2], before[1]) and torch.equal(grown[3], before[1])
    experiment.advance(5)
    moved = experiment.simulation.state.positions
    assert not torch.equal(moved[2], moved[3])  # each draws its own random numbers
    experiment.change(replicas=1)
    assert torch.equal(experiment.simulation.state.positions, moved[:1])
    experiment.advance(1)
    assert [len(s.rmsd) for s in experiment.recording.samples] == [2, 2, 4, 1]


def test_another_plan_goes_on_from_the_same_state(experiment: Experiment) -> None:
    experiment.advance(2)
    before = experiment.simulation.state.positions
    experiment.use_plan("baseline")
    assert experiment.plan.name == "baseline"
    assert torch.equal(experiment.simulation.state.positions, before)
    assert experiment.steps_per_second == 0.0  # of a plan that has not run yet
    experiment.advance(1)
    experiment.advance(1)
    assert experiment.steps_per_second > 0.0 and experiment.step_bytes > 0


def test_memory_of_a_step_counts_what_a_plan_keeps_per_pair(experiment: Experiment) -> None:
    """The baseline has rows per pair and feature: they alone take more than fused plans do."""
    experiment.use_plan("baseline")
    pairs, width = 49 * 20, experiment.system.model.network.shape.channels  # type: ignore[union-attr]
    assert experiment.measure_memory() > 4 * pairs * width


def test_forces_are_checked_against_float64(experiment: Experiment) -> None:
    check = experiment.check_forces()
    assert 0.0 < check.error < check.limit == 1e-5
    assert check.of == "network" and "within its limit" in str(check)
    chain = small(temperature=600.0)
    chain.advance(100)  # away from the start, where forces are small and errors relatively large
    without = chain.check_forces()
    assert without.error < without.limit and without.of == "all forces"


def test_a_pull_lives_through_changes_until_let_go(experiment: Experiment) -> None:
    experiment.start_pull(46, 1, 25.0)
    experiment.advance(5)
    assert experiment.pull is not None
    moved = experiment.pull.rest_lengths.clone()
    experiment.use_plan("baseline")
    experiment.change(replicas=3, copy_of=0)
    experiment.change(timestep_fs=3.0)
    (held,) = experiment.simulation.restraints
    assert held is experiment.pull.restraint  # the one that `Pull.move` moves
    torch.testing.assert_close(held.centres, moved[[0, 1, 0]])
    experiment.advance(2)
    experiment.let_go()
    assert experiment.pull is None and experiment.simulation.restraints == ()


def test_reset_is_a_new_start_with_the_same_settings(experiment: Experiment) -> None:
    first = experiment.simulation.state
    experiment.advance(4)
    experiment.start_pull(46, 1, 25.0)
    experiment.change(temperature=400.0)
    experiment.reset()
    state = experiment.simulation.state
    assert state.step == 0 and torch.equal(state.positions, first.positions)
    assert experiment.settings.temperatures == (400.0, 400.0) and experiment.pull is None
    assert experiment.time_ps == 0.0 and len(experiment.recording.samples) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1.0}, {"friction": -1.0}, {"timestep_fs": 0.0}, {"replicas": 0}],
)
def test_a_wrong_setting_changes_nothing(wrong: dict[str, float]) -> None:
    experiment = small(replicas=2)
    before, state = experiment.settings, experiment.simulation.state.positions
    with pytest.raises(UserError):
        experiment.change(**wrong)  # type: ignore[arg-type]
    assert experiment.settings == before
    experiment.advance(1)
    assert experiment.simulation.state.positions.shape == state.shape


def test_an_unknown_plan_is_refused(experiment: Experiment) -> None:
    with pytest.raises(UserError, match="nonsense"):
        experiment.use_plan("nonsense")
    assert experiment.plan.name == "reference"


def test_chunks_become_as_long_as_they_should() -> None:
    """With a clock that gives every step 2 ms: chunks grow to what fits, and follow a change."""
    now = [0.0]
    experiment = small(clock=lambda: now[0])
    run, cost = experiment.simulation.run, [0.002]

    def timed(steps: int) -> None:
        run(steps)
        now[0] += cost[0] * steps

    experiment.simulation.run = timed  # type: ignore[method-assign]
    for _ in range(30):
        experiment.advance()
    assert experiment.chunk == round(CHUNK_SECONDS / 0.002)
    assert experiment.steps_per_second == pytest.approx(500.0)
    assert experiment.nanoseconds_per_day == pytest.approx(500 * 4e-6 * 86400)
    cost[0] = 0.02
    for _ in range(60):
        experiment.advance()
    assert experiment.chunk == CHUNK_SECONDS / 0.02
