"""The trajectory store: what goes in comes out, also after a crash."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("zarr")

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.simulation import store_format
from flashschnet_lab.simulation.store import Trajectory, open_trajectory
from flashschnet_lab.simulation.store_writer import TrajectoryWriter

REPLICAS = 3
EVERY = 50  # steps between frames


@dataclass(frozen=True)
class Snapshot:
    """The smallest thing that is a frame."""

    step: int
    time_ps: float
    positions: np.ndarray
    potential_energy: np.ndarray
    kinetic_energy: np.ndarray
    temperature: np.ndarray


@pytest.fixture(scope="module")
def chignolin() -> Protein:
    """Chignolin's sequence as a straight chain, 49 beads."""
    return build_chain("YYDPETGTWY", name="chignolin")


def snapshot(protein: Protein, index: int, replicas: int = REPLICAS) -> Snapshot:
    """Frame `index` of a run that jitters around the start; the same numbers every time."""
    random = np.random.default_rng(index)
    jitter = random.normal(size=(replicas, protein.beads, 3))
    energies = random.normal(size=(3, replicas))
    step = index * EVERY
    return Snapshot(step, step * 0.004, protein.positions + jitter, *energies)


def write(path: Path, protein: Protein, frames: int, **options: Any) -> None:
    """Write `frames` frames, four to a chunk unless told otherwise."""
    options = {"frames_per_chunk": 4, **options}
    with TrajectoryWriter.create(path, protein, REPLICAS, **options) as writer:
        for index in range(frames):
            writer.append(snapshot(protein, index))


def assert_holds(trajectory: Trajectory, protein: Protein, frames: int, atol: float = 0.0) -> None:
    """Compare a trajectory with the first `frames` frames of the run, every number of them."""
    expected = [snapshot(protein, index) for index in range(frames)]
    assert trajectory.frames == frames
    assert trajectory.steps.tolist() == [frame.step for frame in expected]
    assert trajectory.times_ps.tolist() == [frame.time_ps for frame in expected]
    for name in ("potential_energy", "kinetic_energy", "temperature"):
        wanted = np.array([getattr(frame, name) for frame in expected]).reshape(frames, REPLICAS)
        np.testing.assert_array_equal(getattr(trajectory, name), wanted)
    for replica in range(REPLICAS):
        read = trajectory.positions(replica=replica)
        assert read.dtype == np.float32 and read.shape == (frames, protein.beads, 3)
        for index, frame in enumerate(expected):
            wanted = frame.positions[replica].astype(np.float32)
            np.testing.assert_allclose(read[index], wanted, rtol=0, atol=atol)


@pytest.mark.parametrize("frames", [0, 1, 4, 10])
def test_what_goes_in_comes_out(tmp_path: Path, chignolin: Protein, frames: int) -> None:
    write(tmp_path / "t.zarr", chignolin, frames, attributes={"temperature": 300.0})
    trajectory = open_trajectory(tmp_path / "t.zarr")
    assert_holds(trajectory, chignolin, frames)
    assert trajectory.replicas == REPLICAS
    assert trajectory.attributes == {"temperature": 300.0}


def test_run_folder_is_enough(tmp_path: Path, chignolin: Protein) -> None:
    write(tmp_path / "trajectory.zarr", chignolin, 2)
    assert open_trajectory(tmp_path).frames == 2


def test_protein_comes_back_whole(tmp_path: Path) -> None:
    protein = build_chain("GAPW", mapping="ca", name="four")
    write(tmp_path / "t.zarr", protein, 1)
    again = open_trajectory(tmp_path / "t.zarr").protein
    assert again.fingerprint() == protein.fingerprint()
    assert (again.name, again.mapping, again.residues) == ("four", "ca", protein.residues)
    np.testing.assert_array_equal(again.positions, protein.positions)
    np.testing.assert_array_equal(again.masses, protein.masses)
    np.testing.assert_array_equal(again.topology.angles, protein.topology.angles)


def test_quantised_to_the_resolution(tmp_path: Path, chignolin: Protein) -> None:
    write(tmp_path / "t.zarr", chignolin, 6, quantise=0.001)
    # Half the resolution, and what float32 adds to it at some tens of angstrom.
    assert_holds(open_trajectory(tmp_path / "t.zarr"), chignolin, 6, atol=0.000502)
    metadata = json.loads((tmp_path / "t.zarr/positions/.zarray").read_text())
    assert metadata["dtype"] == "<i4"


