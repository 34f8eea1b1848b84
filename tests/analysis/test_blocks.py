"""Long trajectories are read in pieces, and what is read is what was written."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from flashschnet_lab.analysis import blocks as blocks_module
from flashschnet_lab.analysis.blocks import blocks, choose_frames, count_frames
from flashschnet_lab.analysis.contact_map import contact_map
from flashschnet_lab.analysis.observables import observe
from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.simulation.store import open_trajectory
from tests.trajectories import shaken, write_run

FRAMES, REPLICAS = 150, 5


@pytest.fixture(scope="module")
def helix():
    return build_chain("AGPWYK", "helix")


@pytest.fixture(scope="module")
def positions(helix) -> np.ndarray:
    return shaken(helix, FRAMES, REPLICAS, 1.0, seed=1)


@pytest.fixture(scope="module")
def run(helix, positions, tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("blocks") / "run", helix, positions)


@pytest.mark.parametrize("bytes_", [1, 50_000, 10**9])
@pytest.mark.parametrize("frames", [slice(None), slice(7, 120, 3), slice(149, 150), slice(0, 0)])
def test_blocks_cover_everything_once(run, positions, monkeypatch, bytes_, frames):
    monkeypatch.setattr(blocks_module, "BLOCK_BYTES", bytes_)
    trajectory = open_trajectory(run)
    expected = positions[frames]
    found, told = np.full(expected.shape, np.nan), []
    for block in blocks(trajectory, frames, lambda done, total: told.append((done, total))):
        assert np.isnan(found[block.place]).all()
        found[block.place] = block.positions
    np.testing.assert_array_equal(found, expected)
    assert count_frames(trajectory, frames) == len(expected)
    if len(expected):
        assert told[-1] == (len(expected) * REPLICAS,) * 2
        assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_choosing_frames(run):
    trajectory = open_trajectory(run)
    assert choose_frames(trajectory) == slice(0, FRAMES, 1)
    skipped = choose_frames(trajectory, skip_ps=1.0, every=4)  # frames lie 0.04 ps apart
    assert trajectory.times_ps[skipped][0] == pytest.approx(1.0)
    assert skipped.step == 4
    with pytest.raises(UserError, match="no frames after the first 7 ps: it ends at 6 ps"):
        choose_frames(trajectory, skip_ps=7.0)
    with pytest.raises(UserError, match="every 0"):
        choose_frames(trajectory, every=0)


def test_conformations_that_are_none_are_told(helix, positions, tmp_path):
    broken = positions.copy()
    broken[100:, 2, 3] = np.nan
    folder = write_run(tmp_path / "run", helix, broken, native=helix.positions)
    table = observe(folder, ["rmsd", "gdt_ts", "helix"])
    for name in ("rmsd", "gdt_ts", "helix"):
        missing = np.isnan(table[name])
        assert missing[100:, 2].all() and missing.sum() == FRAMES - 100


def test_a_long_run_is_never_in_memory_whole(helix, tmp_path, monkeypatch):
    """Of 8 MB of positions at most a quarter is held at a time, all float64 copies included."""
    frames, replicas = 3_000, 8
    one = np.broadcast_to(helix.positions.astype(np.float32), (frames, replicas, helix.beads, 3))
    folder = write_run(tmp_path / "run", helix, one, native=helix.positions, frames_per_chunk=64)
    whole = one.nbytes
    assert whole > 8e6
    monkeypatch.setattr(blocks_module, "BLOCK_BYTES", 100_000)
    trajectory = open_trajectory(folder)
    observe(folder, ["rmsd"], every=1000)  # what is imported or cached once is not counted
    tracemalloc.start()
    try:
        table = observe(folder, ["rmsd", "q", "rg", "end_to_end"])
        contact_map(trajectory)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    kept = sum(values.nbytes for values in table.values.values())
    assert table["rmsd"].shape == (frames, replicas)
    assert peak - kept < whole / 4
