"""What this machine has, what can run on it, and what to install: `flashschnet doctor`."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

SUPPORTED_PYTHON = ((3, 10), (3, 14))
SUPPORTED = {"torch": ("2.10", "2.15"), "triton": ("3.5", "3.10")}
"""The first version that is supported and the first that is not, as in pyproject.toml."""

PACKAGES = {
    "torch": "potentials and simulation",
    "triton": "GPU kernels",
    "numpy": "everything",
    "numba": "CPU kernels",
    "mdtraj": "PDB files, export, analysis",
    "gemmi": "mmCIF files",
    "pymbar": "joining temperatures and umbrella windows",
    "zarr": "trajectories",
    "numcodecs": "trajectories",
    "safetensors": "models",
    "platformdirs": "kept tables of filters",
    "typer": "the command line",
    "rich": "the command line",
    "matplotlib": "pictures",
    "jupyterlab": "notebooks",
    "ipywidgets": "notebooks",
    "anywidget": "notebooks",
    "nglview": "notebooks",
}
"""The packages that are used, and for what."""

EXTRAS = {
    "ase": ("interfaces", "models as ASE calculators"),
    "torch-sim-atomistic": ("interfaces", "models under TorchSim"),
    "huggingface_hub": ("hub", "models from the Hugging Face Hub"),
    "deeptime": ("analysis", "slow modes of runs"),
}
"""Packages that nothing else needs: the extra that brings each, and what for."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class PackageState:
    """One package: what it is for, its version (None: missing), what is wrong with it (or "")."""

    name: str
    purpose: str
    version: str | None
    problem: str = ""


@dataclass(frozen=True)
class Gpu:
    """One GPU that torch can use."""

    name: str
    compute_capability: str
    memory_gb: float


@dataclass(frozen=True)
class KernelState:
    """One implementation of one operator: whether it runs here, and why or why not."""

    operator: str
    implementation: str
    usable: bool
    reason: str


@dataclass(frozen=True)
class Viewer:
    """nglview's two halves: the version that Python asks the browser for, and the one installed."""

    asks_for: str | None
    ships: str | None
    remark: str


@dataclass(frozen=True)
class Diagnosis:
    """Everything `diagnose` found; `dataclasses.asdict` of it goes straight into JSON."""

    python: str
    platform: str
    cpu_cores: int
    memory_gb: float | None
    packages: tuple[PackageState, ...]
    extras: tuple[PackageState, ...]
    gpus: tuple[Gpu, ...]
    driver: str | None
    cuda_of_torch: str | None
    kernels: tuple[KernelState, ...]
    viewer: Viewer
    browser: str | None
    tables: str
    advice: tuple[str, ...]


def diagnose() -> Diagnosis:
    """Look at this machine and return what was found; imports torch, and nothing else heavy."""
    packages = tuple(_package(name) for name in PACKAGES if name != "triton" or _triton_exists())
    gpus, cuda_of_torch, kernels = _torch_state()
    driver = _driver()
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    viewer = _viewer()
    return Diagnosis(
        python=platform.python_version(),
        platform=platform.platform(),
        cpu_cores=_cpu_cores(),
        memory_gb=_memory_gb(),
        packages=packages,
        extras=tuple(_extra(name) for name in EXTRAS),
        gpus=gpus,
        driver=driver,
        cuda_of_torch=cuda_of_torch,
        kernels=kernels,
        viewer=viewer,
        browser=browser,
        tables=_tables(),
        advice=_advice(packages, gpus, driver, viewer, browser),
    )


def render(diagnosis: Diagnosis) -> Table:
    """Return the diagnosis as a rich table for the terminal."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="flashschnet doctor", show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_column(style="dim")

    def row(name: str, found: str, remark: str = "", good: bool | None = None) -> None:
        colour = {True: "green", False: "red", None: "default"}[good]
        table.add_row(escape(name), f"[{colour}]{escape(found)}[/]", escape(remark))

    memory = "" if diagnosis.memory_gb is None else f"{diagnosis.memory_gb:.0f} GB memory"
    row("Python", diagnosis.python, sys.executable)
    row("machine", diagnosis.platform, f"{diagnosis.cpu_cores} CPU cores, {memory}".rstrip(", "))
    for gpu in diagnosis.gpus:
        capability = f"compute capability {gpu.compute_capability}, {gpu.memory_gb:.0f} GB"
        row("GPU", gpu.name, f"{capability}, driver {diagnosis.driver or 'unknown'}", good=True)
    if not diagnosis.gpus:
        row("GPU", "none that torch can use", "everything runs on the CPU")
    table.add_section()
    for package in diagnosis.packages:
        good = package.version is not None and not package.problem
        row(package.name, package.version or "missing", package.problem or package.purpose, good)
    for extra in diagnosis.extras:
        there = True if extra.version else None
        row(extra.name, extra.version or "not installed", extra.problem or extra.purpose, there)
    table.add_section()
    for kernel in diagnosis.kernels:
        found = f"{kernel.implementation}: {'runs' if kernel.usable else 'cannot run'}"
        row(kernel.operator, found, kernel.reason, kernel.usable)
    table.add_section()
    row("nglview frontend", diagnosis.viewer.ships or "none", diagnosis.viewer.remark)
    row("browser", diagnosis.browser or "no Chromium", "only the browser test needs one")
    row("filter tables", diagnosis.tables, "kept for the plans exact, balanced and fast")
    table.add_section()
    for line in diagnosis.advice:
        row("to do", line, good=False)
    if not diagnosis.advice:
        row("to do", "nothing: all is well", good=True)
    return table


def _package(name: str) -> PackageState:
    try:
        found = version(name)
    except PackageNotFoundError:
        return PackageState(name, PACKAGES[name], None, f"needed for: {PACKAGES[name]}")
    problem = ""
    if name in SUPPORTED:
        first, beyond = SUPPORTED[name]
        if not _release(first) <= _release(found) < _release(beyond):
            problem = f"supported: {first} up to, not including, {beyond}"
    return PackageState(name, PACKAGES[name], found, problem)


def _extra(name: str) -> PackageState:
    extra, purpose = EXTRAS[name]
    try:
        return PackageState(name, purpose, version(name))
    except PackageNotFoundError:
        fix = f'for {purpose}: pip install "flashschnet-lab[{extra}]"'
        return PackageState(name, purpose, None, fix)


def _release(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: "2.13.0+cpu" is (2, 13, 0)."""
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def _triton_exists() -> bool:
    """Say whether triton is made for this kind of machine."""
    return sys.platform == "linux" and platform.machine() == "x86_64"


