"""The table of what a driver costs."""

from __future__ import annotations

import pytest

pytest.importorskip("ase", reason="ase is not installed")

from flashschnet_lab.interfaces import overhead


def test_every_driver_is_timed(system, monkeypatch):
    monkeypatch.setattr(overhead, "STEPS", 2)
    monkeypatch.setattr(overhead, "TURNS", 1)
    times = overhead.milliseconds(overhead.drivers(system))
    assert {"forces alone", "Simulation, verlet", "ASE, velocity Verlet"} <= times.keys()
    assert min(times.values()) > 0.0
