"""Stored windows against exact answers: samples of a harmonic free energy, drawn, not simulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pymbar", reason="pymbar is not installed")

from flashschnet_lab.analysis.coordinates import between
from flashschnet_lab.analysis.umbrella_run import UmbrellaRun, read_umbrella, umbrella_picture
from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.simulation.reporters import Frame
from flashschnet_lab.simulation.restraint import restrain
from flashschnet_lab.simulation.store_writer import TrajectoryWriter
from flashschnet_lab.units import thermal_energy

TEMPERATURE, CURVE, LOWEST = 300.0, 1.5, 6.0  # K, kcal/mol/A^2, A
KT = thermal_energy(TEMPERATURE)
PROTEIN = build_chain("G", "extended")


def drawn(folder: Path, centres: list[float], strength: float, frames: int = 400) -> UmbrellaRun:
    """Return windows on CURVE / 2 (s - LOWEST)^2: each is normal, of the sum of both springs."""
    c = np.array(centres)
    restraint = restrain(between(PROTEIN, 0, 2), c, strength)
    stiffness = CURVE + strength
    s = np.random.default_rng(5).normal(
        (CURVE * LOWEST + strength * c) / stiffness, np.sqrt(KT / stiffness), (frames, len(c))
    )
    nothing, x = np.zeros(len(c)), np.zeros((len(c), PROTEIN.beads, 3))
    about = {
        "settings": {"temperatures": [TEMPERATURE] * len(c)},
        "restraints": [restraint.to_dict()],
    }
    with TrajectoryWriter.create(
        folder, PROTEIN, len(c), attributes=about, restrained=["s"]
    ) as writer:
        for index, values in enumerate(s):
            held = 0.5 * strength * (values - c) ** 2
            writer.append(
                Frame(index, 0.1 * index, x, nothing, nothing, nothing, held, values[:, None])
            )
    return read_umbrella(folder, bins=20)


def test_a_profile_and_its_picture(tmp_path: Path) -> None:
    found = drawn(tmp_path / "t.zarr", [7.0, 4.0, 5.0, 8.0, 6.0], 2.0)
    assert found.windows.centres.tolist() == [4.0, 5.0, 6.0, 7.0, 8.0]
    means = [samples.mean() for samples in found.samples]
    assert means == sorted(means) and found.weak == []
    assert found.profile is not None
    exact = 0.5 * CURVE * (found.profile.centres[0] - LOWEST) ** 2
    seen = np.isfinite(found.profile.error) & (found.profile.error > 0.0)
    lowest = int(np.nanargmin(found.profile.free_energy))
    off = (found.profile.free_energy - (exact - exact[lowest]))[seen] / found.profile.error[seen]
    assert seen.sum() > 15 and np.abs(off).max() < 4.5
    assert len(umbrella_picture(found).axes) == 2
    entry = found.to_dict()
    assert entry["windows"]["means"] == pytest.approx(means, abs=1e-4)
    assert len(entry["profile"]["error"]) == 20


def test_windows_apart_are_told(tmp_path: Path) -> None:
    found = drawn(tmp_path / "weak.zarr", [5.0, 5.5, 7.0], 9.0)
    assert found.weak == [1] and found.gaps == [] and found.profile is not None
    assert found.tell(1).startswith("windows 1 (at 5.5 angstrom) and 2 (at 7 angstrom) share ")
    assert found.shared[1] > 0.0 and found.tell(1).endswith(" % of what they saw")
    found = drawn(tmp_path / "gap.zarr", [2.0, 3.0, 9.0, 9.2], 40.0)
    assert found.gaps == [0, 1] and found.profile is None
    assert found.to_dict()["profile"] is None
    assert "share nothing" in found.tell(1)
    words = [text.get_text() for axes in umbrella_picture(found).axes for text in axes.texts]
    assert words == ["no profile: neighbouring windows share nothing"]


def test_windows_that_slid_away_are_told(tmp_path: Path) -> None:
    found = drawn(tmp_path / "soft.zarr", [1.0, 3.0, 5.0, 7.0, 9.0, 11.0], 0.05)
    assert found.astray == [0, 5]  # their means are (CURVE LOWEST + k c) / (CURVE + k)


def test_what_has_no_profile(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="in no windows"):
        drawn(tmp_path / "one.zarr", [5.0, 5.0], 1.0)
    with pytest.raises(UserError, match="1 frames"):
        drawn(tmp_path / "short.zarr", [5.0, 6.0], 1.0, frames=1)
