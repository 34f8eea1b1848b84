"""Cards for JupyterLab's launcher: those of notebooks that are there, and readable by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flashschnet_lab.launcher import CARDS, FILE, write_cards
from flashschnet_lab.paths import notebooks_folder


def test_every_card_opens_a_notebook_that_exists() -> None:
    assert [name for name in CARDS if not (notebooks_folder() / name).is_file()] == []


def test_cards_of_what_a_folder_holds(tmp_path: Path) -> None:
    (tmp_path / "00_start.ipynb").write_text("{}")
    write_cards(tmp_path)
    (card,) = json.loads((tmp_path / FILE).read_text())
    assert card["title"] == "Start"
    (opening,) = card["source"]
    assert opening["id"] == "docmanager:open" and opening["args"] == {"path": "00_start.ipynb"}
    before = (tmp_path / FILE).stat().st_mtime_ns
    write_cards(tmp_path)
    assert (tmp_path / FILE).stat().st_mtime_ns == before


def test_the_launcher_takes_them(tmp_path: Path) -> None:
    launcher = pytest.importorskip(
        "jupyter_app_launcher.utils", reason="jupyter_app_launcher is not installed"
    )
    for name in CARDS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    write_cards(tmp_path)
    cards = launcher.parse_config(str(tmp_path), str(tmp_path / FILE))
    assert [card["title"] for card in cards] == [title for title, _ in CARDS.values()]
