"""The package finds its own files, in a checkout and in a wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from flashschnet_lab import paths
from flashschnet_lab.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def test_in_a_checkout() -> None:
    assert paths.data_folder() == ROOT / "data"
    assert paths.notebooks_folder() == ROOT / "notebooks"


def test_in_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "flashschnet_lab"
    (package / "_data").mkdir(parents=True)
    (tmp_path / "data").mkdir()  # somebody else's
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(paths, "_PACKAGE", package)
    assert paths.data_folder() == package / "_data"
    with pytest.raises(UserError, match="no notebooks folder.*install it again"):
        paths.notebooks_folder()