def test_quantising_refuses_what_does_not_fit(tmp_path: Path, chignolin: Protein) -> None:
    far = snapshot(chignolin, 0)
    far.positions[1, 2, 0] = 3e6
    path = tmp_path / "t.zarr"
    with TrajectoryWriter.create(path, chignolin, REPLICAS, quantise=0.001) as writer:
        with pytest.raises(UserError, match="without quantising"):
            writer.append(far)
        writer.append(snapshot(chignolin, 1))
    assert open_trajectory(path).steps.tolist() == [EVERY]


def test_slices_and_strides(tmp_path: Path, chignolin: Protein) -> None:
    write(tmp_path / "t.zarr", chignolin, 10)
    trajectory = open_trajectory(tmp_path / "t.zarr")
    everything = trajectory.positions(replica=2)
    for chosen in (slice(3, 9, 2), slice(-2, None), slice(5, 3), slice(None, 100)):
        np.testing.assert_array_equal(trajectory.positions(chosen, replica=2), everything[chosen])


def test_reading_a_replica_leaves_the_others_alone(tmp_path: Path, chignolin: Protein) -> None:
    path, replicas = tmp_path / "t.zarr", 4
    with TrajectoryWriter.create(path, chignolin, replicas, frames_per_chunk=64) as writer:
        for index in range(130):
            writer.append(snapshot(chignolin, index, replicas))
    files = sorted(file.name for file in (path / "positions").glob("[0-9]*"))
    assert files == [f"{frames}.{pair}.0.0" for frames in range(3) for pair in range(2)]
    for file in files:
        if file != "1.0.0.0":  # frames 64 to 127 of replicas 0 and 1
            (path / "positions" / file).write_bytes(b"not a chunk")
    read = open_trajectory(path).positions(slice(70, 120), replica=1)
    np.testing.assert_array_equal(
        read[0], snapshot(chignolin, 70, replicas).positions[1].astype(np.float32)
    )


def test_never_overwrites(tmp_path: Path, chignolin: Protein) -> None:
    write(tmp_path / "t.zarr", chignolin, 2)
    with pytest.raises(UserError, match="t.zarr exists.*choose another folder"):
        TrajectoryWriter.create(tmp_path / "t.zarr", chignolin, REPLICAS)
    assert open_trajectory(tmp_path / "t.zarr").frames == 2


def test_frames_must_come_in_order(tmp_path: Path, chignolin: Protein) -> None:
    with TrajectoryWriter.create(tmp_path / "t.zarr", chignolin, REPLICAS) as writer:
        writer.append(snapshot(chignolin, 3))
        with pytest.raises(ValueError, match="step 150 after that of step 150"):
            writer.append(snapshot(chignolin, 3))


def test_killed_process_loses_the_open_chunk_only(tmp_path: Path) -> None:
    path = tmp_path / "t.zarr"
    program = f"""
import os, sys
sys.path[:] = {[str(Path(__file__).parent), *sys.path]!r}
from test_store import REPLICAS, TrajectoryWriter, build_chain, snapshot
protein = build_chain("YYDPETGTWY")
writer = TrajectoryWriter.create({str(path)!r}, protein, REPLICAS, frames_per_chunk=4)
for index in range(10):
    writer.append(snapshot(protein, index))
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    trajectory = open_trajectory(path)
    assert_holds(trajectory, trajectory.protein, 8)


class FullDisk:
    """An array on a disk that has just filled up."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape = array.shape

    def resize(self, shape: tuple[int, ...]) -> None:
        """Grow, as the real one does: the metadata still fitted."""
        self._array.resize(shape)

    def __setitem__(self, where: slice, values: np.ndarray) -> None:
        """Fail as the operating system does."""
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", list(store_format.UNITS))
def test_full_disk_leaves_a_readable_store(tmp_path: Path, chignolin: Protein, name: str) -> None:
    path = tmp_path / "t.zarr"
    with pytest.raises(UserError, match="no space left on device.*first 8 frames are safe"):
        with TrajectoryWriter.create(path, chignolin, REPLICAS, frames_per_chunk=4) as writer:
            for index in range(12):
                if index == 8:
                    writer._arrays[name] = FullDisk(writer._arrays[name])
                writer.append(snapshot(chignolin, index))
    assert_holds(open_trajectory(path), chignolin, 8)

    with TrajectoryWriter.resume(path, 8 * EVERY) as writer:  # somebody has freed some space
        for index in range(8, 14):
            writer.append(snapshot(chignolin, index))
    assert_holds(open_trajectory(path), chignolin, 14)


