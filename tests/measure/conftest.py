"""A small protein with a small network, and the device that everything runs on."""

from __future__ import annotations

import pytest
import torch

from flashschnet_lab.system import System
from tests.tiny_system import tiny_system


@pytest.fixture(scope="session")
def cpu() -> torch.device:
    return torch.device("cpu")


@pytest.fixture(scope="session")
def system() -> System:
    return tiny_system()
