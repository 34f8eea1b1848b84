"""A browser and a JupyterLab for the tests that need them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser import open_page


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
    from tests.notebooks.lab_page import LabPage

    with open_page(1400, 1100) as page:
        yield lambda name: LabPage(page, lab, name)
