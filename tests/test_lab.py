"""The notebooks in the user's folder: copied, updated, never overwritten once they are changed."""

from __future__ import annotations

import importlib.util
import json
import socket
from pathlib import Path

import pytest

from flashschnet_lab import lab
from flashschnet_lab.errors import UserError


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the package's notebooks, with two of them."""
    folder = tmp_path / "shipped"
    (folder / "puzzles").mkdir(parents=True)
    (folder / "00_start.ipynb").write_text("start, version 1")
    (folder / "puzzles" / "one.ipynb").write_text("puzzle")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "00_start-checkpoint.ipynb").write_text("not for anybody")
    monkeypatch.setattr(lab, "notebooks_folder", lambda: folder)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.ipynb")
    }


def test_solutions_are_for_those_who_ask(shipped: Path, tmp_path: Path) -> None:
    (shipped / "puzzles" / "solutions").mkdir()
    (shipped / "puzzles" / "solutions" / "one.py").write_text("a kernel")
    (shipped / "TEACHING.md").write_text("a page")
    lab.copy_notebooks(tmp_path / "student")
    assert (tmp_path / "student" / "TEACHING.md").is_file()
    assert not (tmp_path / "student" / "puzzles" / "solutions").exists()
    lab.copy_notebooks(tmp_path / "teacher", solutions=True)
    assert (tmp_path / "teacher" / "puzzles" / "solutions" / "one.py").is_file()
    (tmp_path / "teacher" / "TEACHING.md").write_text("my notes")
    (shipped / "TEACHING.md").write_text("a better page")
    (line,) = lab.copy_notebooks(tmp_path / "teacher", solutions=True)
    assert line.endswith("the newer version is TEACHING.new.md")


def test_a_new_folder_gets_all_notebooks(shipped: Path, tmp_path: Path) -> None:
    mine = tmp_path / "deep" / "mine"
    assert lab.copy_notebooks(mine) == ["00_start.ipynb: copied", "puzzles/one.ipynb: copied"]
    expected = {"00_start.ipynb": "start, version 1", "puzzles/one.ipynb": "puzzle"}
    assert contents(mine) == expected
    assert lab.copy_notebooks(mine) == []


def test_an_unchanged_copy_is_updated(shipped: Path, tmp_path: Path) -> None:
    lab.copy_notebooks(tmp_path / "mine")
    (shipped / "00_start.ipynb").write_text("start, version 2")
    assert lab.copy_notebooks(tmp_path / "mine") == ["00_start.ipynb: updated"]
    assert contents(tmp_path / "mine")["00_start.ipynb"] == "start, version 2"


def test_a_changed_notebook_is_kept(shipped: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    lab.copy_notebooks(mine)
    (mine / "00_start.ipynb").write_text("my own work")
    assert lab.copy_notebooks(mine) == []  # nothing newer: nothing beside it

    (shipped / "00_start.ipynb").write_text("start, version 2")
    (line,) = lab.copy_notebooks(mine)
    assert line == "00_start.ipynb: yours is kept; the newer version is 00_start.new.ipynb"
    assert contents(mine)["00_start.ipynb"] == "my own work"
    assert contents(mine)["00_start.new.ipynb"] == "start, version 2"
    (mine / "00_start.new.ipynb").unlink()
    assert lab.copy_notebooks(mine) == []  # it was offered once


def test_a_changed_newer_version_is_kept_as_well(shipped: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    lab.copy_notebooks(mine)
    for version, edit in (("2", "00_start.ipynb"), ("3", "00_start.new.ipynb")):
        (mine / edit).write_text("my own work")
        (shipped / "00_start.ipynb").write_text(f"start, version {version}")
        (line,) = lab.copy_notebooks(mine)
    assert line.endswith("waits until you move or delete 00_start.new.ipynb")
    assert contents(mine)["00_start.new.ipynb"] == "my own work"
    (mine / "00_start.new.ipynb").unlink()
    lab.copy_notebooks(mine)
    assert contents(mine)["00_start.new.ipynb"] == "start, version 3"


@pytest.mark.parametrize("record", [None, "{damaged", "{}"])
def test_without_a_record_nothing_is_overwritten(
    shipped: Path, tmp_path: Path, record: str | None
) -> None:
    (tmp_path / "00_start.ipynb").write_text("my own work")
    if record is not None:
        (tmp_path / lab.RECORD).write_text(record)
    lab.copy_notebooks(tmp_path)
    assert contents(tmp_path)["00_start.ipynb"] == "my own work"
    assert "00_start.ipynb" in json.loads((tmp_path / lab.RECORD).read_text())


def test_a_file_in_the_place_of_the_folder_is_a_clear_error(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("a file")
    with pytest.raises(UserError, match="name another folder"):
        lab.copy_notebooks(tmp_path / "mine")


def test_jupyterlab_opens_the_first_notebook(tmp_path: Path) -> None:
    arguments = lab.lab_arguments(tmp_path, open_browser=False, port=8899)
    assert f"--ServerApp.root_dir={tmp_path.resolve()}" in arguments
    assert "--LabApp.default_url=/lab/tree/00_start.ipynb" in arguments
    assert "--no-browser" in arguments and "--ServerApp.port=8899" in arguments
    assert "--no-browser" not in lab.lab_arguments(tmp_path, open_browser=True, port=None)


def test_a_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"Port {port} cannot be used"):
            lab.start_lab(tmp_path / "mine", port=port)
    assert not (tmp_path / "mine").exists()


def test_missing_jupyterlab_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install jupyterlab"):
        lab.start_lab(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