def _torch_state() -> tuple[tuple[Gpu, ...], str | None, tuple[KernelState, ...]]:
    """Return what torch says: GPUs, the CUDA version it was built for, kernels that can run."""
    try:
        import torch

        from flashschnet_kernels import plan
    except ImportError:  # a missing torch is reported with the packages
        return (), None, ()
    gpus = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            capability = f"{properties.major}.{properties.minor}"
            gpus.append(Gpu(properties.name, capability, properties.total_memory / 1e9))
    kernels = tuple(
        KernelState(entry.operator, entry.implementation, entry.usable, entry.reason)
        for entry in plan.available(torch.device("cuda" if gpus else "cpu"))
    )
    return tuple(gpus), torch.version.cuda, kernels


def _driver() -> str | None:
    """Return the version of the NVIDIA driver, None without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip().splitlines()[0] if answer.stdout.strip() else None


def _viewer() -> Viewer:
    """Compare the frontend that nglview asks for with the one that JupyterLab will find."""
    for package in ("nglview", "jupyter_core"):
        if importlib.util.find_spec(package) is None:
            return Viewer(None, None, f"{package} is not installed")
    from flashschnet_lab.widgets.frontend import (
        EXTENSION,
        asked_version,
        satisfies,
        shipped_version,
    )

    asks_for, ships = asked_version(), shipped_version()
    if ships is None:
        return Viewer(asks_for, None, f"JupyterLab finds no extension {EXTENSION}")
    if satisfies(ships, asks_for):
        return Viewer(asks_for, ships, "as nglview asks for")
    remark = f"nglview asks for {asks_for}: flashschnet_lab.widgets repairs this when it loads it"
    return Viewer(asks_for, ships, remark)


def _tables() -> str:
    """Return how many tables of filters are kept for this user, and where."""
    try:
        from flashschnet_lab.compiling import cache_folder

        folder = cache_folder()
    except ImportError as error:  # a missing package is reported with the packages
        return f"unknown ({error})"
    files = list(folder.glob("*/filters-*.safetensors"))
    size = sum(path.stat().st_size for path in files)
    return f"{len(files)} ({size / 1e6:.0f} MB) in {folder}"


def _cpu_cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux: a container or a queue may allow a few of them
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gb() -> float | None:
    if not hasattr(os, "sysconf"):  # Windows
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _advice(
    packages: tuple[PackageState, ...],
    gpus: tuple[Gpu, ...],
    driver: str | None,
    viewer: Viewer,
    browser: str | None,
) -> tuple[str, ...]:
    """Return what to do, one line each, the most important first."""
    lines = []
    first, beyond = SUPPORTED_PYTHON
    if not first <= sys.version_info[:2] < beyond:
        lines.append(
            f"Python {platform.python_version()} is untested; use {first[0]}.{first[1]} "
            f"to {beyond[0]}.{beyond[1] - 1}"
        )
    missing = [package.name for package in packages if package.version is None]
    if missing:
        lines.append(f"pip install {' '.join(missing)}")
    for package in packages:
        if package.version is not None and package.problem:
            low, high = SUPPORTED[package.name]
            lines.append(f'pip install "{package.name}>={low},<{high}"')
    if driver is not None and not gpus and "torch" not in missing:
        lines.append(
            f"there is an NVIDIA driver ({driver}) but torch sees no GPU: "
            "install a CUDA build of torch (pytorch.org/get-started)"
        )
    if viewer.asks_for is not None and viewer.ships is None:
        lines.append("pip install --force-reinstall nglview")
    if browser is None:
        lines.append("for the browser test only: apt-get install chromium, or any Chromium")
    return tuple(lines)
