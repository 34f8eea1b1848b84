"""Rows of an embedding by residue: each model's own numbering decides, and never in silence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flashschnet_lab.checkpoints.embedding_maps import MLCG
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.bead_rows import BeadRows
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.protein import c_alpha_chain, make_protein

ROWS = BeadRows({"ALA": 3, "GLY": 5, "LEU": 7, "NLE": 9}, {"N": 1, "CA": 2, "C": 4, "O": 6})


def with_names(protein, **own):
    """Return a protein whose residues 1, 2, ... (r1, r2) have other names in their file."""
    residues = [
        replace(residue, own_name=own.get(f"r{residue.number}", "")) for residue in protein.residues
    ]
    return make_protein(protein.name, protein.mapping, residues, protein.positions)


def test_five_beads():
    rows = ROWS.of(build_chain("AG"), "model")
    assert rows.tolist() == [1, 2, 3, 4, 6, 1, 5, 4, 6]


def test_one_bead():
    assert ROWS.of(build_chain("AGL", mapping="ca"), "model").tolist() == [3, 5, 7]


def test_a_modified_residue_has_the_row_of_its_own_name():
    protein = with_names(build_chain("ALL", mapping="ca"), r3="NLE")
    assert ROWS.of(protein, "model").tolist() == [3, 7, 9]


def test_a_modified_residue_without_a_row_is_not_its_relative():
    protein = with_names(build_chain("AL", mapping="ca"), r2="MSE")
    with pytest.raises(UserError, match="no row for MSE .* --rename MSE=LEU"):
        ROWS.of(protein, "model")


def test_mlcg_numbers_as_we_do():
    """Five beads and one; norleucine is a leucine there."""
    for mapping in ("five_bead", "ca"):
        protein = build_chain("ACDEFGHIKLMNPQRSTVWY", mapping=mapping)
        np.testing.assert_array_equal(MLCG.of(protein, "mlcg"), protein.bead_types)
    protein = with_names(build_chain("AL", mapping="ca"), r2="NLE")
    assert MLCG.of(protein, "mlcg").tolist() == [1, 10]


def test_backbone_beads_need_rows_too():
    with pytest.raises(UserError, match="no row for N"):
        BeadRows({"ALA": 1}).of(build_chain("AA"), "model")


def test_round_trip():
    assert BeadRows.from_dict(ROWS.to_dict()) == ROWS
    assert ROWS.highest() == 9
    with pytest.raises(ValueError, match="whole numbers"):
        BeadRows.from_dict({"residues": {"ALA": 1.5}, "backbone": {}})


def test_the_c_alpha_chain_of_a_protein():
    whole = with_names(build_chain("AL"), r2="NLE")
    alpha = c_alpha_chain(whole)
    assert alpha.mapping == "ca" and alpha.residues == whole.residues
    beads = [n == "CA" for n in whole.bead_names]
    np.testing.assert_array_equal(alpha.positions, whole.positions[beads])
