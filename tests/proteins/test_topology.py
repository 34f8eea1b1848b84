"""Bonds, angles, dihedrals and repelling pairs."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from flashschnet_lab.proteins import topology as module
from flashschnet_lab.proteins.mapping import read_protein
from flashschnet_lab.proteins.residues import bead_names
from flashschnet_lab.proteins.topology import Topology, build_topology, excluded_pairs

NAMES = ["TYR", "GLY", "ASP", "PRO", "GLY", "GLY", "THR", "PRO", "ALA", "TRP", "GLY"]
SEGMENTS = [0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 3]


def _as_read_either_way(row: tuple[int, ...]) -> tuple[int, ...]:
    return min(row, row[::-1])


def _named(indices: np.ndarray, terms: tuple[str, ...] | np.ndarray) -> set[tuple]:
    rows = {(str(term), tuple(row)) for row, term in zip(indices.tolist(), terms, strict=True)}
    assert len(rows) == len(indices)
    return rows


def _symmetric(rows: set[tuple]) -> set[tuple]:
    return {(term, _as_read_either_way(row)) for term, row in rows}


def _bonds_apart(topology: Topology, beads: int) -> np.ndarray:
    """Bonds on the shortest way between all beads (breadth-first search); -1 for no way."""
    neighbours: list[list[int]] = [[] for _ in range(beads)]
    for i, j in topology.bonds.tolist():
        neighbours[i].append(j)
        neighbours[j].append(i)
    apart = np.full((beads, beads), -1)
    for start in range(beads):
        front, steps = [start], 0
        while front:
            apart[start, front] = steps
            steps += 1
            front = [k for bead in front for k in neighbours[bead] if apart[start, k] < 0]
    return apart


@pytest.mark.parametrize(
    ("system", "file"),
    [("chignolin", "chignolin_CLN025"), ("trpcage", "trpcage_2JOF"), ("1enh", "homeodomain_1ENH")],
)
def test_equals_the_lists_of_mlcg(shared: Path, system: str, file: str) -> None:
    golden = np.load(shared / "golden" / "mlcg_prior_5bead.npz")
    names = golden["term_names"]
    protein = read_protein(shared / "pdb" / f"{file}.pdb")
    topology = protein.topology

    def expected(family: str) -> set[tuple]:
        terms = names[golden[f"{system}_{family}_term"]]
        return _named(golden[f"{system}_{family}_index"].T, terms)

    bonds = _named(topology.bonds, topology.bond_terms)
    angles = _named(topology.angles, topology.angle_terms)
    assert _symmetric(bonds) == _symmetric(expected("bonds"))
    assert _symmetric(angles) == _symmetric(expected("angles"))
    # As ordered indices: the sign of an improper hangs on it.
    assert _named(topology.dihedrals, topology.dihedral_terms) == expected("dihedrals")
    pairs = {_as_read_either_way(tuple(p)) for p in golden[f"{system}_repulsion_index"].T.tolist()}
    assert set(map(tuple, topology.repulsion.tolist())) == pairs
    assert len(topology.repulsion) == len(pairs)
    np.testing.assert_array_equal(protein.bead_types, golden[f"{system}_atom_types"])
    crystal = golden[f"{system}_pos"][list(golden[f"{system}_label"]).index("crystal")]
    np.testing.assert_allclose(protein.positions, crystal, atol=2e-5)  # stored in float32


def test_repulsion_starts_at_five_bonds_and_leaves_no_other_segment_out() -> None:
    topology = build_topology(NAMES, SEGMENTS, "five_bead")
    residue = [index for index, name in enumerate(NAMES) for _ in bead_names(name, "five_bead")]
    apart = _bonds_apart(topology, len(residue))
    expected = [
        [i, j]
        for i, j in combinations(range(len(residue)), 2)
        if residue[i] != residue[j] and (apart[i, j] < 0 or apart[i, j] >= 5)
    ]
    assert topology.repulsion.tolist() == expected
    assert topology.repulsion.dtype == np.int64


def test_ca_repulsion_starts_at_three_bonds() -> None:
    topology = build_topology(NAMES, SEGMENTS, "ca")
    apart = _bonds_apart(topology, len(NAMES))
    expected = [
        [i, j] for i, j in combinations(range(len(NAMES)), 2) if apart[i, j] < 0 or apart[i, j] >= 3
    ]
    assert topology.repulsion.tolist() == expected


@pytest.mark.parametrize("mapping", ["five_bead", "ca"])
def test_a_pair_is_excluded_or_repels(mapping: str, monkeypatch: pytest.MonkeyPatch) -> None:
    excluded = excluded_pairs(NAMES, SEGMENTS, mapping).tolist()
    repulsion = build_topology(NAMES, SEGMENTS, mapping).repulsion.tolist()
    beads = sum(len(bead_names(name, mapping)) for name in NAMES)
    everything = [list(pair) for pair in combinations(range(beads), 2)]
    assert excluded == sorted(excluded)
    assert sorted(excluded + repulsion) == everything
    monkeypatch.setattr(module, "_PAIRS_PER_BLOCK", 3 * beads)  # several blocks of rows
    assert build_topology(NAMES, SEGMENTS, mapping).repulsion.tolist() == repulsion


def test_angles_are_every_pair_of_bonds_at_a_bead() -> None:
    topology = build_topology(NAMES, SEGMENTS, "five_bead")
    ends: dict[int, list[int]] = {}
    for i, j in topology.bonds.tolist():
        ends.setdefault(i, []).append(j)
        ends.setdefault(j, []).append(i)
    expected = {
        _as_read_either_way((i, apex, k))
        for apex, around in ends.items()
        for i, k in combinations(around, 2)
    }
    assert {_as_read_either_way(tuple(row)) for row in topology.angles.tolist()} == expected
    assert len(topology.angles) == len(expected)


def test_dihedral_terms() -> None:
    topology = build_topology(["ALA", "PRO", "GLY"], [0, 0, 0], "five_bead")
    # ALA: N 0, CA 1, CB 2, C 3, O 4; PRO: N 5, CA 6, CB 7, C 8, O 9; GLY: N 10, CA 11, C 12, O 13
    assert _named(topology.dihedrals, topology.dihedral_terms) == {
        ("gamma_1", (0, 2, 3, 1)),
        ("ALA_psi", (0, 1, 3, 5)),
        ("gamma_2", (1, 4, 5, 3)),
        ("pro_omega", (1, 3, 5, 6)),
        ("PRO_phi", (3, 5, 6, 8)),
        ("gamma_1", (5, 7, 8, 6)),
        ("PRO_psi", (5, 6, 8, 10)),
        ("gamma_2", (6, 9, 10, 8)),
        ("non_pro_omega", (6, 8, 10, 11)),
        ("GLY_phi", (8, 10, 11, 12)),
    }


@pytest.mark.parametrize("mapping", ["five_bead", "ca"])
def test_nothing_crosses_segments(mapping: str) -> None:
    segment_of_bead = np.repeat(SEGMENTS, [len(bead_names(name, mapping)) for name in NAMES])
    topology = build_topology(NAMES, SEGMENTS, mapping)
    for rows in (topology.bonds, topology.angles, topology.dihedrals):
        segments = segment_of_bead[rows]
        assert (segments == segments[:, :1]).all()


def test_each_segment_has_its_own_ends() -> None:
    topology = build_topology(["ALA"] * 8, [0, 0, 0, 0, 1, 1, 2, 3], "five_bead")
    terms = Counter(topology.bond_terms)
    # Four residues: 5 bonds at either end and 9 between them. Two residues: all but the last
    # residue's own four touch the first. One residue: all four.
    assert terms == {"n_term_bonds": 5 + 5 + 4 + 4, "bulk_bonds": 9, "c_term_bonds": 5 + 4}


def test_ca_terms() -> None:
    topology = build_topology(["ALA"] * 5 + ["GLY"] * 2, [0] * 5 + [1] * 2, "ca")
    assert topology.bonds.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4], [5, 6]]
    assert topology.angles.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert topology.dihedrals.tolist() == [[0, 1, 2, 3], [1, 2, 3, 4]]
    assert set(topology.bond_terms) == {"ca_bonds"}
    assert set(topology.angle_terms) == {"ca_angles"}
    assert set(topology.dihedral_terms) == {"ca_dihedrals"}


def test_one_residue() -> None:
    topology = build_topology(["GLY"], [0], "five_bead")
    assert topology.bonds.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert topology.dihedrals.shape == (0, 4)
    assert topology.repulsion.shape == (0, 2)
    alone = build_topology(["GLY"], [0], "ca")
    assert alone.bonds.shape == (0, 2) and alone.repulsion.shape == (0, 2)
