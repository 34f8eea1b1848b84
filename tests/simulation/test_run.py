"""Run folders: everything that a run leaves behind, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
import threading

import numpy as np
import pytest

from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.guards import SimulationStopped
from flashschnet_lab.simulation.run import continue_run, load_run_system, new_folder, start_run
from flashschnet_lab.simulation.store import open_trajectory


def simulate(system, replicas=2, **settings) -> Simulation:
    return Simulation(system, replicas, device="cpu", report_every=5, **settings)


def test_a_run_folder(tiny, tmp_path):
    receipt = start_run(simulate(tiny), tmp_path / "run", 20)
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert names == {
        "trajectory.zarr",
        "checkpoint.safetensors",
        "model",
        "run.json",
        "receipt.json",
        "picture.png",
    }
    assert (tmp_path / "run/picture.png").read_bytes()[:4] == b"\x89PNG"
    assert receipt == json.loads((tmp_path / "run/receipt.json").read_text())
    assert receipt["ending"] == "finished"
    assert receipt["force_error"] < 1e-4
    assert receipt["model"]["sha256"] == tiny.model.digest
    assert load_run_system(tmp_path / "run").model.digest == tiny.model.digest
    assert open_trajectory(tmp_path / "run").steps.tolist() == [0, 5, 10, 15, 20]


def test_going_on_equals_never_having_stopped(tiny, tmp_path):
    start_run(simulate(tiny), tmp_path / "whole", 20)
    start_run(simulate(tiny), tmp_path / "parts", 10)
    continue_run(tmp_path / "parts", 10, device="cpu")
    whole, parts = open_trajectory(tmp_path / "whole"), open_trajectory(tmp_path / "parts")
    assert parts.steps.tolist() == whole.steps.tolist()
    for replica in range(2):
        np.testing.assert_array_equal(
            whole.positions(replica=replica), parts.positions(replica=replica)
        )


def test_a_folder_is_never_overwritten(chain, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="--restart"):
        start_run(simulate(chain), tmp_path / "run", 5)
    assert new_folder("run", tmp_path).name == "run-001"
    (tmp_path / "run-001").mkdir()
    assert new_folder("run", tmp_path).name == "run-002"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_the_run_goes_on(chain, tmp_path, number):
    sender = threading.Timer(0.1, os.kill, (os.getpid(), number))

    def watch(_, steps):
        if steps and sender.ident is None:  # the run is on its way: its handlers are in place
            sender.start()

    receipt = start_run(simulate(chain), tmp_path / "run", 10**7, watch=watch)
    assert receipt["ending"].startswith("stopped by")
    stopped_at = open_trajectory(tmp_path / "run").steps[-1]
    assert 0 < stopped_at < 10**7
    continue_run(tmp_path / "run", 5, device="cpu")
    assert open_trajectory(tmp_path / "run").steps[-1] == stopped_at + 5


def test_a_signal_just_before_the_first_step_stops_the_run(chain, tmp_path, monkeypatch):
    run = Simulation.run

    def signalled(simulation, steps):
        os.kill(os.getpid(), signal.SIGTERM)
        run(simulation, steps)

    monkeypatch.setattr(Simulation, "run", signalled)
    receipt = start_run(simulate(chain), tmp_path / "run", 10**7)
    assert receipt["ending"] == "stopped by SIGTERM"
    assert open_trajectory(tmp_path / "run").steps[-1] < 10**6


def test_a_failed_run_keeps_its_last_good_frame(chain, tmp_path):
    simulation = simulate(chain)
    simulation.state.velocities[1, 3] = float("nan")
    with pytest.raises(SimulationStopped, match="What there was is in"):
        start_run(simulation, tmp_path / "run", 20)
    trajectory = open_trajectory(tmp_path / "run")
    assert np.isfinite(trajectory.positions(replica=1)).all()
    receipt = json.loads((tmp_path / "run/receipt.json").read_text())
    assert receipt["stopped_replicas"][0]["replica"] == 1


def test_nve_receipts_tell_the_drift(chain, tmp_path):
    receipt = start_run(
        simulate(chain, integrator="verlet", timestep_fs=1.0), tmp_path / "run", 100
    )
    assert abs(receipt["energy_drift"]["kT_per_ns_per_degree"]) < 100


def test_a_full_disk_is_one_clear_error_and_the_run_goes_on(chain, tmp_path, monkeypatch):
    simulation = simulate(chain)

    def full(*_, **__):
        raise UserError("cannot write the trajectory: no space left on device")

    with monkeypatch.context() as context:
        context.setattr("flashschnet_lab.simulation.store_writer.TrajectoryWriter.append", full)
        with pytest.raises(UserError, match="no space left"):
            start_run(simulation, tmp_path / "run", 10)
    assert open_trajectory(tmp_path / "run").frames == 0
    continue_run(tmp_path / "run", 10, device="cpu")
    assert open_trajectory(tmp_path / "run").steps[-1] == 10


def test_not_a_run_folder(tmp_path):
    with pytest.raises(UserError, match="not a run folder"):
        continue_run(tmp_path, 5)
