"""What restraints hold, in every frame of a stored run: its numbers, restarts, and older stores."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import flashschnet_lab as fl
from flashschnet_lab.analysis.coordinates import end_to_end, radius_of_gyration
from flashschnet_lab.analysis.observables import observe
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.reporters import Frame
from flashschnet_lab.simulation.restraint import Restraint, restrain
from flashschnet_lab.simulation.run import continue_run, start_run
from flashschnet_lab.system import System

pytestmark = pytest.mark.usefixtures("one_thread")


def springs(system: System) -> list[Restraint]:
    return [
        restrain(end_to_end(system.protein), [6.0, 14.0], [1.0, 2.0]),
        restrain(radius_of_gyration(system.protein), 7.0, [3.0, 4.0], slack=0.1),
    ]


def held(system: System, **settings) -> Simulation:
    return Simulation(
        system, 2, device="cpu", report_every=5, restraints=springs(system), **settings
    )


def test_frames_hold_values_and_energies(chain: System, tmp_path) -> None:
    """Of a float64 run they agree with its own positions, which a store rounds to float32."""
    simulation = held(chain, dtype="float64")
    exact = []
    simulation.reporters.append(lambda _: exact.append(simulation.state.positions.clone()))
    start_run(simulation, tmp_path / "run", 20)
    run = fl.open_trajectory(tmp_path / "run")
    assert run.restrained.shape == (5, 2, 2) and run.restrained.dtype == np.float64
    assert run.restraint_energy.shape == (5, 2) and run.restraint_energy.max() > 1.0
    for frame, x in enumerate(exact):
        values = [r.coordinate(x) for r in springs(chain)]
        total = sum(r.energy(x) for r in springs(chain))
        np.testing.assert_array_equal(run.restrained[frame], torch.stack(values, 1))
        np.testing.assert_array_equal(run.restraint_energy[frame], total)
    assert [r.to_dict() for r in run.restraints] == [r.to_dict() for r in springs(chain)]
    attributes = json.loads((run.path / "restrained/.zattrs").read_text())
    assert attributes["coordinates"][0] == "end-to-end distance (angstrom)"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the asynchronous copy needs a GPU")
@pytest.mark.parametrize("capture", [True, False])
def test_frames_of_a_gpu_hold_those_of_their_own_positions(chain: System, capture: bool) -> None:
    """They travel beside the next steps, and must not be those of a later one."""
    frames: list[Frame] = []
    simulation = Simulation(
        chain,
        2,
        device="cuda",
        capture=capture,
        restraints=springs(chain),
        reporters=[frames.append],
        report_every=5,
    )
    simulation.run(200)
    assert len(frames) >= 40
    for frame in frames:
        x = torch.from_numpy(frame.positions).double()
        values = torch.stack([r.coordinate(x) for r in springs(chain)], 1)
        np.testing.assert_allclose(frame.restrained, values, atol=1e-5)
        total = sum(r.energy(x) for r in springs(chain))
        np.testing.assert_allclose(frame.restraint_energy, total, atol=1e-4)


def test_going_on_appends_the_same(chain: System, tmp_path) -> None:
    start_run(held(chain), tmp_path / "whole", 20)
    start_run(held(chain), tmp_path / "parts", 13)  # its last frame is no due one, and is made anew
    continue_run(tmp_path / "parts", 7, device="cpu")
    whole, parts = (fl.open_trajectory(tmp_path / name) for name in ("whole", "parts"))
    shared = np.isin(parts.steps, whole.steps)
    assert parts.steps[shared].tolist() == whole.steps.tolist()
    np.testing.assert_array_equal(parts.restrained[shared], whole.restrained)
    np.testing.assert_array_equal(parts.restraint_energy[shared], whole.restraint_energy)


def test_free_runs_store_nothing_more(chain: System, tmp_path) -> None:
    start_run(Simulation(chain, 2, device="cpu", report_every=5), tmp_path / "run", 10)
    run = fl.open_trajectory(tmp_path / "run")
    names = {p.name for p in run.path.iterdir() if p.is_dir()}
    assert names == {
        *("positions", "potential_energy", "kinetic_energy", "temperature"),
        *("time", "step", "protein"),
    }
    assert json.loads((run.path / ".zattrs").read_text())["format_version"] == 1
    assert run.restraints == () and run.restrained.shape == (3, 2, 0)
    assert not run.restraint_energy.any()


def test_other_restraints_on_the_way_are_refused(chain: System, tmp_path) -> None:
    simulation = held(chain)
    simulation.reporters.append(lambda frame: frame.step == 10 and simulation.restrain())
    with pytest.raises(UserError, match="2 restrained coordinates, not 0"):
        start_run(simulation, tmp_path / "run", 20)
    assert fl.open_trajectory(tmp_path / "run").steps.tolist() == [0, 5, 10]


def test_a_restrained_store_of_before_opens_and_goes_on(chain: System, tmp_path) -> None:
    """Version 1 did not store what restraints held."""
    import shutil

    start_run(held(chain), tmp_path / "run", 10)
    store = tmp_path / "run/trajectory.zarr"
    for name in ("restrained", "restraint_energy"):
        shutil.rmtree(store / name)
    about = (store / ".zattrs").read_text()
    (store / ".zattrs").write_text(about.replace('"format_version": 2', '"format_version": 1'))
    continue_run(tmp_path / "run", 5, device="cpu")
    run = fl.open_trajectory(tmp_path / "run")
    assert run.steps.tolist() == [0, 5, 10, 15] and len(run.restraints) == 2
    assert not run.knows_restrained
    with pytest.raises(UserError, match="did not store what restraints held"):
        run.restraint_energy  # noqa: B018
    table = observe(run, ["rg"])  # as before; only its weights are not known
    assert table["rg"].shape == (4, 2)
    for seen in (table, table.by_temperature()):
        with pytest.raises(UserError, match="an older flashschnet-lab wrote the run"):
            seen.weights(300.0)


def test_restraints_that_moved_are_not_taken_out(chain: System, tmp_path) -> None:
    simulation = held(chain)
    simulation.reporters.append(
        lambda frame: frame.step == 10 and simulation.restraints[0].centres.add_(1.0)
    )
    start_run(simulation, tmp_path / "run", 20)
    table = observe(tmp_path / "run", ["rg"])
    with pytest.raises(UserError, match="moved during the run"):
        table.weights(300.0)
