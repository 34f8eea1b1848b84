"""The protein value: masses, labels, fingerprint."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.protein import Residue, make_protein


def test_arrays() -> None:
    protein = build_chain("AG")
    assert protein.bead_names == ("N", "CA", "CB", "C", "O", "N", "CA", "C", "O")
    assert protein.bead_types.tolist() == [21, 22, 1, 23, 24, 21, 6, 23, 24]
    assert protein.residue_of_bead.tolist() == [0] * 5 + [1] * 4
    backbone = [14.007, 12.011, 12.011, 15.999]
    assert protein.masses.tolist() == [14.007, 12.011, 12.011, 12.011, 15.999, *backbone]
    assert protein.bead_types.dtype == protein.residue_of_bead.dtype == np.int64
    assert protein.masses.dtype == protein.positions.dtype == np.float64
    ca = build_chain("AG", mapping="ca")
    assert ca.bead_types.tolist() == [1, 6]
    assert ca.masses.tolist() == [12.011, 12.011]


def test_labels() -> None:
    assert Residue("TYR", 2, "", "A", 0).label() == "A:TYR 2"
    assert build_chain("AG").label(5) == "A:GLY 2 N"


def test_with_positions() -> None:
    protein = build_chain("AG")
    target = np.ones((9, 3), dtype=np.float32)
    moved = protein.with_positions(target)
    target += 1.0
    assert (moved.positions == 1.0).all() and moved.positions.dtype == np.float64
    assert moved.topology is protein.topology
    with pytest.raises(ValueError, match=r"\[9, 3\], not \(8, 3\)"):
        protein.with_positions(target[:-1])
    with pytest.raises(ValueError, match=r"\[9, 3\]"):
        make_protein("short", "five_bead", protein.residues, target[:-1])
    with pytest.raises(FrozenInstanceError):
        protein.positions = target  # type: ignore[misc]


def test_fingerprint_is_of_the_molecule() -> None:
    protein = build_chain("AGW")
    fingerprint = protein.fingerprint()
    # Fixed: stored trajectories and restarts are matched to proteins by it.
    assert fingerprint == "38346c44cf0ca3455091e812cf7f9cf0bf398655b905bcfa87a5a4a5d8524890"
    assert build_chain("AGW", "helix", name="other").fingerprint() == fingerprint
    assert protein.with_positions(protein.positions + 1.0).fingerprint() == fingerprint
    assert build_chain("AGY").fingerprint() != fingerprint
    assert build_chain("AGW", mapping="ca").fingerprint() != fingerprint
    renamed = [replace(residue, chain="B", number=7) for residue in protein.residues]
    same = make_protein("x", "five_bead", renamed, protein.positions)
    assert same.fingerprint() == fingerprint
    for change in ({"name": "TYR"}, {"segment": 1}):
        last = replace(protein.residues[2], **change)
        other = make_protein("x", "five_bead", (*protein.residues[:2], last), protein.positions)
        assert other.fingerprint() != fingerprint
