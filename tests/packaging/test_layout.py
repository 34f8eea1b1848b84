"""The rules that keep the repository easy to find one's way in."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (ROOT / "flashschnet_lab", ROOT / "kernels" / "flashschnet_kernels")
MODULES = sorted(file for package in PACKAGES for file in package.rglob("*.py"))

TOP_LEVEL = {
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "data",
    "environment.yml",
    "flashschnet_lab",
    "kernels",
    "notebooks",
    "pyproject.toml",
    "tests",
}
MAX_LINES = 500
NOT_ON_A_BARE_NODE = [
    "mdtraj",
    "zarr",
    "typer",
    "rich",
    "matplotlib",
    "safetensors",
    "nglview",
    "ipywidgets",
    "jupyterlab",
]
HEAVY = ("torch", "mdtraj", "zarr", "matplotlib", "nglview", "ipywidgets", "jupyterlab", "IPython")


def label(file: Path) -> str:
    """Return a file's path in the repository."""
    return str(file.relative_to(ROOT))


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """The files of the repository: what git has, and what it would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is not a git checkout")
    return [Path(line) for line in found.stdout.splitlines() if (ROOT / line).exists()]


def test_kernels_is_a_folder_and_not_a_package(files: list[Path]) -> None:
    # As a package it would hide another one called "kernels" from everybody who installs this.
    assert Path("kernels/flashschnet_kernels/__init__.py") in files
    assert not (ROOT / "kernels" / "__init__.py").exists()


def test_top_level_is_what_was_agreed(files: list[Path]) -> None:
    entries = {file.parts[0] for file in files}
    assert {entry for entry in entries if not entry.startswith(".")} <= TOP_LEVEL


def test_no_file_is_too_long(files: list[Path]) -> None:
    lengths = {
        str(file): len((ROOT / file).read_text(encoding="utf-8").splitlines())
        for file in files
        if file.suffix == ".py"
    }
    assert {file: lines for file, lines in lengths.items() if lines > MAX_LINES} == {}


def test_importing_the_package_is_light() -> None:
    program = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "import flashschnet_lab\n"
        f"print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


@pytest.mark.parametrize("file", MODULES, ids=label)
def test_module_keeps_to_its_layer_and_arguments(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    imported: set[str] = set()
    environment: list[int] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported.add(node.module.split(".")[0])
            if node.module == "os" and {a.name for a in node.names} & {"environ", "getenv"}:
                environment.append(node.lineno)
        elif isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
            environment.append(node.lineno)
    assert environment == [], "a switch is an argument, never an environment variable"
    if PACKAGES[1] in file.parents:
        assert "flashschnet_lab" not in imported, "operators know tensors and no proteins"


def test_a_bare_gpu_node_is_enough() -> None:
    # Potentials, kernels and simulation need torch and numpy, and nothing that reads or draws.
    program = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        f"for name in {NOT_ON_A_BARE_NODE!r}: sys.modules[name] = None\n"
        "import flashschnet_lab as fl\n"
        "from flashschnet_kernels.plan import KernelPlan\n"
        "from flashschnet_lab.loading import default_prior\n"
        "protein = fl.build_chain('ALKE', 'helix')\n"
        "network = fl.SchNet(fl.SchNetShape(hidden=8, channels=8, blocks=1))\n"
        "system = fl.System(protein, fl.Model('bare', default_prior('five_bead'), network))\n"
        "simulation = fl.Simulation(system, 2, device='cpu', plan=KernelPlan())\n"
        "simulation.run(3)\n"
        "print(simulation.frame().step)"
    )
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "3"
