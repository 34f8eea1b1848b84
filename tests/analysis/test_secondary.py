"""Helices and strands of beads, against mdtraj's DSSP on all atoms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flashschnet_lab.analysis.secondary import (
    COIL,
    HELIX,
    STRAND,
    assign,
    secondary_picture,
    secondary_structure,
)
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.proteins.mapping import read_protein
from flashschnet_lab.simulation.store import open_trajectory
from tests.trajectories import write_run

mdtraj = pytest.importorskip("mdtraj")

LETTERS = {"H": HELIX, "E": STRAND}
FILES = ("homeodomain_1ENH", "proteinG_NuG2_1MI0", "villin_2F4K", "bba_1FME", "lambda_1LMB")


def of_all_atoms(path: Path) -> dict[int, int]:
    """Return the class of every residue by its number, from the file with all its atoms."""
    frame = mdtraj.load_frame(str(path), 0)
    letters = mdtraj.compute_dssp(frame)[0]
    return {
        residue.resSeq: LETTERS.get(letter, COIL)
        for residue, letter in zip(frame.topology.residues, letters, strict=True)
    }


@pytest.mark.golden
@pytest.mark.parametrize("name", FILES)
def test_against_dssp_on_all_atoms(shared: Path, name: str):
    path = shared / "pdb" / f"{name}.pdb"
    expected = of_all_atoms(path)
    for mapping, agreement in (("five_bead", 1.0), ("ca", 0.7)):
        protein = read_protein(path, mapping, incomplete="drop", rename={"NLE": "LEU"})
        known = np.array([expected[residue.number] for residue in protein.residues])
        found = assign(protein, protein.positions)
        assert (found == known).mean() >= agreement, (mapping, found, known)


@pytest.mark.parametrize("mapping", ["five_bead", "ca"])
def test_a_built_helix_and_a_stretched_chain(mapping: str):
    helix = build_chain("AAAKAAAKAAAKAAA", "helix", mapping=mapping)
    found = assign(helix, helix.positions)
    assert (found[2:-2] == HELIX).all() and (found != STRAND).all()
    stretched = build_chain("AAAKAAAKAAAKAAA", "extended", mapping=mapping)
    assert (assign(stretched, stretched.positions) == COIL).all()  # a strand needs a partner


def test_many_conformations_are_those_one_by_one():
    protein = embedded_protein("chignolin").protein
    frames = protein.positions + np.random.default_rng(2).normal(
        scale=0.3, size=(4, 3, protein.beads, 3)
    )
    together = assign(protein, frames)
    assert together.shape == (4, 3, len(protein.residues))
    np.testing.assert_array_equal(together[2, 1], assign(protein, frames[2, 1]))
    assert assign(protein, frames[:0]).shape == (0, 3, len(protein.residues))


def test_shares_and_profile_of_a_run(tmp_path: Path):
    helix = build_chain("AAAKAAAKAAAK", "helix")
    stretched = build_chain("AAAKAAAKAAAK", "extended")
    frames = np.stack([helix.positions, stretched.positions])[[0, 0, 0, 1]]  # 3 of 4 are helices
    folder = write_run(tmp_path / "run", helix, np.stack([frames, frames], axis=1))
    trajectory = open_trajectory(folder)
    found = secondary_structure(trajectory, native=helix.positions)
    classes = assign(helix, helix.positions)
    np.testing.assert_allclose(found.profile[:, 0], 0.75 * (classes == HELIX))
    np.testing.assert_allclose(found.shares[:3, :, 0], (classes == HELIX).mean())
    np.testing.assert_array_equal(found.shares[3], 0.0)
    np.testing.assert_array_equal(found.native, classes)
    only = secondary_structure(trajectory, counted=np.arange(4)[:, None].repeat(2, 1) == 3)
    np.testing.assert_array_equal(only.profile, 0.0)
    (axes,) = secondary_picture(found, helix).axes
    assert axes.get_ylabel() == "share of conformations"
