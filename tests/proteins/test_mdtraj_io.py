"""mdtraj topologies and PDB files of beads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.mapping import read_protein
from flashschnet_lab.proteins.mdtraj_io import to_mdtraj_topology, write_pdb
from flashschnet_lab.proteins.protein import Protein, Residue, make_protein


@pytest.fixture
def pieces() -> Protein:
    """Two chains, the second of two segments whose ends touch."""
    chain = build_chain("AGWAGWPY")
    where = [("H", 1, "", 0), ("H", 2, "", 0), ("H", 2, "A", 0)]
    where += [("L", number, "", 1 + number // 9) for number in (7, 8, 9, 10, 11)]
    residues = [
        Residue(residue.name, number, insertion, name, segment)
        for residue, (name, number, insertion, segment) in zip(chain.residues, where, strict=True)
    ]
    return make_protein("pieces", "five_bead", residues, chain.positions)


def test_topology(pieces: Protein) -> None:
    topology = to_mdtraj_topology(pieces)
    assert [chain.chain_id for chain in topology.chains] == ["H", "L", "L"]
    assert [residue.resSeq for residue in topology.residues] == [1, 2, 2, 7, 8, 9, 10, 11]
    assert tuple(atom.name for atom in topology.atoms) == pieces.bead_names
    assert [atom.element.mass for atom in topology.atoms] == pytest.approx(pieces.masses, abs=2e-3)
    bonds = [[bond[0].index, bond[1].index] for bond in topology.bonds]
    assert bonds == pieces.topology.bonds.tolist()


@pytest.mark.parametrize("mapping", ["five_bead", "ca"])
def test_round_trip(tmp_path: Path, mapping: str) -> None:
    protein = build_chain("ACDEFGHIKLMNPQRSTVWY", mapping=mapping)
    write_pdb(tmp_path / "chain.pdb", protein)
    again = read_protein(tmp_path / "chain.pdb", mapping)
    assert again.fingerprint() == protein.fingerprint()
    assert again.residues == protein.residues
    assert again.report == ()
    np.testing.assert_allclose(again.positions, protein.positions, atol=5.1e-4)


def test_round_trip_of_segments_and_insertion_codes(tmp_path: Path, pieces: Protein) -> None:
    write_pdb(tmp_path / "pieces.pdb", pieces)
    again = read_protein(tmp_path / "pieces.pdb")
    assert again.residues == pieces.residues
    assert again.fingerprint() == pieces.fingerprint()


def test_round_trip_of_rhodopsin(tmp_path: Path, rhodopsin: Protein) -> None:
    write_pdb(tmp_path / "rhodopsin.pdb", rhodopsin)
    again = read_protein(tmp_path / "rhodopsin.pdb")
    assert again.fingerprint() == rhodopsin.fingerprint()
    np.testing.assert_array_equal(again.positions, rhodopsin.positions)  # the file had 0.01 A


def test_mdtraj_reads_what_is_written(tmp_path: Path, pieces: Protein) -> None:
    import mdtraj

    frames = pieces.positions + np.array([0.0, 1.0, 2.0])[:, None, None]
    write_pdb(tmp_path / "frames.pdb", pieces, frames)
    trajectory = mdtraj.load(tmp_path / "frames.pdb")
    np.testing.assert_allclose(trajectory.xyz * 10.0, frames, atol=6e-4)
    assert [atom.name for atom in trajectory.top.atoms] == list(pieces.bead_names)
    first = read_protein(tmp_path / "frames.pdb")
    assert first.report == ("The file holds 3 models: the first was read.",)


def test_records_have_the_columns_of_the_format(tmp_path: Path) -> None:
    write_pdb(tmp_path / "g.pdb", build_chain("GA"), np.arange(27.0).reshape(9, 3))
    lines = (tmp_path / "g.pdb").read_text().splitlines()
    assert lines[1] == (
        "ATOM      2  CA  GLY A   1       3.000   4.000   5.000  1.00  0.00           C"
    )
    assert lines[-2:] == ["TER", "END"]


def test_long_chain_identifiers_become_free_letters(tmp_path: Path, pieces: Protein) -> None:
    names = {"H": "A-2", "L": "A"}
    residues = tuple(replace(part, chain=names[part.chain]) for part in pieces.residues)
    write_pdb(tmp_path / "long.pdb", replace(pieces, residues=residues))
    again = read_protein(tmp_path / "long.pdb")
    assert [residue.chain for residue in again.residues] == ["B"] * 3 + ["A"] * 5


def test_what_does_not_fit(tmp_path: Path) -> None:
    protein = build_chain("AG")
    far = protein.positions + 1e4
    with pytest.raises(UserError, match="centre the molecule"):
        write_pdb(tmp_path / "far.pdb", protein, far)
    with pytest.raises(UserError, match="no numbers"):
        write_pdb(tmp_path / "far.pdb", protein, protein.positions * np.nan)
    with pytest.raises(ValueError, match=r"\[9, 3\]"):
        write_pdb(tmp_path / "far.pdb", protein, far[:-1])
    high = replace(
        protein, residues=(replace(protein.residues[0], number=10000), protein.residues[1])
    )
    with pytest.raises(UserError, match="A:ALA 10000"):
        write_pdb(tmp_path / "high.pdb", high)
    assert list(tmp_path.iterdir()) == []
