"""Parallel tempering: who trades, what a trade does to a replica, restarts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_system
from flashschnet_lab.simulation import engine
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.exchange import (
    CHECKPOINT,
    RECORD,
    Tempering,
    restore_tempering,
    save_tempering,
    swap,
)
from flashschnet_lab.simulation.exchange_record import acceptance
from flashschnet_lab.simulation.room import watched
from flashschnet_lab.units import BOLTZMANN

LADDER = (300.0, 340.0, 385.0)
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def start(system, replicas: int = 6, every: int = 10, seed: int = 1, **settings) -> Tempering:
    device = settings.pop("device", "cpu")
    simulation = Simulation(system, replicas, 300.0, device=device, seed=seed, **settings)
    return Tempering(simulation, LADDER, every)


def test_a_cold_replica_with_more_energy_always_trades():
    ladder = (300.0, 400.0, 500.0, 600.0)
    falling = np.array([4.0, 3.0, 2.0, 1.0])
    rungs = np.arange(4)
    assert swap(rungs, falling, ladder, 0, seed=1).tolist() == [1, 0, 3, 2]
    assert swap(rungs, falling, ladder, 1, seed=1).tolist() == [0, 2, 1, 3]
    rising = 1e4 * np.arange(4.0)
    assert swap(rungs, rising, ladder, 0, seed=1).tolist() == [0, 1, 2, 3]


def test_two_rungs_trade_every_second_time():
    after = [swap(np.array([1, 0]), np.zeros(2), (300.0, 400.0), n, seed=1) for n in (0, 1, 2)]
    assert [a.tolist() for a in after] == [[0, 1], [1, 0], [0, 1]]


def test_the_rule_is_that_of_metropolis():
    """The chance of an unlikely trade, over many seeds."""
    cold, hot = 300.0, 400.0
    difference = 1.0 / (1.0 / (BOLTZMANN * cold) - 1.0 / (BOLTZMANN * hot))  # exponent -1
    energies = np.tile([0.0, difference], 20_000)
    after = swap(np.tile([0, 1], 20_000), energies, (cold, hot), 0, seed=5)
    assert after[::2].mean() == pytest.approx(np.exp(-1.0), abs=0.012)  # 3.5 standard errors


def test_ladders_do_not_mix_and_a_stopped_replica_keeps_its_rung():
    rungs, energies = np.array([2, 0, 1, 0, 1, 2]), np.zeros(6)
    after = swap(rungs, energies, LADDER, 0, seed=1)
    assert after.tolist() == [2, 1, 0, 1, 0, 2]
    alive = np.array([True, False, True, True, True, True])
    assert swap(rungs, energies, LADDER, 0, 1, alive).tolist() == [2, 0, 1, 1, 0, 2]
    energies[1] = np.nan
    assert swap(rungs, energies, LADDER, 0, seed=1).tolist() == [2, 0, 1, 1, 0, 2]


def test_an_attempt_is_a_function_of_seed_and_number():
    energies = np.random.default_rng(0).normal(size=3000)
    rungs = np.tile(np.arange(3), 1000)
    first = swap(rungs, energies, LADDER, 4, seed=1)
    assert np.array_equal(first, swap(rungs, energies, LADDER, 4, seed=1))
    assert not np.array_equal(first, swap(rungs, energies, LADDER, 4, seed=2))
    assert not np.array_equal(first, swap(rungs, energies, LADDER, 6, seed=1))
    assert np.array_equal(first[:30], swap(rungs[:30], energies[:30], LADDER, 4, seed=1))


def test_a_trade_scales_velocities_and_nothing_else(chain):
    tempering = start(chain)
    simulation = tempering.simulation
    tempering._move_to(10)
    before, cold = simulation.state, np.array(simulation.settings.temperatures)
    tempering._trade_if_due()
    after, hot = simulation.state, np.array(simulation.settings.temperatures)
    assert (cold != hot).any(), "nobody traded; the test needs another seed"
    for name in ("positions", "forces", "energy", "failed_step"):
        assert torch.equal(getattr(before, name), getattr(after, name))
    ratio = torch.from_numpy(hot / cold)
    torch.testing.assert_close(after.kinetic, ratio * before.kinetic)
    scaled = ratio.sqrt()[:, None, None] * before.velocities
    torch.testing.assert_close(after.velocities, scaled.float())
    np.testing.assert_allclose(
        simulation.dynamics.kT.flatten(), [BOLTZMANN * t for t in hot], rtol=1e-6
    )
    energy, forces = simulation._evaluate(after.positions)
    torch.testing.assert_close(after.forces, forces, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(after.energy, energy, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_starts_at_the_temperatures_of_the_ladder(chain, dtype):
    tempering = start(chain, replicas=6, dtype=dtype)
    assert tempering.simulation.settings.temperatures == LADDER * 2
    plain = Simulation(chain, 6, LADDER * 2, device="cpu", seed=1, dtype=dtype)
    torch.testing.assert_close(tempering.simulation.state.velocities, plain.state.velocities)
    # Float32 velocities are rounded twice on each of the two ways, and then squared.
    rounding = 2 * 4 * 2.0**-24 if dtype == "float32" else 1e-12
    torch.testing.assert_close(
        tempering.simulation.state.kinetic, plain.state.kinetic, rtol=rounding, atol=0.0
    )


def test_temperatures_are_those_of_the_record(chain):
    tempering = start(chain)
    for frame in tempering.iterate(100, every=7):
        then = tempering.exchanges.rungs_at([frame.step + 1])[0]
        assert tempering.simulation.settings.temperatures == tuple(np.array(LADDER)[then])
    exchanges = tempering.exchanges
    assert exchanges.attempts == 10
    assert (np.sort(exchanges.rungs.reshape(11, 2, 3), axis=2) == np.arange(3)).all()
    assert np.nanmax(acceptance(exchanges)) > 0.0


def test_frames_at_an_attempt_are_taken_before_it(chain):
    by_frames, plain = start(chain), start(chain)
    frames = list(by_frames.iterate(40, every=10))
    plain.run(40)
    np.testing.assert_array_equal(
        [frame.potential_energy for frame in frames], plain.exchanges.energies
    )
    torch.testing.assert_close(
        by_frames.simulation.state.positions, plain.simulation.state.positions
    )


def test_a_stop_just_before_a_step_gives_no_frame_twice(chain, monkeypatch):
    tempering = start(chain)

    def stopped_at_14(force_field, state, advance):
        if state.step == 14:
            tempering.stop()
        return watched(force_field, state, advance)

    monkeypatch.setattr(engine, "watched", stopped_at_14)
    assert [frame.step for frame in tempering.iterate(100, every=7)] == [7, 14]


def test_the_same_seed_gives_the_same_run_in_any_pieces(chain, same):
    whole, pieces = start(chain), start(chain)
    whole.run(60)
    for steps in (3, 7, 25, 15, 10):
        pieces.run(steps)
    assert same(whole.simulation.state, pieces.simulation.state)
    np.testing.assert_array_equal(whole.exchanges.rungs, pieces.exchanges.rungs)
    other = Tempering(Simulation(chain, 6, device="cpu", seed=1), LADDER, 10, seed=99)
    other.run(60)
    assert not np.array_equal(whole.exchanges.rungs, other.exchanges.rungs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("half", [50, 47])
def test_a_restart_is_exact(chain, same, tmp_path, half, device):
    whole, first = (start(chain, device=device) for _ in range(2))
    whole.run(100)
    first.run(half)
    save_tempering(first, tmp_path)
    first.run(20)  # the record on disk may be ahead of the checkpoint, not behind it
    (tmp_path / "later").mkdir()
    save_tempering(first, tmp_path / "later")
    (tmp_path / "later" / RECORD).replace(tmp_path / RECORD)
    second = restore_tempering(tmp_path, chain, device=device)
    assert second.simulation.state.step == half
    second.run(100 - half)
    assert same(whole.simulation.state, second.simulation.state)
    np.testing.assert_array_equal(whole.exchanges.rungs, second.exchanges.rungs)
    np.testing.assert_array_equal(whole.exchanges.energies, second.exchanges.energies)


def test_files_of_two_runs_are_refused(chain, tmp_path):
    one, other = start(chain), start(chain)
    one.run(40)
    save_tempering(one, tmp_path)
    other.run(10)
    save_tempering(other, tmp_path / "other")
    (tmp_path / "other" / RECORD).replace(tmp_path / RECORD)
    with pytest.raises(UserError, match="different runs"):
        restore_tempering(tmp_path, chain, device="cpu")
    (tmp_path / RECORD).unlink()
    with pytest.raises(UserError, match="no record"):
        restore_tempering(tmp_path, chain, device="cpu")
    assert (tmp_path / CHECKPOINT).is_file()


def test_stop_ends_a_run_early(chain):
    tempering = start(chain)
    tempering.simulation.reporters.append(lambda frame: tempering.stop() if frame.step else None)
    tempering.simulation.report_every = 20
    tempering.run(1000)
    assert tempering.simulation.state.step == 20
    tempering.simulation.reporters.clear()
    tempering.run(20)
    assert tempering.exchanges.attempts == 4


def test_a_simulation_run_behind_its_back_is_noticed(chain):
    tempering = start(chain)
    tempering.simulation.run(25)
    with pytest.raises(UserError, match="missed"):
        tempering.run(10)


@pytest.mark.parametrize(
    ("ladder", "settings", "word"),
    [
        ((300.0, 400.0), {}, "do not fill"),
        ((400.0, 300.0, 500.0), {}, "must rise"),
        (LADDER, {"every": 0}, "every 0"),
        (LADDER, {"seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_tempered(chain, ladder, settings, word):
    simulation = Simulation(chain, 3, device="cpu")
    with pytest.raises(UserError, match=word):
        Tempering(simulation, ladder, **settings)


def test_constant_energy_and_absolute_zero_cannot_be_tempered(chain):
    with pytest.raises(UserError, match="verlet"):
        Tempering(Simulation(chain, 3, device="cpu", integrator="verlet"), LADDER)
    with pytest.raises(UserError, match="0 K"):
        Tempering(Simulation(chain, 3, 0.0, device="cpu"), LADDER)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_captured_steps_trade_like_launched_ones(same):
    captured, launched = (
        Tempering(Simulation(load_system("chignolin"), 6, capture=capture), LADDER, 20)
        for capture in (True, False)
    )
    for tempering in (captured, launched):
        tempering.run(200)
    assert captured.simulation.captures
    assert same(captured.simulation.state, launched.simulation.state)
    assert (captured.exchanges.rungs[0] != captured.exchanges.rungs[-1]).any()
