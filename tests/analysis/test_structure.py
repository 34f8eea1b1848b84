"""Structure measures against mdtraj on rhodopsin, against invariances and against known cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flashschnet_lab.analysis.structure import (
    c_alpha_indices,
    native_contacts,
    native_pairs,
    radius_of_gyration,
    rmsd,
    superpose,
)

mdtraj = pytest.importorskip("mdtraj")


@pytest.fixture(scope="module")
def rhodopsin_path() -> Path:
    """The real PDB file that ships inside nglview, found without importing nglview."""
    from importlib.metadata import distribution

    return Path(str(distribution("nglview").locate_file("nglview/datafiles/md_1u19.pdb")))


@pytest.fixture(scope="module")
def rhodopsin(rhodopsin_path: Path) -> mdtraj.Trajectory:
    """C-alpha trace as an mdtraj.Trajectory of one frame."""
    trajectory = mdtraj.load(str(rhodopsin_path))
    return trajectory.atom_slice(trajectory.topology.select("name CA"))


@pytest.fixture(scope="module")
def alphas(rhodopsin: mdtraj.Trajectory) -> np.ndarray:
    return 10.0 * rhodopsin.xyz[0].astype(np.float64)  # [beads, 3] angstrom


def random_rotations(count: int, seed: int = 0) -> np.ndarray:
    """Return proper rotations, [count, 3, 3]."""
    orthogonal, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(count, 3, 3)))
    return orthogonal * np.linalg.det(orthogonal)[:, None, None]


def test_rmsd_equals_mdtraj(rhodopsin: mdtraj.Trajectory, alphas: np.ndarray) -> None:
    noise = np.random.default_rng(1).normal(size=(5, *alphas.shape))
    noise *= np.array([0.2, 0.5, 1.0, 3.0, 8.0])[:, None, None]  # angstrom
    frames = (alphas + noise) @ random_rotations(5)  # [5, beads, 3]
    trajectory = mdtraj.Trajectory(frames / 10.0, rhodopsin.topology)
    expected = 10.0 * mdtraj.rmsd(trajectory, rhodopsin)
    np.testing.assert_allclose(rmsd(frames, alphas), expected, atol=1e-3)  # it counts in float32
    helix = np.arange(34, 64)
    expected = 10.0 * mdtraj.rmsd(trajectory, rhodopsin, atom_indices=helix)
    np.testing.assert_allclose(rmsd(frames, alphas, helix), expected, atol=1e-3)


def test_rmsd_ignores_rotation_and_translation(alphas: np.ndarray) -> None:
    shift = np.random.default_rng(3).normal(scale=100.0, size=(2, 3, 1, 3))
    moved = alphas @ random_rotations(6).reshape(2, 3, 3, 3) + shift  # [2, 3, beads, 3]
    assert rmsd(moved, alphas).shape == (2, 3)
    np.testing.assert_allclose(rmsd(moved, alphas), 0.0, atol=1e-9)
    np.testing.assert_allclose(superpose(moved, alphas), np.broadcast_to(alphas, moved.shape))


def test_superposition_by_a_selection_moves_all_beads(alphas: np.ndarray) -> None:
    half = np.arange(len(alphas) // 2)
    bent = alphas.copy()
    bent[len(half) :] += 5.0
    fitted = superpose(bent @ random_rotations(1)[0] - 7.0, alphas, half)
    np.testing.assert_allclose(fitted, bent, atol=1e-9)


def test_a_mirror_image_is_not_its_original(alphas: np.ndarray) -> None:
    assert rmsd(alphas * [1.0, 1.0, -1.0], alphas) > 5.0


def test_rmsd_of_known_cases() -> None:
    two = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    np.testing.assert_allclose(rmsd(2.0 * two, two), 1.0)  # each end is 1 angstrom away
    np.testing.assert_allclose(rmsd(np.zeros((4, 2, 3)), two), 1.0)


def test_tensors_are_accepted(alphas: np.ndarray) -> None:
    frames = torch.tensor(np.stack([alphas, 1.1 * alphas]), requires_grad=True)
    np.testing.assert_allclose(rmsd(frames, torch.tensor(alphas)), rmsd(frames.detach(), alphas))


def test_wrong_shapes_are_refused(alphas: np.ndarray) -> None:
    with pytest.raises(ValueError, match="same beads"):
        rmsd(alphas[:-1], alphas)


def test_radius_of_gyration(rhodopsin: mdtraj.Trajectory, alphas: np.ndarray) -> None:
    expected = 10.0 * mdtraj.compute_rg(rhodopsin)[0]
    np.testing.assert_allclose(radius_of_gyration(alphas), expected, rtol=1e-5)
    dumbbell = np.array([[[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]]])  # [1, 2, 3]
    np.testing.assert_allclose(radius_of_gyration(dumbbell), [1.5])
    heavy_end = radius_of_gyration(dumbbell, masses=np.array([2.0, 1.0]))
    np.testing.assert_allclose(heavy_end, [np.sqrt(2.0)])


def test_native_contacts_by_hand() -> None:
    native = np.array([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0], [0.0, 6.0, 0.0]])
    pairs = np.array([[0, 1], [0, 2]])
    stretched = native.copy()
    stretched[1, 0] = 6.0  # exactly lambda = 1.2 times its native distance: half a contact
    q = native_contacts(np.stack([stretched, 100.0 * native]), native, pairs)
    whole = 1.0 / (1.0 + np.exp(-5.0 * 0.2 * 6.0))
    np.testing.assert_allclose(q, [(0.5 + whole) / 2.0, 0.0], atol=1e-12)
    with pytest.raises(ValueError, match="No native contacts"):
        native_contacts(native, native, pairs[:0])


def test_native_contacts_of_rhodopsin(rhodopsin_path: Path) -> None:
    from flashschnet_lab.proteins.mapping import read_protein

    protein = read_protein(rhodopsin_path)
    alphas = c_alpha_indices(protein)
    assert len(alphas) == len(protein.residues)
    assert {protein.bead_names[index] for index in alphas} == {"CA"}
    pairs = native_pairs(protein)
    assert np.isin(pairs, alphas).all()
    ends = protein.positions[pairs]  # [pairs, 2, 3]
    assert np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1).max() < 8.0
    residues = protein.residue_of_bead[pairs]
    assert (residues[:, 1] - residues[:, 0]).min() > 3
    frames = np.stack([protein.positions, 3.0 * protein.positions])
    folded, unfolded = native_contacts(frames, protein.positions, pairs)
    assert folded > 0.99 and unfolded < 0.01
