"""environment.yml: what conda reads is what `pip install -e .` needs, and nothing more."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_conda_brings_a_python_and_pip_the_rest() -> None:
    """So that versions are kept in one place, pyproject.toml."""
    yaml = pytest.importorskip("yaml")
    tomllib = pytest.importorskip("tomllib")
    specifiers = pytest.importorskip("packaging.specifiers")
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert environment["name"] == project["name"]
    python, pip, by_pip = environment["dependencies"]
    name, wanted = python.split("=")
    assert (name, pip) == ("python", "pip")
    assert wanted in specifiers.SpecifierSet(project["requires-python"])
    assert f"Programming Language :: Python :: {wanted}" in project["classifiers"]
    assert by_pip == {"pip": ["-e ."]}
