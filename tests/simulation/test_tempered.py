"""Stored tempering runs: what was seen at each temperature, restarts, and export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation import run as run_module
from flashschnet_lab.simulation import tempered
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.exchange import RECORD, Tempering
from flashschnet_lab.simulation.exchange_record import read_exchanges, write_exchanges
from flashschnet_lab.simulation.export import export_temperature
from flashschnet_lab.simulation.restart import restore
from flashschnet_lab.simulation.run import continue_run, start_run
from flashschnet_lab.simulation.store import open_trajectory
from flashschnet_lab.simulation.tempered import is_tempered, open_tempered
from flashschnet_lab.system import System

LADDER = (300.0, 340.0, 385.0)
STEPS, EVERY, SAVED = 90, 10, 5

pytestmark = pytest.mark.usefixtures("one_thread")


def start(system: System, replicas: int = 6) -> Tempering:
    simulation = Simulation(system, replicas, LADDER * 2, device="cpu", report_every=SAVED)
    return Tempering(simulation, LADDER, EVERY)


@pytest.fixture(scope="module")
def folder(chain: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run."""
    path = tmp_path_factory.mktemp("tempered") / "run"
    start_run(start(chain), path, STEPS)
    return path


def test_frames_are_those_of_the_temperature(chain: System, folder: Path) -> None:
    """Against frames that were looked at while they were made."""
    live, run = start(chain), open_tempered(folder)
    seen: dict[tuple[int, int], list[np.ndarray]] = {}
    energies = []
    first = live.simulation.frame()
    for frame in [first, *live.iterate(STEPS, SAVED)]:
        now = np.array(live.exchanges.rungs_at([frame.step]))[0]
        for replica, rung in enumerate(now):
            seen.setdefault((int(rung), replica // 3), []).append(frame.positions[replica])
        energies.append(frame.potential_energy)
    assert run.frames == len(energies) == 1 + STEPS // SAVED
    changed = 0
    for (rung, ladder), positions in seen.items():
        np.testing.assert_array_equal(run.positions(rung, ladder), positions)
        some = run.positions(rung, ladder, slice(3, 17, 4))
        np.testing.assert_array_equal(some, positions[3:17:4])
        changed += len(np.unique(run.replicas_at(rung, ladder))) > 1
    assert changed >= 4, "nobody traded; the test needs another seed"
    np.testing.assert_array_equal(
        run.potential_energy, run.exchanges.demultiplex(np.array(energies), run.steps)
    )
    assert run.potential_energy.shape == (run.frames, 3, 2)
    assert run.temperatures.shape == (run.frames, 6)


def test_it_reads_in_pieces(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_tempered(folder)
    whole, some = run.positions(1, 1), run.positions(1, 1, slice(2, None, 3))
    monkeypatch.setattr(tempered, "FRAMES_AT_ONCE", 4)
    np.testing.assert_array_equal(run.positions(1, 1), whole)
    np.testing.assert_array_equal(run.positions(1, 1, slice(2, None, 3)), some)


def test_receipt_and_attributes_say_that_it_was_tempered(chain: System, folder: Path) -> None:
    import json

    receipt = json.loads((folder / "receipt.json").read_text())
    traded = receipt["tempering"]
    assert traded["ladder"] == list(LADDER) and traded["every"] == EVERY
    assert traded["attempts"] == STEPS // EVERY and len(traded["acceptance"]) == 2
    assert traded["temperatures_at_start"] == list(LADDER) * 2
    assert traded["temperatures_at_end"] == receipt["settings"]["temperatures"]
    assert open_trajectory(folder).attributes["tempered"] is True
    assert is_tempered(folder)


@pytest.mark.parametrize("half", [40, 43])
def test_going_on_equals_never_having_stopped(
    chain: System, folder: Path, tmp_path: Path, half: int
) -> None:
    start_run(start(chain), tmp_path / "parts", half)
    continue_run(tmp_path / "parts", STEPS - half, device="cpu")
    whole, parts = open_tempered(folder), open_tempered(tmp_path / "parts")
    np.testing.assert_array_equal(whole.exchanges.rungs, parts.exchanges.rungs)
    shared = np.isin(parts.steps, whole.steps)  # a part ends with a frame of its own
    for rung in range(3):
        np.testing.assert_array_equal(whole.positions(rung), parts.positions(rung)[shared])


@pytest.mark.parametrize("killed_at", [50, 55])
@pytest.mark.parametrize("record_ahead", [False, True])
def test_a_killed_run_goes_on_from_its_last_checkpoint(
    chain: System, folder: Path, tmp_path: Path, monkeypatch, killed_at: int, record_ahead: bool
) -> None:
    """Checkpoints within a run are written with a frame, at step 50 just before a trade is due."""
    monkeypatch.setattr(run_module, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)

    def kill(_: Simulation, done: int) -> None:
        if done > killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start_run(start(chain), tmp_path / "killed", STEPS, watch=kill)
    if record_ahead:  # it died between record and checkpoint
        write_exchanges(read_exchanges(folder / RECORD), tmp_path / "killed" / RECORD)
    continue_run(tmp_path / "killed", STEPS - killed_at, device="cpu")
    whole, again = open_tempered(folder), open_tempered(tmp_path / "killed")
    np.testing.assert_array_equal(whole.exchanges.rungs, again.exchanges.rungs)
    np.testing.assert_array_equal(whole.steps, again.steps)
    for rung in range(3):
        np.testing.assert_array_equal(whole.positions(rung, 1), again.positions(rung, 1))


def test_frames_after_the_record_are_left_out(folder: Path, tmp_path: Path) -> None:
    """Their temperature is not known yet."""
    import shutil

    shutil.copytree(folder, tmp_path / "run")
    record = read_exchanges(folder / RECORD)
    write_exchanges(record.until(40), tmp_path / "run" / RECORD)
    run = open_tempered(tmp_path / "run")
    assert run.steps[-1] == 50  # made before the fifth attempt
    np.testing.assert_array_equal(run.positions(2), open_tempered(folder).positions(2)[:11])
    write_exchanges(replace(record.until(0)), tmp_path / "run" / RECORD)
    assert open_tempered(tmp_path / "run").steps[-1] == 10


def test_the_last_frame_is_as_it_was_before_the_trade(chain: System, tmp_path: Path) -> None:
    """It is written when the run is over, after a trade at that step has scaled velocities."""
    stored, live = start(chain), start(chain)
    stored.simulation.report_every = 100
    start_run(stored, tmp_path / "run", 20)
    before = list(live.iterate(20, every=20))[-1]
    assert not np.array_equal(live.exchanges.rungs[-1], live.exchanges.rungs[-2])
    written = open_trajectory(tmp_path / "run")
    np.testing.assert_allclose(written.kinetic_energy[-1], before.kinetic_energy, rtol=1e-12)
    np.testing.assert_allclose(written.temperature[-1], before.temperature, rtol=1e-12)


def test_export_of_a_temperature(folder: Path, tmp_path: Path) -> None:
    mdtraj = pytest.importorskip("mdtraj")
    files = export_temperature(folder, 340.0, tmp_path / "warm.xtc", ladder=1)
    assert [f.name for f in files] == ["warm.xtc", "warm.pdb"]
    again = mdtraj.load(str(files[0]), top=str(files[1]))
    run = open_tempered(folder)
    np.testing.assert_allclose(10.0 * again.xyz, run.positions(1, 1), atol=0.0051)
    np.testing.assert_allclose(again.time, run.times_ps, rtol=1e-6)


def test_mistakes(chain: System, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="300, 340, 385 K"):
        export_temperature(folder, 310.0, tmp_path / "x.xtc")
    with pytest.raises(UserError, match="no rung 0 of ladder 2"):
        export_temperature(folder, 300.0, tmp_path / "x.xtc", ladder=2)
    with pytest.raises(UserError, match="restore_tempering"):
        restore(folder / "checkpoint.safetensors", chain, device="cpu")
    plain = Simulation(chain, 1, device="cpu", report_every=5)
    start_run(plain, tmp_path / "plain", 10)
    with pytest.raises(UserError, match="kept their temperatures"):
        open_tempered(tmp_path / "plain")
