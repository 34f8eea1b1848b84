"""Contact maps against mdtraj's distances, and their picture."""

from __future__ import annotations

import numpy as np
import pytest

from flashschnet_lab.analysis import contact_map as module
from flashschnet_lab.analysis.contact_map import contact_map, contact_map_picture
from flashschnet_lab.analysis.structure import c_alpha_indices, native_pairs
from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.simulation.store import open_trajectory
from tests.trajectories import shaken, write_run

mdtraj = pytest.importorskip("mdtraj")


@pytest.fixture(scope="module")
def protein():
    return embedded_protein("chignolin").protein


@pytest.fixture(scope="module")
def trajectory(protein, tmp_path_factory):
    positions = shaken(protein, 40, 3, 2.0, seed=4)
    positions[30:, 1] = np.nan
    folder = write_run(tmp_path_factory.mktemp("contacts") / "run", protein, positions)
    return open_trajectory(folder)


def test_against_mdtraj(protein, trajectory, monkeypatch):
    monkeypatch.setattr(module, "PAIR_FLOATS", 500)  # several pieces of a block
    found = contact_map(trajectory, slice(0, None, 2), native=protein.positions)
    near, counted = np.zeros((10, 10)), 0
    for replica in range(3):
        frames = trajectory.to_mdtraj(replica, slice(0, None, 2))
        frames = frames[np.isfinite(frames.xyz).all((1, 2))]
        alphas = c_alpha_indices(protein)
        pairs = np.array([(i, j) for i in alphas for j in alphas])
        apart = 10.0 * mdtraj.compute_distances(frames, pairs).reshape(-1, 10, 10)
        near += (apart < 8.0).sum(axis=0)
        counted += len(apart)
    assert found.conformations == counted == 55
    np.testing.assert_allclose(found.share, near / counted)


def test_native_contacts_lie_in_the_map(protein, trajectory):
    found = contact_map(trajectory, native=protein.positions)
    residues = protein.residue_of_bead[native_pairs(protein)]
    assert found.native[residues[:, 0], residues[:, 1]].all()
    assert found.native.sum() == 2 * len(residues)
    np.testing.assert_array_equal(found.native, found.native.T)
    axes, bar = contact_map_picture(found).axes
    assert "Å" in bar.get_ylabel()
    assert len(axes.lines[0].get_xdata()) == np.tril(found.native, k=-1).sum()


def test_only_chosen_conformations_count(trajectory):
    chosen = np.zeros((40, 3), dtype=bool)
    chosen[5, 2] = True
    found = contact_map(trajectory, counted=chosen)
    assert found.conformations == 1
    assert set(np.unique(found.share)) <= {0.0, 1.0}
