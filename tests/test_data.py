"""The data folder: registered, whole, and as the README says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flashschnet_lab.checkpoints.native import load_model, read_description
from flashschnet_lab.loading import load_system
from flashschnet_lab.paths import data_folder
from flashschnet_lab.proteins.embedded import embedded_names, embedded_protein
from flashschnet_lab.training.card import card_text
from flashschnet_lab.training.registry import registry_text

MODELS = sorted(p.name for p in (data_folder() / "models").iterdir())


def test_the_registry_is_true():
    written = (data_folder() / "registry.toml").read_text(encoding="utf-8")
    assert written == registry_text(data_folder())


def test_every_protein_has_a_trained_model_in_the_paper_s_shape():
    assert embedded_names() == MODELS == ["1enh", "chignolin", "trpcage"]
    for name in MODELS:
        shape = load_model(data_folder() / "models" / name).network.shape
        assert (shape.hidden, shape.channels, shape.blocks) == (128, 128, 4)
        assert (shape.radial_functions, shape.cutoff) == (64, 15.0)


def stored(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MODELS)
def test_models_come_with_their_proteins(name):
    system = load_system(name)
    assert system.model.network is not None
    assert system.model.only_for == embedded_protein(name).protein.fingerprint()


@pytest.mark.parametrize("name", MODELS)
def test_the_readme_says_what_the_files_say(name):
    readme = data_folder().parent / "README.md"
    if not readme.is_file():
        pytest.skip("the package was installed without its README")
    text = readme.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|") and "%" in line]
    (row,) = [line for line in rows if name in line.lower()]
    folder = data_folder() / "models" / name
    validation = stored(folder / "validation.json")["summary"]
    error = read_description(folder)["errors"]["held_out"]["force_relative"]
    assert f"| {error:.1%} |" in row
    assert f"| {validation['folded']['rmsd_median']} A" in row
    assert f"x {validation['time_ps']:g} ps)" in row
    apart = folder / "extended.json"
    summary = stored(apart)["summary"] if apart.is_file() else validation
    if "extended" in summary:
        extended = summary["extended"]
        assert f" in {summary['time_ps']:g} ps |" in row
        assert f"{extended['reached_below_3']} of {extended['replicas']} in" in row


@pytest.mark.parametrize("name", MODELS)
def test_cards_say_what_the_files_say(name):
    folder = data_folder() / "models" / name
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    names = ("validation.json", "teacher.json", "extended.json")
    measured = [stored(folder / n) if (folder / n).is_file() else None for n in names]
    assert card == card_text(read_description(folder), *measured)
    assert "not from all-atom data" in card
    assert read_description(folder)["errors"]["held_out"]["force_relative"] < 0.2
