"""Distillation at toy size: it learns, resumes exactly, and refuses another's folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flashschnet_lab.checkpoints.native import load_model
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import priors_only_model, structure_based_model
from flashschnet_lab.potentials.structure_based import DEFAULT_DEPTH
from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.system import System, build_force_field
from flashschnet_lab.training import distil as module
from flashschnet_lab.training.command import (
    distil_command,
    validate_command,
    write_distilled,
)
from flashschnet_lab.training.data import label
from flashschnet_lab.training.distil import (
    DistilSettings,
    distil,
    ladder,
    ladder_for,
    ladder_starts,
)
from flashschnet_lab.training.force_matching import learning_rate

CPU = torch.device("cpu")
TOY = DistilSettings(
    temperatures=(300.0, 500.0), replicas=8, sampling_steps=200, frame_every=20, steps=40,
    batch_size=4, rounds=1, round_replicas=4, round_steps=30, hidden=16,
)  # fmt: skip


@pytest.fixture(scope="module")
def teacher() -> System:
    protein = embedded_protein("chignolin").protein
    return System(protein, structure_based_model(protein), protein.positions)


@pytest.fixture(scope="module")
def distilled(teacher, tmp_path_factory):
    return distil(teacher, tmp_path_factory.mktemp("work"), TOY, device=CPU)


def test_labels_are_the_teacher_minus_the_priors(teacher):
    x = torch.from_numpy(teacher.protein.positions)[None].float()
    frames = label(teacher, x, CPU)
    total = build_force_field([teacher], dtype=torch.float64)(x.double())
    priors = System(teacher.protein, priors_only_model(teacher.protein))
    rest = build_force_field([priors], dtype=torch.float64)(x.double())
    torch.testing.assert_close(frames.energy, total.energy - rest.energy)
    torch.testing.assert_close(frames.forces, (total.forces - rest.forces).float())


def test_it_learns(distilled):
    losses = [loss for _, loss in distilled.curve]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert distilled.model.network_types == "per_bead"
    assert np.isfinite(distilled.held_out.force_rmse)
    assert np.isfinite(distilled.on_policy.energy_rmse)


def test_an_interrupted_run_goes_on_to_the_same_weights(teacher, distilled, tmp_path, monkeypatch):
    class Interrupted(Exception):
        pass

    explore = module._Training.explore

    def pull_the_plug(self, model, round_number):
        if self.step < TOY.steps:
            raise Interrupted
        return explore(self, model, round_number)

    monkeypatch.setattr(module._Training, "explore", pull_the_plug)
    with pytest.raises(Interrupted):
        distil(teacher, tmp_path, TOY, device=CPU)
    monkeypatch.undo()
    again = distil(teacher, tmp_path, TOY, device=CPU)
    assert again.model.digest == distilled.model.digest
    finished = distil(teacher, tmp_path, TOY, device=CPU)  # nothing is left to do
    assert finished.model.digest == distilled.model.digest


def test_the_folder_of_other_work_is_refused(teacher, tmp_path):
    (tmp_path / "work.json").write_text("{}")
    with pytest.raises(UserError, match="another distillation"):
        distil(teacher, tmp_path, TOY, device=CPU)


def test_a_model_folder_comes_out(teacher, distilled, tmp_path):
    folder = tmp_path / "model"
    write_distilled(distilled, teacher, folder, "flashschnet distil FILE", 1.0, "CPU")
    assert load_model(folder).digest == distilled.model.digest
    assert {p.name for p in folder.iterdir()} == {
        "model.json",
        "network.safetensors",
        "prior.json",
        "training.png",
        "MODEL_CARD.md",
    }
    card = (folder / "MODEL_CARD.md").read_text()
    assert "not from all-atom data" in card
    assert "Not validated yet" in card


def test_the_model_is_for_its_protein_only(distilled):
    other = embedded_protein("trpcage").protein
    with pytest.raises(UserError, match="made for one other protein"):
        System(other, distilled.model)


def test_no_contacts_no_teacher(tmp_path):
    protein = embedded_protein("chignolin").protein
    with pytest.raises(UserError, match="no native contacts"):
        distil(System(protein, priors_only_model(protein)), Path(tmp_path), TOY, device=CPU)


def test_every_rung_gets_folded_and_extended_starts(teacher):
    settings = replace(TOY, temperatures=(300.0, 400.0, 500.0))
    starts, temperatures = ladder_starts(teacher, 12), ladder(settings, 12)
    folded = (starts == teacher.protein.positions).all((1, 2))
    for temperature in settings.temperatures:
        assert set(folded[temperatures == temperature]) == {True, False}


def test_the_ladder_grows_with_the_wells():
    assert ladder_for(DEFAULT_DEPTH) == DistilSettings().temperatures
    assert ladder_for(3.0)[0] == 300.0
    assert ladder_for(3.0)[-1] == pytest.approx(975.0)
    assert ladder_for(0.1)[-1] == 350.0


def test_a_deeper_teacher_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr("flashschnet_lab.training.command.SMALL", TOY)
    folder = tmp_path / "model"
    distil_command("chignolin", folder, small=True, steps=2, seed=1, device="cpu", depth=3.0)
    description = json.loads((folder / "model.json").read_text())
    assert description["teacher_depth"] == 3.0
    assert description["command"].endswith("--depth 3")
    assert description["settings"]["temperatures"] == list(ladder_for(3.0))
    monkeypatch.setattr(
        "flashschnet_lab.training.command.measure", lambda system, **_: seen(system)
    )

    class Seen(Exception):
        pass

    def seen(system):
        raise Seen(system.model.contacts.depth.max())

    with pytest.raises(Seen, match="3.0"):
        validate_command(folder, None, 1, 0, 0.04, 300.0, "cpu", True)


def test_learning_rate_rises_then_falls():
    rates = [learning_rate(step, 1000, 1e-3) for step in range(1000)]
    assert max(rates) == pytest.approx(1e-3)
    assert rates[0] < 1e-4
    assert rates[-1] == pytest.approx(1e-5, rel=0.01)


def test_a_model_of_a_protein_of_one_s_own_is_validated_with_its_structure(
    teacher, distilled, tmp_path, monkeypatch
):
    monkeypatch.setattr("flashschnet_lab.training.command.embedded_like", lambda _: None)
    folder = tmp_path / "model"
    write_distilled(distilled, teacher, folder, "flashschnet distil FILE", 1.0, "CPU")
    arguments = (1, 1, 0.04, 310.0, "cpu", False)
    with pytest.raises(UserError, match="--structure FILE"):
        validate_command(folder, None, *arguments)
    validate_command(folder, "chignolin", *arguments)
    command = json.loads((folder / "validation.json").read_text())["command"]
    assert command.endswith("--extended 1 --time 0.04 --temperature 310")
    assert command in (folder / "MODEL_CARD.md").read_text()
    with pytest.raises(UserError, match="made for one other protein"):
        validate_command(folder, "trpcage", *arguments)

    validate_command(folder, "chignolin", *arguments, seed=2, add=True)
    both = json.loads((folder / "validation.json").read_text())
    assert both["command"] == f"{command}; {command} --seed 2 --add"
    assert both["summary"]["extended"]["replicas"] == 2
    assert np.array(both["folded"]).shape == (len(both["times_ps"]), 2)
    with pytest.raises(UserError, match="their times_ps differs"):
        validate_command(folder, "chignolin", 1, 1, 0.08, 310.0, "cpu", False, add=True)
    with pytest.raises(UserError, match="measure once without --add"):
        validate_command(folder, "chignolin", 1, 0, 0.04, 310.0, "cpu", True, add=True)

    validate_command(folder, "chignolin", 0, 1, 0.08, 310.0, "cpu", False)
    apart = json.loads((folder / "extended.json").read_text())
    assert json.loads((folder / "validation.json").read_text()) == both
    card = (folder / "MODEL_CARD.md").read_text()
    assert apart["command"] in card and both["command"] in card
