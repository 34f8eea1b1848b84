"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    from hypothesis import settings
except ImportError:  # the tests that need it skip
    pass
else:  # the same examples every time: what fails once fails again
    settings.register_profile("repeatable", derandomize=True, database=None)
    settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", metavar="FOLDER", help="keep the browser test's pictures")


@pytest.fixture(scope="session", autouse=True)
def _tables_of_tests_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tables of filters that tests make out of the user's cache, and his out of tests.

    Where tests run in several processes, one makes a table and all read it.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder /= "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platformdirs.user_cache_dir", lambda name, **_: str(folder / name))
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Run PyTorch on one thread: with small tensors others would only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden data and PDB files beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("golden data are not on this machine (they are not redistributed)")
    return folder


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where screenshots go: the folder of --screenshots, or one that pytest forgets."""
    folder = request.config.getoption("--screenshots")
    if folder is None:
        return tmp_path
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)
