"""The proteins that come with the package: complete, folded, and stable on disk."""

from __future__ import annotations

import numpy as np
import pytest

from flashschnet_lab.analysis.structure import rmsd
from flashschnet_lab.errors import UserError
from flashschnet_lab.paths import data_folder
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.embedded import (
    embedded_names,
    embedded_protein,
    read_embedded,
    write_embedded,
)

SEQUENCES = {
    "chignolin": "YYDPETGTWY",
    "trpcage": "DAYAQWLKDGGPSSGRPPPS",
}
BEADS = {"chignolin": 49, "trpcage": 97, "1enh": 269}


def test_names() -> None:
    assert embedded_names() == sorted(BEADS)


@pytest.mark.parametrize("name", embedded_names())
def test_every_file_is_complete(name: str) -> None:
    embedded = embedded_protein(name)
    protein = embedded.protein
    assert protein.name == name
    assert protein.mapping == "five_bead"
    assert protein.beads == BEADS[name]
    assert protein.sequence == SEQUENCES.get(name, protein.sequence)
    assert len({residue.segment for residue in protein.residues}) == 1
    assert embedded.starts.shape == (8, protein.beads, 3)
    assert np.isfinite(protein.positions).all()
    assert np.isfinite(embedded.starts).all()
    assert "\n" not in embedded.title
    assert embedded.title


@pytest.mark.parametrize("name", embedded_names())
def test_the_molecule_is_the_chain_of_its_sequence(name: str) -> None:
    protein = embedded_protein(name).protein
    assert protein.fingerprint() == build_chain(protein.sequence).fingerprint()


@pytest.mark.parametrize("name", embedded_names())
def test_bonds_have_lengths_of_bonds(name: str) -> None:
    embedded = embedded_protein(name)
    i, j = embedded.protein.topology.bonds.T
    for x in (embedded.protein.positions, *embedded.starts):
        r = np.linalg.norm(x[j] - x[i], axis=1)
        assert r.min() > 1.0
        assert r.max() < 1.8


@pytest.mark.parametrize("name", embedded_names())
def test_starts_lie_near_the_reference_and_differ(name: str) -> None:
    embedded = embedded_protein(name)
    distances = rmsd(embedded.starts, embedded.protein.positions)
    assert distances.min() > 0.1
    assert distances.max() < 3.0
    assert len(np.unique(embedded.starts.reshape(len(embedded.starts), -1), axis=0)) == 8


def test_the_library_ignores_case() -> None:
    assert embedded_protein("ChigNolin").protein.name == "chignolin"


@pytest.mark.parametrize("name", ["villin", "", "../priors/ca", "chignolin.json"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    known = "comes with the package; there are 1enh, chignolin, trpcage"
    with pytest.raises(UserError, match=known):
        embedded_protein(name)


@pytest.mark.parametrize("name", embedded_names())
def test_files_are_stable_under_a_round_trip(name: str, tmp_path) -> None:
    source = data_folder() / "proteins" / f"{name}.json"
    embedded = read_embedded(source)
    path = tmp_path / "folder" / f"{name}.json"
    write_embedded(path, embedded.protein, embedded.starts, embedded.title, {"why": "a test"})
    again = read_embedded(path)
    assert again.protein.fingerprint() == embedded.protein.fingerprint()
    assert again.protein.residues == embedded.protein.residues
    assert again.title == embedded.title
    np.testing.assert_array_equal(again.protein.positions, embedded.protein.positions)
    np.testing.assert_array_equal(again.starts, embedded.starts)
    # Byte for byte, but for the line that says where the numbers come from.
    lines = [source.read_text().splitlines(), path.read_text().splitlines()]
    assert [one for one, other in zip(*lines, strict=True) if one != other] == [
        line for line in lines[0] if line.startswith(' "origin"')
    ]


def test_a_new_protein_is_written_to_a_thousandth_of_an_angstrom(tmp_path) -> None:
    chain = build_chain("AWGP", "helix", name="tiny")
    path = tmp_path / "tiny.json"
    write_embedded(path, chain, np.zeros((0, chain.beads, 3)), "four residues", {})
    again = read_embedded(path)
    assert again.protein.name == "tiny"
    assert again.protein.fingerprint() == chain.fingerprint()
    assert again.starts.shape == (0, chain.beads, 3)
    np.testing.assert_allclose(again.protein.positions, chain.positions, atol=5.1e-4)
