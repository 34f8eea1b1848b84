"""A browser and a JupyterLab for the tests that need them."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running JupyterLab on copies of the notebooks."""
    for name in ("jupyterlab", "nbformat", "nglview"):  # importing nglview would be too early
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    from tests.notebooks.lab_page import running_lab

    with running_lab(tmp_path_factory.mktemp("lab")) as address:
        yield address


@pytest.fixture
def open_notebook(lab: str) -> Iterator[Callable[[str], Any]]:
    """Open a notebook by its name in a fresh page."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the path")
    from tests.notebooks.lab_page import FLAGS, LabPage

    with playwright.sync_playwright() as runner:
        browser = runner.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1100})
        yield lambda name: LabPage(page, lab, name)
        browser.close()


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where screenshots go: the folder of --screenshots, or one that pytest forgets."""
    folder = request.config.getoption("--screenshots")
    if folder is None:
        return tmp_path
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)
