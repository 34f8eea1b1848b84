"""Restart: exact to the bit, atomic, and refused when something differs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flashschnet_kernels.plan import default_plan
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import default_prior, load_system
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.restart import read_checkpoint, restore, save_checkpoint
from flashschnet_lab.system import Model, System

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("integrator", ["langevin", "verlet", "brownian"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fifty_and_fifty_are_a_hundred(tiny, same, tmp_path, integrator, dtype, device):
    settings = {"integrator": integrator, "dtype": dtype, "seed": 11}
    if integrator == "brownian":
        settings |= {"friction": 50.0, "timestep_fs": 0.2}
    whole = Simulation(tiny, 2, [280.0, 320.0], device=device, **settings)
    whole.run(100)
    first = Simulation(tiny, 2, [280.0, 320.0], device=device, **settings)
    first.run(50)
    save_checkpoint(first, tmp_path / "c")
    second = restore(tmp_path / "c", tiny, device=device)
    second.run(50)
    assert same(whole.state, second.state)
    assert second.settings == whole.settings


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["chignolin", "1enh"])
def test_trained_models_go_on_to_the_bit(same, tmp_path, name, device):
    system = load_system(name)
    steps = 50 if device == "cuda" else 2
    whole, first = (Simulation(system, 2, device=device, seed=5) for _ in range(2))
    whole.run(2 * steps)
    first.run(steps)
    save_checkpoint(first, tmp_path / "c")
    second = restore(tmp_path / "c", system, device=device)
    second.run(steps)
    assert same(whole.state, second.state)


def test_what_a_checkpoint_says(tiny, tmp_path):
    simulation = Simulation(tiny, device="cpu")
    simulation.run(3)
    save_checkpoint(simulation, tmp_path / "c")
    description = read_checkpoint(tmp_path / "c")
    assert description["step"] == 3
    assert description["plan"] == default_plan("cpu").name == simulation.plan.name
    assert description["model"]["sha256"] == tiny.model.digest
    assert description["versions"]["torch"] == torch.__version__


def test_another_protein_model_or_plan_is_refused(tiny, tmp_path, monkeypatch):
    path = tmp_path / "c"
    save_checkpoint(Simulation(tiny, device="cpu"), path)
    other = build_chain("AGPWA")
    with pytest.raises(UserError, match="of protein"):
        restore(path, System(other, tiny.model), device="cpu")
    with pytest.raises(UserError, match="made with model 'tiny'"):
        restore(path, replace(tiny, model=Model("x", default_prior("five_bead"))), device="cpu")
    monkeypatch.setattr("flashschnet_kernels.plan.KernelPlan.name", "another")
    with pytest.raises(UserError, match="plan"):
        restore(path, tiny, device="cpu")


def test_a_write_that_fails_keeps_the_old_file(tiny, tmp_path, monkeypatch):
    path = tmp_path / "c"
    simulation = Simulation(tiny, device="cpu")
    save_checkpoint(simulation, path)
    simulation.run(5)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left"):
        save_checkpoint(simulation, path)
    assert read_checkpoint(path)["step"] == 0
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_not_a_checkpoint(tiny, tmp_path):
    with pytest.raises(UserError, match="no checkpoint"):
        restore(tmp_path / "c", tiny)
    (tmp_path / "c").write_bytes(b"something else")
    with pytest.raises(UserError, match="not a checkpoint"):
        restore(tmp_path / "c", tiny)
