"""TICA on processes whose time scales are known, and on a trajectory in pieces."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from flashschnet_lab.analysis import kinetics
from flashschnet_lab.analysis.kinetics import fit_tica, slow_modes
from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.builder import build_chain
from tests.trajectories import PS_APART, write_run

needs_deeptime = pytest.mark.skipif(
    find_spec("deeptime") is None,
    reason="deeptime is not installed",
)

FRAMES, LAG = 20_000, 5
MEMORY = np.array([0.99, 0.9, 0.3])
"""exp(-frame / time scale) of each hidden process."""


def hidden_processes(frames: int, seed: int) -> np.ndarray:
    """Return Ornstein-Uhlenbeck processes of variance 1, [frames, 3], sampled exactly."""
    random = np.random.default_rng(seed)
    kicks = np.sqrt(1.0 - MEMORY**2) * random.normal(size=(frames, 3))
    found = np.empty((frames, 3))
    found[0] = random.normal(size=3)
    for frame in range(1, frames):
        found[frame] = MEMORY * found[frame - 1] + kicks[frame]
    return found


@pytest.fixture(scope="module")
def hidden() -> np.ndarray:
    return hidden_processes(FRAMES, seed=1)


@needs_deeptime
def test_hidden_processes_are_found_in_a_mixture(hidden):
    """Eigenvalues are exp(-lag / time scale), and the modes are the processes."""
    mix = np.array([[1.0, 0.4, -0.3], [0.2, 1.0, 0.5], [-0.6, 0.1, 1.0]])
    pieces = np.array_split(hidden @ mix + 7.0, 4)
    model = fit_tica(pieces, LAG, modes=2)
    np.testing.assert_allclose(model.singular_values[:2], MEMORY[:2] ** LAG, atol=0.02)
    modes = model.transform(hidden @ mix + 7.0)
    for k in range(2):
        assert abs(np.corrcoef(modes[:, k], hidden[:, k])[0, 1]) > 0.98


@needs_deeptime
def test_rows_that_are_no_numbers_are_left_out(hidden):
    features = hidden[:2000].copy()
    features[1500:] = np.nan
    cut = fit_tica([features], LAG, modes=1)
    short = fit_tica([hidden[:1500]], LAG, modes=1)
    np.testing.assert_allclose(cut.singular_values, short.singular_values)
    with pytest.raises(UserError, match="no two conformations lie 5 frames apart"):
        fit_tica([np.full((100, 3), np.nan)], LAG, modes=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two replicas of a chain whose length follows the slowest process."""
    protein = build_chain("AGPWYKA", "extended", mapping="ca")
    slow = np.stack([hidden_processes(1500, seed) for seed in (3, 4)], axis=1)  # [frames, 2, 3]
    stretch = 1.0 + 0.05 * slow[..., 0]
    noise = np.random.default_rng(5).normal(scale=0.02, size=(1500, 2, protein.beads, 3))
    positions = stretch[..., None, None] * protein.positions + noise
    folder = tmp_path_factory.mktemp("tica") / "run"
    return write_run(folder, protein, positions.astype(np.float32)), slow[..., 0]


@needs_deeptime
def test_the_slow_motion_of_a_chain(run):
    folder, slow = run
    told = []
    found = slow_modes(folder, LAG * PS_APART, watch=lambda *now: told.append(now))
    assert found.projections.shape == (1500, 2, 2)
    assert found.lag_ps == pytest.approx(LAG * PS_APART)
    assert found.projections.mean(axis=(0, 1)) == pytest.approx(0.0, abs=1e-6)
    assert found.projections.std(axis=(0, 1)) == pytest.approx(1.0)
    assert abs(np.corrcoef(found.projections[..., 0].ravel(), slow.ravel())[0, 1]) > 0.99
    exact = -PS_APART / np.log(MEMORY[0])
    assert found.timescales_ps[0] == pytest.approx(exact, rel=0.35)  # 3,000 frames, 60 memories
    assert told[-1] == (2 * 2 * 1500,) * 2


@needs_deeptime
def test_pieces_make_no_difference(run, monkeypatch):
    folder, _ = run
    whole = slow_modes(folder, LAG * PS_APART)
    monkeypatch.setattr(kinetics, "FRAMES_AT_ONCE", 64)
    pieces = slow_modes(folder, LAG * PS_APART)
    np.testing.assert_allclose(pieces.timescales_ps, whole.timescales_ps, rtol=1e-6)
    sign = np.sign((pieces.projections * whole.projections).sum(axis=(0, 1)))
    np.testing.assert_allclose(sign * pieces.projections, whole.projections, atol=1e-5)


def test_a_lag_that_does_not_fit(run):
    folder, _ = run
    with pytest.raises(UserError, match="does not fit 1500 frames 0.04 ps apart"):
        slow_modes(folder, 50.0)


def test_a_missing_deeptime_is_told(run, monkeypatch):
    folder, _ = run
    for name in ("deeptime", "deeptime.covariance", "deeptime.decomposition"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"pip install 'flashschnet-lab\[analysis\]'"):
        slow_modes(folder, LAG * PS_APART)
