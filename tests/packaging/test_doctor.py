"""The doctor describes this machine, and machines that lack something."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import io
import json
import sys
from pathlib import Path

import pytest

from flashschnet_lab import doctor
from flashschnet_lab.doctor import Diagnosis, diagnose, render

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def diagnosis() -> Diagnosis:
    return diagnose()


def printed(diagnosis: Diagnosis) -> str:
    """Return the table as the terminal shows it, in one line of words."""
    rich_console = pytest.importorskip("rich.console")
    console = rich_console.Console(width=200, record=True, file=io.StringIO())
    console.print(render(diagnosis))
    return " ".join(console.export_text().split())


def test_goes_into_json(diagnosis: Diagnosis) -> None:
    again = json.loads(json.dumps(dataclasses.asdict(diagnosis)))
    assert again["python"] == ".".join(map(str, sys.version_info[:3]))
    assert again["cpu_cores"] >= 1 and again["memory_gb"] > 0.1


def test_versions_are_those_installed(diagnosis: Diagnosis) -> None:
    found = {package.name: package.version for package in diagnosis.packages}
    for name in ("torch", "numpy"):
        assert found[name] == importlib.metadata.version(name)


def test_every_operator_has_an_implementation_that_runs(diagnosis: Diagnosis) -> None:
    operators = {kernel.operator for kernel in diagnosis.kernels}
    assert operators == {kernel.operator for kernel in diagnosis.kernels if kernel.usable}
    assert "message_passing" in operators
    assert all(kernel.reason for kernel in diagnosis.kernels)


def test_table_shows_everything(diagnosis: Diagnosis) -> None:
    text = printed(diagnosis)
    for package in diagnosis.packages:
        assert f"{package.name} │ {package.version or 'missing'}" in text
    for kernel in diagnosis.kernels:
        assert kernel.reason in text


def test_an_extra_that_is_missing_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told how to get it; there is nothing to do."""
    monkeypatch.setattr(doctor, "EXTRAS", {"not-a-package": ("hub", "models from elsewhere")})
    found = diagnose()
    assert found.extras[0].version is None
    assert not any("not-a-package" in line for line in found.advice)
    text = printed(found)
    assert "not-a-package │ not installed" in text
    assert 'for models from elsewhere: pip install "flashschnet-lab[hub]"' in text


def test_extras_are_those_of_the_project() -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for name, (extra, _) in doctor.EXTRAS.items():
        assert any(line.startswith(name) for line in extras[extra]), f"{name} of [{extra}]"


def test_table_of_a_machine_with_little(diagnosis: Diagnosis) -> None:
    """Square brackets in an advice are text, not markup."""
    bare = dataclasses.replace(
        diagnosis, gpus=(), kernels=(), browser=None, advice=('pip install -e ".[test]"',)
    )
    text = printed(bare)
    assert "none that torch can use" in text
    assert 'pip install -e ".[test]"' in text


def test_missing_packages_are_named_in_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("mdtraj", "zarr"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "2.14.9" if name == "torch" else "3.9.9" if name == "triton" else "1.0"

    monkeypatch.setattr(doctor, "version", version)
    assert "pip install mdtraj zarr" in diagnose().advice


@pytest.mark.parametrize(
    ("found", "problem"),
    [("2.9.1", True), ("2.10.0", False), ("2.14.1+cu128", False), ("2.15.0", True)],
)
def test_range_of_torch(monkeypatch: pytest.MonkeyPatch, found: str, problem: bool) -> None:
    monkeypatch.setattr(doctor, "version", lambda name: found if name == "torch" else "3.6.0")
    diagnosis = diagnose()
    (torch,) = (package for package in diagnosis.packages if package.name == "torch")
    assert bool(torch.problem) is problem
    assert ('pip install "torch>=2.10,<2.15"' in diagnosis.advice) is problem


def test_ranges_are_those_of_the_package() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name, (first, beyond) in doctor.SUPPORTED.items():
        assert f'"{name}>={first},<{beyond}' in lines
    for name in doctor.PACKAGES:
        assert f'    "{name}>=' in lines


@pytest.mark.parametrize(
    ("ships", "remark"),
    [("4.0.1", "as nglview asks for"), ("3.1.5", "repairs"), (None, "finds no extension")],
)
def test_halves_of_nglview(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ships: str | None, remark: str
) -> None:
    package = tmp_path / "nglview"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('the doctor does not import it')")
    (package / "_frontend.py").write_text("__frontend_version__ = '4.0.1'")
    if ships:
        extension = tmp_path / "labextensions/nglview-js-widgets"
        extension.mkdir(parents=True)
        (extension / "package.json").write_text(json.dumps({"version": ships}))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda folder: [str(tmp_path / folder)])
    monkeypatch.delitem(sys.modules, "nglview", raising=False)

    diagnosis = diagnose()
    assert (diagnosis.viewer.asks_for, diagnosis.viewer.ships) == ("4.0.1", ships)
    assert remark in diagnosis.viewer.remark
    assert ("pip install --force-reinstall nglview" in diagnosis.advice) is (ships is None)