def test_write_error_of_the_system(tmp_path: Path, chignolin: Protein) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "t.zarr"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(UserError, match="file too large.*first 4 frames are safe"):
        with TrajectoryWriter.create(path, chignolin, REPLICAS, frames_per_chunk=4) as writer:
            for index in range(4):
                writer.append(snapshot(chignolin, index))
            resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))  # a chunk takes about 6 kB
            try:
                for index in range(4, 8):
                    writer.append(snapshot(chignolin, index))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_holds(open_trajectory(path), chignolin, 4)


@pytest.mark.parametrize("kept", [0, 3, 4, 6, 8])
def test_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, chignolin: Protein, kept: int
) -> None:
    path = tmp_path / "t.zarr"
    write(path, chignolin, 10)
    with TrajectoryWriter.resume(path, kept * EVERY - 1) as writer:
        assert (writer.frames, writer.last_step) == (kept, (kept - 1) * EVERY if kept else -1)
        for index in range(kept, 13):
            writer.append(snapshot(chignolin, index))
    assert_holds(open_trajectory(path), chignolin, 13)


def test_crash_after_resuming_brings_no_old_frames_back(tmp_path: Path, chignolin: Protein) -> None:
    path = tmp_path / "t.zarr"
    write(path, chignolin, 8)
    writer = TrajectoryWriter.resume(path, 5 * EVERY - 1)
    for index in range(5, 7):
        writer.append(snapshot(chignolin, index))
    writer._arrays["step"] = FullDisk(writer._arrays["step"])
    with pytest.raises(UserError):
        writer.flush()
    assert_holds(open_trajectory(path), chignolin, 5)


def test_flushed_frames_can_be_read_while_the_run_goes_on(
    tmp_path: Path, chignolin: Protein
) -> None:
    path = tmp_path / "t.zarr"
    with TrajectoryWriter.create(path, chignolin, REPLICAS, frames_per_chunk=4) as writer:
        for index in range(7):
            writer.append(snapshot(chignolin, index))
            if index in (1, 5):
                writer.flush()
                assert_holds(open_trajectory(path), chignolin, index + 1)
    assert_holds(open_trajectory(path), chignolin, 7)


def test_errors_say_what_is_wrong(tmp_path: Path, chignolin: Protein) -> None:
    with pytest.raises(UserError, match="there is no trajectory at"):
        open_trajectory(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="is not a trajectory store"):
        open_trajectory(tmp_path / "folder")
    with pytest.raises(UserError, match="cannot create the trajectory"):
        (tmp_path / "file").touch()
        TrajectoryWriter.create(tmp_path / "file" / "t.zarr", chignolin, 1)
    with pytest.raises(UserError, match="not positive"):
        TrajectoryWriter.create(tmp_path / "t.zarr", chignolin, 1, quantise=0.0)

    write(tmp_path / "t.zarr", chignolin, 1)
    trajectory = open_trajectory(tmp_path / "t.zarr")
    with pytest.raises(UserError, match="no replica 3 in .*; it has 0 to 2"):
        trajectory.positions(replica=3)
    with pytest.raises(UserError, match="read forwards"):
        trajectory.positions(slice(None, None, -1))

    attributes = tmp_path / "t.zarr/.zattrs"
    newer = attributes.read_text().replace('"format_version": 1', '"format_version": 3')
    attributes.write_text(newer)
    with pytest.raises(UserError, match="upgrade flashschnet-lab"):
        open_trajectory(tmp_path / "t.zarr")


def test_mdtraj_view(tmp_path: Path, chignolin: Protein) -> None:
    pytest.importorskip("mdtraj")
    write(tmp_path / "t.zarr", chignolin, 6)
    trajectory = open_trajectory(tmp_path / "t.zarr")
    view = trajectory.to_mdtraj(1, slice(2, 5))
    assert view.n_frames == 3 and view.n_atoms == chignolin.beads
    np.testing.assert_allclose(view.xyz * 10, trajectory.positions(slice(2, 5), 1), rtol=1e-6)
    np.testing.assert_allclose(view.time, [0.4, 0.6, 0.8])
    assert [atom.name for atom in view.topology.atoms] == list(chignolin.bead_names)
