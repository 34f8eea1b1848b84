"""The switches without a browser: what they choose, run, refuse and show."""

from __future__ import annotations

import threading

import pytest
import torch

from flashschnet_kernels.plan import PRECISION_CLASSES, parse_plan
from flashschnet_lab.errors import UserError
from flashschnet_lab.widgets import switch_measurements

pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")

from flashschnet_lab.widgets.kernel_switches import KernelSwitches

PNG = b"\x89PNG"


@pytest.fixture
def switches(system) -> KernelSwitches:
    return KernelSwitches(system, 2, device="cpu", seconds=0.01)


@pytest.fixture
def pretend(monkeypatch, made_record) -> None:
    """Records without a measurement."""
    monkeypatch.setattr(switch_measurements, "measure", lambda work, *_: made_record(work))


def test_presets_set_all_switches(switches):
    assert switches.plan == parse_plan("exact", "cpu")
    switches._preset.value = "flash-float32"
    assert switches.plan == parse_plan("flash-float32", "cpu")
    assert "flash-float32" in switches._plan_name.value


def test_a_single_switch_makes_a_plan_of_its_own(switches):
    switches.choose("baseline")
    switches._switches["aggregation"].value = "cpu"
    assert switches.plan == parse_plan("aggregation", "cpu")
    assert switches.plan.neighbors == "verlet"  # it follows
    assert switches._preset.value is None


def test_a_refused_combination_says_why_and_cannot_be_run(switches):
    switches.choose("baseline")
    switches._switches["nodes"].value = "cpu"
    assert "it needs filters=table-exact" in switches._progress.value
    assert switches._run_button.disabled and switches._preset.value is None
    with pytest.raises(UserError, match="nodes=cpu"):
        _ = switches.plan
    switches._switches["nodes"].value = "reference"
    assert not switches._run_button.disabled and "press Run" in switches._progress.value


def test_run_measures_beside_the_baseline_and_adds_a_row(switches):
    switches.choose("reference")
    switches._run_button.click()
    switches.wait(120)
    (row,) = [row for row in switches.rows if not row.recorded]
    assert row.record["plan"] == "reference" and row.baseline["plan"] == "baseline"
    assert row.record["work"]["replicas"] == 2 and "failed" not in row.record
    assert row.ratio("peak_bytes") > 1.0  # pairs are kept once, not twice
    assert "reference" in switches._table.value
    assert switches._bars.value[:4] == PNG and "done" in switches._progress.value
    assert not switches._run_button.disabled
    switches.picture().canvas.draw()


def test_what_goes_wrong_is_shown(switches, monkeypatch):
    def broken(*_):
        raise RuntimeError("a <kernel> is broken")

    monkeypatch.setattr(switch_measurements, "measure", broken)
    switches.run()
    switches.wait(60)
    assert "RuntimeError: a &lt;kernel&gt; is broken" in switches._progress.value
    assert switches.rows == [] and not switches._run_button.disabled


def test_precision_that_a_plan_cannot_have_is_said(switches):
    switches._precision.value = "float64"
    switches.run()
    switches.wait(60)
    assert "float32" in switches._progress.value and switches.rows == []


def test_the_kernel_is_free_while_it_measures(switches, monkeypatch, made_record):
    release, threads = threading.Event(), []

    def slow(work, *_):
        threads.append(threading.current_thread())
        assert release.wait(30)
        return made_record(work)

    monkeypatch.setattr(switch_measurements, "measure", slow)
    switches.run()
    assert switches._run_button.disabled
    switches.run()  # a second click is not a second measurement
    release.set()
    switches.wait(60)
    assert len(switches.rows) == 1
    assert set(threads) - {threading.main_thread()} == set(threads)
    assert not any(thread.is_alive() for thread in threads)


def test_plans_are_measured_one_after_another_and_listeners_told(switches, pretend):
    told: list[dict] = []
    switches.on_measured(told.append)
    figure = switches.measure("baseline", *PRECISION_CLASSES)
    plans = [record["plan"] for record in switches.records]
    assert plans == ["baseline", *PRECISION_CLASSES] == [record["plan"] for record in told]
    labels = [text.get_text() for text in figure.subfigs[0].axes[0].get_yticklabels()]
    assert labels == ["baseline", *PRECISION_CLASSES]


def test_explain_shows_the_plan_and_hides_it_again(switches):
    switches._explain_button.click()
    assert switches._explanation.layout.display == ""
    assert "message_passing" in switches._explanation.value
    switches._preset.value = "baseline"  # it follows the switches
    assert "two directed edges per pair" in switches._explanation.value
    switches._explain_button.click()
    assert switches._explanation.layout.display == "none"


def test_another_protein_and_more_replicas(switches, pretend):
    switches._protein.value, switches._replicas.value = "chignolin", 4
    switches.choose("exact")
    switches.run()
    switches.wait(60)
    assert switches.rows[0].record["work"]["protein"] == "chignolin"
    assert switches.rows[0].record["work"]["replicas"] == 4
    recorded = [row for row in switches.rows if row.recorded]
    assert len(recorded) == (0 if torch.cuda.is_available() else 1)


def test_plans_that_do_not_exist_or_cannot_run_here_are_refused(switches):
    with pytest.raises(UserError, match="unknown plan"):
        switches.choose("quick")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="needs a GPU"):
            switches.choose(parse_plan("exact", "cuda"))
        with pytest.raises(UserError, match="no GPU"):
            KernelSwitches(switches._system(switches._protein.value), device="cuda")
    assert switches.plan == parse_plan("exact", "cpu")


def test_it_shows_itself(switches):
    assert "application/vnd.jupyter.widget-view+json" in switches._repr_mimebundle_()
