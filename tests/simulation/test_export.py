"""Exported replicas, read back with mdtraj."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

mdtraj = pytest.importorskip("mdtraj")

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.simulation import export
from flashschnet_lab.simulation.export import export_replica
from flashschnet_lab.simulation.store import Trajectory, open_trajectory
from flashschnet_lab.simulation.store_writer import TrajectoryWriter

FRAMES = 11
ROUNDING = {".xtc": 0.0051, ".dcd": 2e-5, ".pdb": 0.00051}  # angstrom


class Tumbling:
    """Frame `index` of two copies that drift and turn as rigid bodies."""

    def __init__(self, start: np.ndarray, index: int) -> None:
        angle = 0.3 * index
        turn = np.array(
            [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
        )
        self.step, self.time_ps = 10 * index, 0.04 * index
        self.positions = np.stack([start @ turn + index, start - index])
        self.potential_energy = self.kinetic_energy = self.temperature = np.zeros(2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a short trajectory of the villin headpiece's first helix."""
    protein = build_chain("LSDEDFKAVFG", shape="helix", name="helix")
    folder = tmp_path_factory.mktemp("run")
    with TrajectoryWriter.create(folder / "trajectory.zarr", protein, 2) as writer:
        for index in range(FRAMES):
            writer.append(Tumbling(protein.positions, index))
    return folder


@pytest.fixture
def trajectory(run: Path) -> Trajectory:
    return open_trajectory(run)


@pytest.mark.parametrize("suffix", export.FORMATS)
@pytest.mark.parametrize("at_once", [3, 1024])
def test_file_holds_the_replica(
    run: Path,
    trajectory: Trajectory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    at_once: int,
) -> None:
    monkeypatch.setattr(export, "FRAMES_AT_ONCE", at_once)
    written = export_replica(run, 1, tmp_path / f"out{suffix}", frames=slice(1, None, 2))
    assert sorted(tmp_path.iterdir()) == sorted(written)
    topology = mdtraj.load(str(tmp_path / "out.pdb")).topology
    assert [atom.name for atom in topology.atoms] == list(trajectory.protein.bead_names)

    loaded = mdtraj.load(str(written[0]), top=topology)
    expected = trajectory.positions(slice(1, None, 2), replica=1)
    assert loaded.n_frames == 5 and loaded.unitcell_lengths is None
    np.testing.assert_allclose(loaded.xyz * 10, expected, rtol=0, atol=ROUNDING[suffix])
    if suffix == ".xtc":
        np.testing.assert_allclose(loaded.time, trajectory.times_ps[1::2], rtol=1e-6)


def test_topology_beside_is_the_first_frame(
    run: Path, trajectory: Trajectory, tmp_path: Path
) -> None:
    export_replica(run, 0, tmp_path / "out.xtc", frames=slice(4, 9))
    first = mdtraj.load(str(tmp_path / "out.pdb"))
    assert first.n_frames == 1
    np.testing.assert_allclose(first.xyz[0] * 10, trajectory.positions(replica=0)[4], atol=0.00051)


def test_aligned_frames_lie_on_the_first(
    run: Path, trajectory: Trajectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "FRAMES_AT_ONCE", 4)
    export_replica(run, 0, tmp_path / "out.dcd", align=True)
    loaded = mdtraj.load(str(tmp_path / "out.dcd"), top=str(tmp_path / "out.pdb"))
    first = trajectory.positions(slice(0, 1), replica=0)
    np.testing.assert_allclose(loaded.xyz * 10, np.repeat(first, FRAMES, axis=0), atol=1e-3)


def test_overwrites_only_when_told(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out.pdb").write_text("precious")
    with pytest.raises(UserError, match="out.pdb exists"):
        export_replica(run, 0, tmp_path / "out.xtc")
    assert [file.name for file in tmp_path.iterdir()] == ["out.pdb"]
    assert (tmp_path / "out.pdb").read_text() == "precious"
    export_replica(run, 0, tmp_path / "out.xtc", force=True)
    assert mdtraj.load(str(tmp_path / "out.xtc"), top=str(tmp_path / "out.pdb")).n_frames == FRAMES


def test_errors_say_what_is_wrong(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="end its name in .xtc, .dcd, .pdb"):
        export_replica(run, 0, tmp_path / "out.h5")
    with pytest.raises(UserError, match="does not exist; create it"):
        export_replica(run, 0, tmp_path / "nowhere" / "out.xtc")
    with pytest.raises(UserError, match="there is no replica 2"):
        export_replica(run, 2, tmp_path / "out.xtc")
    with pytest.raises(UserError, match="has 11, none of them chosen"):
        export_replica(run, 0, tmp_path / "out.xtc", frames=slice(20, 30))
    with pytest.raises(UserError, match="there is no trajectory"):
        export_replica(tmp_path / "nowhere", 0, tmp_path / "out.xtc")
    assert list(tmp_path.iterdir()) == []


def test_pdb_refuses_coordinates_without_room(tmp_path: Path) -> None:
    protein = build_chain("AA")
    path = tmp_path / "t.zarr"
    with TrajectoryWriter.create(path, protein, 2) as writer:
        for index in (0, 10**9):
            writer.append(Tumbling(protein.positions, index))
    with pytest.raises(UserError, match="cannot hold frame 1 of the choice.*leave it out"):
        export_replica(path, 1, tmp_path / "out.pdb")
    assert [file.name for file in tmp_path.iterdir()] == ["t.zarr"]
