"""The live simulator without a browser: what buttons and methods do, and that nothing grows."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ipywidgets")
pytest.importorskip("anywidget")

from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_sequence, load_system
from flashschnet_lab.simulation.guards import SimulationStopped
from flashschnet_lab.system import System
from flashschnet_lab.widgets.simulator import Simulator

pytestmark = pytest.mark.usefixtures("one_thread")

PATIENCE = 60.0
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def chain() -> System:
    """Without a network: steps take a millisecond."""
    return load_sequence("AGWA", shape="helix")


@pytest.fixture
def simulator(chain: System) -> Iterator[Simulator]:
    simulator = Simulator(chain, replicas=2, plan="reference", device="cpu", view="beads")
    yield simulator
    assert simulator.close()
    assert not [t for t in threading.enumerate() if t is simulator.live._worker]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def steps(simulator: Simulator) -> int:
    return int(simulator.experiment.simulation.state.step)


def positions(simulator: Simulator) -> np.ndarray:
    return np.frombuffer(simulator.view.molecule.widget.positions, dtype="<f4")


def test_before_anything_is_pressed(simulator: Simulator) -> None:
    controls = simulator.controls
    assert simulator.status == "idle" and "idle" in controls.status.value
    assert bytes(controls.charts.value).startswith(PNG)
    assert controls.replicas.value == 2 and controls.temperature.value == 300.0
    assert controls.plan.value == "reference"
    assert 'class="fs-steps">0<' in controls.reading.value
    assert simulator._repr_mimebundle_()


def test_the_buttons(simulator: Simulator) -> None:
    controls, at_rest = simulator.controls, positions(simulator).copy()
    controls.start.click()
    until(lambda: steps(simulator) > 20)
    assert simulator.status == "running" and "running" in controls.status.value
    controls.pause.click()
    assert simulator.wait(PATIENCE) and "paused" in controls.status.value
    done = steps(simulator)
    assert f'class="fs-steps">{done}<' in controls.reading.value
    assert not np.array_equal(positions(simulator), at_rest)
    controls.step.click()
    assert simulator.wait(PATIENCE) and steps(simulator) == done + 1
    controls.reset.click()
    assert simulator.wait(PATIENCE) and steps(simulator) == 0 and simulator.status == "idle"
    np.testing.assert_allclose(positions(simulator), at_rest, atol=1e-4)


def test_a_run_of_so_many_steps(simulator: Simulator) -> None:
    simulator.run(37)
    simulator.run(5)
    assert steps(simulator) == 42 and simulator.status == "paused"
    before = len(simulator.recording.samples)
    simulator.run(23, every=5)
    assert steps(simulator) == 65 and len(simulator.recording.samples) == before + 5


def test_the_kernel_answers_while_it_runs(simulator: Simulator) -> None:
    """Another thread makes progress all the time, and no call waits for the worker."""
    simulator.start()
    until(lambda: steps(simulator) > 0)
    before = steps(simulator)
    for _ in range(50):
        simulator.change(friction=1.0)
        assert sum(range(1000)) == 499_500
        time.sleep(0.001)
    until(lambda: steps(simulator) > before)
    assert simulator.status == "running"


def test_controls_change_the_simulation_while_it_runs(simulator: Simulator) -> None:
    controls, experiment = simulator.controls, simulator.experiment
    simulator.start()
    controls.temperature.value = 450.0
    controls.friction.value = 2.0
    controls.timestep_fs.value = 2.0
    controls.replicas.value = 3
    until(lambda: experiment.simulation.replicas == 3)
    simulator.pause()
    assert simulator.wait(PATIENCE)
    assert experiment.settings.temperatures == (450.0,) * 3
    assert (experiment.settings.friction, experiment.settings.timestep_fs) == (2.0, 2.0)
    assert controls.shown.max == 2
    controls.shown.value = 2
    assert simulator.wait(PATIENCE)


def test_methods_move_the_controls(simulator: Simulator) -> None:
    simulator.change(temperature=1200.0, replicas=5)
    assert simulator.wait(PATIENCE)
    assert simulator.controls.temperature.value == 1200.0
    assert simulator.controls.replicas.value == 5


def test_plans_and_switches_flip_while_it_runs() -> None:
    system = load_system("chignolin")
    simulator = Simulator(system, plan="reference", device="cpu", view="beads")
    controls = simulator.controls
    simulator.start()
    controls.plan.value = "baseline"
    until(lambda: simulator.experiment.plan.name == "baseline")
    until(lambda: "fs-memory" in controls.reading.value and " MB" in controls.reading.value)
    assert controls.switches["message_passing"].value == "edge_list"
    controls.switches["message_passing"].value = "reference"
    until(lambda: simulator.experiment.plan.name == "reference")
    simulator.check_forces()
    until(lambda: simulator.last_check is not None)
    assert simulator.status == "running"
    simulator.pause()
    assert simulator.wait(PATIENCE) and controls.plan.value == "reference"
    assert "against float64" in controls.checked.value
    assert simulator.last_check.error < simulator.last_check.limit
    # Switches that do not go together are refused, and say again what is true.
    controls.switches["nodes"].value = "cpu"
    assert simulator.wait(PATIENCE)
    assert "nodes=cpu" in controls.message.value
    assert controls.switches["nodes"].value == "reference" and simulator.status == "paused"
    assert simulator.close()


def test_a_refusal_is_shown_and_the_control_goes_back(simulator: Simulator) -> None:
    simulator.controls.timestep_fs.value = -3.0
    assert simulator.wait(PATIENCE)
    assert "time step of -3 fs" in simulator.controls.message.value
    assert simulator.controls.timestep_fs.value == 4.0 and simulator.status == "idle"
    simulator.use_plan("nonsense")
    assert simulator.wait(PATIENCE) and "nonsense" in simulator.controls.message.value
    simulator.step()
    assert simulator.wait(PATIENCE) and "nonsense" not in simulator.controls.message.value


def test_a_failure_is_shown_and_reset_mends_it(simulator: Simulator) -> None:
    simulator.change(timestep_fs=20.0, temperature=5000.0)
    with pytest.raises(SimulationStopped):
        simulator.run(5000)
    controls = simulator.controls
    assert "failed" in controls.status.value and "left physics" in controls.message.value
    controls.start.click()
    assert simulator.status == "failed" and "press reset" in controls.message.value.lower()
    controls.timestep_fs.value, controls.temperature.value = 4.0, 300.0
    controls.reset.click()
    assert simulator.wait(PATIENCE) and controls.message.value.endswith("></span>")
    simulator.run(10)
    assert simulator.status == "paused" and steps(simulator) == 10


def test_pull_and_let_go(simulator: Simulator) -> None:
    simulator.controls.pull.click()
    simulator.run(20)
    pull: Any = simulator.experiment.pull
    assert pull.goal == simulator.controls.goal.value
    assert pull.restraint.coordinate.arguments["beads"] == (
        simulator.controls.bead.value,
        simulator.controls.other.value,
    )
    simulator.controls.let_go.click()
    assert simulator.wait(PATIENCE) and simulator.experiment.pull is None
    simulator.pull(0, 0, 5.0)
    assert simulator.wait(PATIENCE) and "two different beads" in simulator.controls.message.value


def test_looking_back_pauses_and_shows_the_past(simulator: Simulator) -> None:
    first = positions(simulator).copy()
    simulator.start()
    until(lambda: len(simulator.recording.samples) > 5)
    simulator.controls.frame.value = 0
    assert simulator.wait(PATIENCE) and simulator.status == "paused"
    np.testing.assert_allclose(positions(simulator), first, atol=1e-4)
    done = steps(simulator)
    simulator.run(3)  # goes on from the newest, not from the past
    assert steps(simulator) == done + 3
    assert simulator.controls.frame.value == len(simulator.recording.samples) - 1


def test_one_at_a_time(chain: System, simulator: Simulator) -> None:
    other = Simulator(chain, plan="reference", device="cpu", view="beads")
    simulator.start()
    other.start()
    until(lambda: simulator.status == "paused")
    assert other.status == "running" and other.close()


def test_it_stops_when_nobody_touches_it(chain: System) -> None:
    simulator = Simulator(chain, plan="reference", device="cpu", view="beads", idle_seconds=0.05)
    simulator.start()
    assert simulator.wait(PATIENCE) and simulator.status == "stopped"
    assert "stopped by itself" in simulator.controls.message.value
    assert simulator.close()


def test_the_picture_shows_the_run(simulator: Simulator, tmp_path: Path) -> None:
    simulator.run(5)
    simulator.change(temperature=500.0)
    simulator.run(5)
    figure = simulator.picture()
    energy = next(a for a in figure.axes if "energy" in a.get_ylabel())
    times, drawn = energy.lines[0].get_data()
    np.testing.assert_allclose(times, simulator.recording.times())
    np.testing.assert_allclose(drawn, simulator.recording.series("potential_energy")[:, 0])
    assert any(text.get_text() == "500 K" for a in figure.axes for text in a.texts)
    figure.savefig(tmp_path / "picture.png")


def test_wrong_settings_are_an_error_at_once(chain: System) -> None:
    with pytest.raises(UserError, match="0 replicas"):
        Simulator(chain, replicas=0)


def test_a_long_run_does_not_grow(chain: System) -> None:
    """As many chunks as two minutes show: lists, threads and memory stay."""
    resident = Path("/proc/self/statm")
    if not resident.exists():
        pytest.skip("needs /proc")
    view = "nglview" if _has_nglview() else "beads"
    simulator = Simulator(chain, plan="reference", device="cpu", view=view, most_samples=100)

    def megabytes() -> float:
        return int(resident.read_text().split()[1]) * 4096 / 1e6

    def chunks(count: int) -> None:
        simulator.live.start(chunks=count)
        assert simulator.wait(PATIENCE)

    advance = partial(simulator.experiment.advance, 1)  # short chunks, so that there are many
    simulator.experiment.advance = advance  # type: ignore[method-assign]
    chunks(400)
    before, threads = megabytes(), threading.active_count()
    chunks(800)
    assert steps(simulator) == 1200
    assert len(simulator.recording.samples) <= 100
    assert megabytes() - before < 20.0
    assert threading.active_count() <= threads
    if view == "nglview":
        widget = simulator.view.molecule.widget
        assert len(widget._ngl_msg_archive) < 20 and len(widget._callbacks_before_loaded) < 20
    assert simulator.close()


def _has_nglview() -> bool:
    return importlib.util.find_spec("nglview") is not None
