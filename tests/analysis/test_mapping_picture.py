"""Atoms beside beads: what is drawn is what the file and the mapping have."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from flashschnet_lab.analysis.mapping_picture import bonded_atoms, draw_mapping
from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.mdtraj_io import write_pdb

if importlib.util.find_spec("matplotlib") is None:
    pytest.skip("matplotlib is not installed", allow_module_level=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "chain.pdb"
    write_pdb(path, build_chain("AGWAK"))
    return path


def test_counts_and_beads(file: Path) -> None:
    figure = draw_mapping(file, 2, 4)  # G, W, A: 4 + 5 + 5 beads
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["all atoms: 14", "five beads: 14", "C-alpha: 3"]
    drawn = {text.get_text() for text in figure.axes[0].texts}
    assert drawn == {"GLY 2", "TRP 3", "ALA 4"}


def test_bonds_are_those_of_the_topology() -> None:
    chain = build_chain("AGWAK")
    found = bonded_atoms(list(chain.bead_names), chain.positions)
    assert {tuple(pair) for pair in found} == {tuple(sorted(p)) for p in chain.topology.bonds}


def test_hydrogens_have_one_bond() -> None:
    positions = np.array([[0.0, 0, 0], [1.0, 0, 0], [0.3, 0.95, 0], [1.5, 0, 0]])  # N, H, H, C
    found = bonded_atoms(["N", "H", "1HB", "C"], positions)
    assert found.tolist() == [[0, 1], [0, 2], [0, 3], [1, 3]]  # 0.5 A is no distance of a model


def test_residues_that_are_not_there(file: Path) -> None:
    with pytest.raises(UserError, match="no residues from 7 to 9"):
        draw_mapping(file, 7, 9)
