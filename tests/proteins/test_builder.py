"""Chains of ideal geometry from a sequence."""

from __future__ import annotations

import numpy as np
import pytest

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.mdtraj_io import to_mdtraj_topology
from flashschnet_lab.proteins.protein import Protein

ALL_TWENTY = "ACDEFGHIKLMNPQRSTVWY"


def _torsions(protein: Protein, suffix: str) -> np.ndarray:
    """The torsions (degrees) of the terms whose names end so, computed by mdtraj."""
    import mdtraj

    rows = [
        row
        for row, term in zip(
            protein.topology.dihedrals.tolist(), protein.topology.dihedral_terms, strict=True
        )
        if term.endswith(suffix)
    ]
    trajectory = mdtraj.Trajectory(protein.positions / 10.0, to_mdtraj_topology(protein))
    return np.degrees(mdtraj.compute_dihedrals(trajectory, rows)[0].astype(float))


def _same_angle(found: np.ndarray, expected: float | np.ndarray) -> None:
    difference = (found - expected + 180.0) % 360.0 - 180.0
    np.testing.assert_allclose(difference, 0.0, atol=0.05)  # mdtraj computes in float32


def _angle(protein: Protein, names: tuple[str, str, str]) -> np.ndarray:
    """All angles (degrees) with these bead names."""
    angles = protein.topology.angles
    kinds = np.array(protein.bead_names)[angles]
    rows = np.all(kinds == names, axis=1) | np.all(kinds == names[::-1], axis=1)
    a, b, c = (protein.positions[column] for column in angles[rows].T)
    u, v = a - b, c - b
    cosine = (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
    return np.degrees(np.arccos(cosine))


@pytest.mark.parametrize(("shape", "phi", "psi"), [("extended", -120, 130), ("helix", -60, -45)])
def test_torsions(shape: str, phi: float, psi: float) -> None:
    protein = build_chain(ALL_TWENTY, shape)
    expected = np.full(19, float(phi))
    if shape == "extended":
        expected[ALL_TWENTY.index("P") - 1] = -65.0
    _same_angle(_torsions(protein, "phi"), expected)
    _same_angle(_torsions(protein, "psi"), psi)
    _same_angle(_torsions(protein, "omega"), 180.0)


def test_bond_lengths_and_angles() -> None:
    protein = build_chain("AAPAG", "extended")
    i, j = protein.topology.bonds.T
    lengths = np.linalg.norm(protein.positions[i] - protein.positions[j], axis=1)
    names = np.array(protein.bead_names)
    kinds = np.array([f"{a}-{b}" for a, b in zip(names[i], names[j], strict=True)])
    of = {kind: lengths[kinds == kind] for kind in np.unique(kinds)}
    np.testing.assert_allclose(of["N-CA"], [1.458, 1.458, 1.466, 1.458, 1.451])
    np.testing.assert_allclose(of["CA-C"], [1.525] * 4 + [1.516])
    np.testing.assert_allclose(of["C-O"], 1.231)
    np.testing.assert_allclose(of["CA-CB"], [1.521, 1.521, 1.530, 1.521])
    np.testing.assert_allclose(of["C-N"], [1.329, 1.341, 1.329, 1.329])
    np.testing.assert_allclose(
        _angle(protein, ("N", "CA", "C")), [111.2, 111.2, 111.8, 111.2, 112.5]
    )
    np.testing.assert_allclose(_angle(protein, ("N", "CA", "CB")), [110.4, 110.4, 103.0, 110.4])
    np.testing.assert_allclose(_angle(protein, ("CB", "CA", "C")), [110.5, 110.5, 110.1, 110.5])
    np.testing.assert_allclose(_angle(protein, ("C", "N", "CA")), [121.7, 122.6, 121.7, 120.6])
    np.testing.assert_allclose(_angle(protein, ("CA", "C", "N")), [116.2, 116.9, 116.2, 116.2])
    np.testing.assert_allclose(_angle(protein, ("CA", "C", "O")), 120.8)


@pytest.mark.parametrize("shape", ["extended", "helix"])
def test_left_handed_amino_acids_as_in_nature(shape: str, rhodopsin: Protein) -> None:
    nature = _torsions(rhodopsin, "gamma_1")
    built = _torsions(build_chain(ALL_TWENTY, shape), "gamma_1")
    assert len(built) == 19
    assert 0.0 < nature.min() < built.min() <= built.max() < nature.max()


@pytest.mark.parametrize("shape", ["extended", "helix"])
@pytest.mark.parametrize(
    "sequence",
    [
        ALL_TWENTY * 2,
        "P" * 40,
        "G" * 40,
        "AP" * 20,
        "AAPGG" * 8,
        "MGSWAEFKQRLAAIKTRLQALGGSEAELAAFEKEIAAFESELQAYKGKGNPEVEALRKEAAAIRDELQAYRHN",
    ],
)
def test_no_clashes(shape: str, sequence: str) -> None:
    protein = build_chain(sequence, shape)
    i, j = protein.topology.repulsion.T
    assert np.linalg.norm(protein.positions[i] - protein.positions[j], axis=1).min() > 2.5


def test_helix_rises_as_a_helix_does() -> None:
    alphas = build_chain("A" * 37, "helix", "ca").positions
    rise = np.linalg.norm(alphas[18:].mean(0) - alphas[:-18].mean(0)) / 18  # 18 residues, 5 turns
    assert 1.4 < rise < 1.6
    assert np.linalg.norm(build_chain("A" * 20).positions[-1]) > 30.0


def test_what_it_makes() -> None:
    protein = build_chain("yy dpe\nTGTWY", name="chignolin")
    assert protein.sequence == "YYDPETGTWY"
    assert protein.name == "chignolin"
    assert protein.beads == 49
    assert protein.label(7) == "A:TYR 2 CB"
    np.testing.assert_allclose(protein.positions.mean(axis=0), 0.0, atol=1e-12)
    ca = build_chain("YYDPETGTWY", mapping="ca")
    assert ca.bead_names == ("CA",) * 10
    is_ca = np.array(protein.bead_names) == "CA"
    np.testing.assert_allclose(
        np.diff(ca.positions, axis=0), np.diff(protein.positions[is_ca], axis=0)
    )


@pytest.mark.parametrize(
    ("sequence", "keywords", "message"),
    [
        ("YYXP", {}, 'Letter "X" at position 3'),
        ("A-A", {}, 'Letter "-" at position 2'),
        (" \n", {}, "sequence is empty"),
        ("AA", {"shape": "sheet"}, 'no shape "sheet": use extended or helix'),
        ("AA", {"mapping": "martini"}, 'no mapping "martini": use five_bead or ca'),
    ],
)
def test_mistakes(sequence: str, keywords: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_chain(sequence, **keywords)
