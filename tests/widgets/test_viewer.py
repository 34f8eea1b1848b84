"""The viewer's Python half: which frames it holds and sends. A browser test sees the rest."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flashschnet_lab.analysis.structure import rmsd
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.mdtraj_io import to_mdtraj_topology
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.widgets import viewer

if importlib.util.find_spec("nglview") is None:  # importing it here would be too early
    pytest.skip("nglview is not installed", allow_module_level=True)


@pytest.fixture(params=["five_bead", "ca"])
def helix(request: pytest.FixtureRequest) -> Protein:
    return build_chain("AGWKLE", shape="helix", mapping=request.param)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still until the test moves it."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(viewer, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def shaken(protein: Protein, frames: int) -> np.ndarray:
    """Return conformations [frames, beads, 3] that also drift away."""
    noise = np.random.default_rng(0).normal(size=(frames, protein.beads, 3))
    return protein.positions + noise + 10.0 * np.arange(frames)[:, None, None]


def test_one_conformation(helix: Protein) -> None:
    widget = viewer.view(helix, helix.positions + 1.0)
    assert widget.max_frame == 0
    names = [message["methodName"] for message in widget._ngl_msg_archive]
    assert names.index("loadFile") < names.index("addRepresentation")


@pytest.mark.parametrize("kind", ["numpy", "mdtraj"])
def test_a_trajectory_keeps_its_shapes_and_stays_in_sight(helix: Protein, kind: str) -> None:
    positions: Any = shaken(helix, 5)
    frames = positions
    if kind == "mdtraj":
        import mdtraj

        frames = mdtraj.Trajectory(positions / 10.0, to_mdtraj_topology(helix))
    movie = viewer.TrajectoryView(helix, frames)
    assert movie.widget.max_frame == 4
    for frame, original in zip(movie.frames, positions, strict=True):
        assert rmsd(frame, original) < 1e-4
        assert np.linalg.norm(frame.mean(axis=0) - movie.frames[0].mean(axis=0)) < 2.0


def test_following_a_run_keeps_all_frames_but_draws_few(
    helix: Protein, clock: SimpleNamespace
) -> None:
    movie = viewer.TrajectoryView(helix)
    drawn: list[int] = []
    movie.widget.observe(lambda change: drawn.append(change["new"]), "frame")
    run = [SimpleNamespace(positions=positions[None]) for positions in shaken(helix, 12)]
    for number, frame in enumerate(movie.follow(run)):  # type: ignore[arg-type]
        assert frame is run[number]
        clock.now += 0.04  # 25 frames per second arrive
    assert len(movie.frames) == 13 and movie.widget.max_frame == 12
    assert drawn == [1, 4, 7, 10, 12]  # at most 12 per second, and the last


def test_a_run_that_breaks_shows_its_last_frame(helix: Protein, clock: SimpleNamespace) -> None:
    def run() -> Any:
        for positions in shaken(helix, 3):
            yield SimpleNamespace(positions=positions[None])
        raise RuntimeError("stopped")

    movie = viewer.TrajectoryView(helix)
    with pytest.raises(RuntimeError, match="stopped"):
        list(movie.follow(run()))
    assert movie.widget.frame == 3


def test_a_loaded_page_gets_the_present_frame(
    helix: Protein, monkeypatch: pytest.MonkeyPatch
) -> None:
    movie = viewer.TrajectoryView(helix, shaken(helix, 3))
    movie.show_last()
    sent: list[Any] = []
    monkeypatch.setattr(type(movie.widget), "set_coordinates", lambda _, xyz: sent.append(xyz[0]))
    movie.widget._handle_custom_msg({"type": viewer.STRUCTURE_IS_LOADED}, [])
    np.testing.assert_array_equal(sent[0], movie.frames[2])
