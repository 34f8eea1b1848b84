"""Reading structure files: formats, models, and what is no structure."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.mapping import read_protein
from flashschnet_lab.proteins.mdtraj_io import write_pdb
from flashschnet_lab.proteins.protein import Protein

Lines = Callable[..., list[str]]
Read = Callable[..., Protein]

CIF_HEAD = """\
data_TEST
#
loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_seq_id
_atom_site.pdbx_PDB_ins_code
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.occupancy
_atom_site.auth_seq_id
_atom_site.auth_asym_id
_atom_site.pdbx_PDB_model_num
"""


def _cif(protein: Protein) -> list[list[str]]:
    """Rows of an mmCIF atom_site table of the protein, as the PDB writes them."""
    rows = []
    for bead, (name, index) in enumerate(
        zip(protein.bead_names, protein.residue_of_bead, strict=True)
    ):
        residue = protein.residues[index]
        where = [f"{value:.3f}" for value in protein.positions[bead]]
        rows.append(
            ["ATOM", str(bead + 1), name[0], name, ".", residue.name, "A", str(index + 1)]
            + ["?", *where, "1.00", str(residue.number), "X", "1"]
        )
    return rows


def _write_cif(path: Path, rows: list[list[str]]) -> Path:
    path.write_text(CIF_HEAD + "\n".join(" ".join(row) for row in rows) + "\n#\n")
    return path


@pytest.mark.parametrize("suffix", [".pdb", ".ent", ".PDB", ".pdb.gz", ".cif", ".mmcif", ".cif.gz"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    built = build_chain("YYDPETGTWY")
    plain = tmp_path / ("plain.cif" if "cif" in suffix else "plain.pdb")
    if "cif" in suffix:
        _write_cif(plain, _cif(built))
    else:
        write_pdb(plain, built)
    path = tmp_path / f"pep.tide{suffix}"
    data = plain.read_bytes()
    path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    protein = read_protein(path)
    assert protein.name == "pep.tide"
    assert protein.sequence == built.sequence
    assert protein.bead_names == built.bead_names
    np.testing.assert_allclose(protein.positions, built.positions, atol=5.1e-4)


def test_mmcif_written_by_another_program(
    tmp_path: Path, rhodopsin_file: Path, rhodopsin: Protein
) -> None:
    import gemmi

    path = tmp_path / "rhodopsin.cif"
    gemmi.read_structure(str(rhodopsin_file)).make_mmcif_document().write_file(str(path))
    protein = read_protein(path)
    assert protein.fingerprint() == rhodopsin.fingerprint()
    np.testing.assert_allclose(protein.positions, rhodopsin.positions, atol=1e-3)


def test_mmcif_details(tmp_path: Path) -> None:
    built = build_chain("AMWA")
    rows = _cif(built)
    for row in rows:
        if row[5] == "MET":
            row[0], row[5] = "HETATM", "MSE"
        if row[5] == "TRP":
            row[8], row[13] = "B", "2"  # 2B follows 2
    cb = rows[2]
    rows[2:3] = [
        [*cb[:4], "A", *cb[5:9], "88.0", *cb[10:12], "0.20", *cb[13:]],
        [*cb[:4], "B", *cb[5:12], "0.80", *cb[13:]],
    ]
    water = [
        "HETATM",
        "99",
        "O",
        "O",
        ".",
        "HOH",
        "B",
        ".",
        "?",
        "9.0",
        "9.0",
        "9.0",
        "1.00",
        "201",
        "X",
        "1",
    ]
    second = [[*row[:-1], "2"] for row in rows]
    protein = read_protein(_write_cif(tmp_path / "test.cif", [*rows, water, *second]))
    assert [residue.label() for residue in protein.residues] == [
        "X:ALA 1",
        "X:MET 2",
        "X:TRP 2B",
        "X:ALA 4",
    ]
    assert {residue.segment for residue in protein.residues} == {0}
    np.testing.assert_allclose(protein.positions, built.positions, atol=5.1e-4)
    assert protein.report == (
        "The file holds 2 models: the first was read.",
        "Water left out: HOH (1).",
        "Residues read as standard amino acids: MSE as MET (1).",
        "Of alternate locations the one with the highest occupancy was kept: X:ALA 1.",
    )


def test_several_models(tmp_path: Path, pdb_lines: Lines, read: Read) -> None:
    first, second = pdb_lines("AGW"), pdb_lines("AGW", shift=9.0)[:-1]  # they need not agree
    expected = read(first)
    model = ["MODEL        1", *first, "TER", "ENDMDL", "MODEL        2", *second, "TER", "ENDMDL"]
    for lines in (model, [*first, "END", *second]):
        protein = read(lines)
        np.testing.assert_array_equal(protein.positions, expected.positions)
        assert protein.report == ("The file holds 2 models: the first was read.",)


def test_records_that_are_of_no_use_do_no_harm(pdb_lines: Lines, read: Read) -> None:
    junk = [
        "HEADER    SOMETHING",
        "CRYST1 no cell",
        "TER",
        "CONECT xx",
        "MODRES 1ABC MSE A    1  MET  SELENOMETHIONINE",
        "ANISOU    1  N   ALA A   1      100    100    100      0      0      0       N",
    ]
    atoms = [line[:54].rstrip() for line in pdb_lines("AGW")]  # no occupancy, no element
    assert read([*junk, *atoms, "CONECT    1    2"]).sequence == "AGW"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.pdb", None, 'There is no file ".*missing.pdb"'),
        ("protein.xyz", b"1", "is not named like a structure file: give a PDB"),
        ("protein.gz", b"1", "is not named like a structure file"),
        ("empty.pdb", b"", "lists no atoms"),
        ("empty.cif", b"", "cannot be read as a structure|lists no atoms"),
        ("prose.pdb", b"This is no structure.\nEND\n", "lists no atoms"),
        ("prose.cif", b"This is no structure.\n", "cannot be read as a structure|lists no atoms"),
        ("bytes.pdb", bytes(range(256)) * 9, "lists no atoms"),
        ("cell.cif", b"data_X\n_cell.length_a 1.0\n", "lists no atoms"),
        ("short.pdb", b"ATOM      1  N   ALA A   1      11.1\n", "cannot be read as a structure"),
        ("plain.pdb.gz", b"ATOM", "cannot be read"),
        ("cut.pdb.gz", gzip.compress(b"ATOM" * 99, mtime=0)[:-9], "cannot be read"),
    ],
)
def test_no_structure(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_protein(tmp_path / name)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.pdb").mkdir()
    with pytest.raises(UserError, match="There is no file"):
        read_protein(tmp_path / "folder.pdb")
