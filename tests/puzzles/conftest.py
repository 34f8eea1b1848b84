"""Puzzles are tiny: threads would only wait for each other."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _quickly(one_thread: None) -> None:
    """Run each test on one thread."""
