"""The structure file that lessons read."""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError

import pytest

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins import example_file


def test_it_is_a_structure_with_all_atoms() -> None:
    if importlib.util.find_spec("nglview") is None:
        pytest.skip("nglview is not installed")
    names = [line[12:16].strip() for line in example_file.rhodopsin_file().open() if "ATOM" in line]
    assert names.count("CA") == 348
    assert any(name.startswith("H") for name in names)


def test_without_nglview_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(example_file, "distribution", nothing)
    with pytest.raises(UserError, match="pip install nglview"):
        example_file.rhodopsin_file()
