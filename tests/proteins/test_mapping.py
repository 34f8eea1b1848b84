"""From structure files to beads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.mapping import read_protein
from flashschnet_lab.proteins.protein import Protein

Lines = Callable[..., list[str]]
Read = Callable[..., Protein]

WATER = "HETATM 9000  O   HOH A 401      20.000  20.000  20.000  1.00  0.00           O"
ZINC = "HETATM 9001 ZN    ZN A 402      25.000  20.000  20.000  1.00  0.00          ZN"
CALCIUM = "HETATM 9002 CA    CA A 403      25.000  25.000  20.000  1.00  0.00          CA"
SUGAR = "HETATM 9003  C1  NAG A 404      25.000  25.000  25.000  1.00  0.00           C"
BASE = "ATOM   9004  N9   DA B   1      30.000  25.000  25.000  1.00  0.00           N"


def _residue(line: str) -> int:
    return int(line[22:26])


def _rename(lines: list[str], number: int, name: str, record: str = "ATOM  ") -> list[str]:
    """Call one residue something else."""
    return [
        record + line[6:17] + f"{name:>3}" + line[20:] if _residue(line) == number else line
        for line in lines
    ]


def _edges(protein: Protein) -> np.ndarray:
    """Number of beads nearer than 15 A, per bead."""
    difference = protein.positions[:, None] - protein.positions[None]
    near = (difference**2).sum(axis=-1) < 15.0**2
    np.fill_diagonal(near, False)
    return near.sum(axis=1)


def test_the_table_of_thirteen_proteins(shared: Path) -> None:
    sequences: dict[str, str] = {}
    rows: list[list[str]] = []
    for line in (shared / "pdb" / "TABLE.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 10 and cells[3].isdigit():
            rows.append(cells)
        elif line.startswith("- ") and ": " in line:
            file, sequence = line[2:].split(": ")
            sequences[file] = sequence
    assert len(rows) == len(sequences) == 13
    for _, _, file, residues, beads, _, bonds, edges, most, _ in rows:
        protein = read_protein(shared / "pdb" / f"{file}.pdb")
        neighbours = _edges(protein)
        assert protein.name == file
        assert protein.sequence == sequences[file]
        assert len(protein.residues) == int(residues)
        assert protein.beads == int(beads)
        assert len(protein.topology.bonds) == int(bonds)
        assert neighbours.sum() == int(edges)
        assert neighbours.max() == int(most)
        beads_only = read_protein(shared / "pdb" / "cg5" / f"{file}.pdb")
        assert beads_only.sequence == protein.sequence
        assert beads_only.bead_names == protein.bead_names
        np.testing.assert_allclose(beads_only.positions, protein.positions, atol=1e-9)


def test_rhodopsin(rhodopsin: Protein) -> None:
    assert len(rhodopsin.residues) == 348
    assert rhodopsin.beads == 5 * 348 - rhodopsin.sequence.count("G") == 1717
    assert rhodopsin.sequence.startswith("MNGTEGPNFYVPFSNKTGVVRSPFEAPQYYLAEPWQFSMLAAYMF")
    assert rhodopsin.sequence[295] == "K" and rhodopsin.sequence[321:323] == "CC"
    assert len(rhodopsin.topology.bonds) == 1716
    i, j = rhodopsin.topology.bonds.T
    lengths = np.linalg.norm(rhodopsin.positions[i] - rhodopsin.positions[j], axis=1)
    assert 1.1 < lengths.min() and lengths.max() < 1.7
    assert rhodopsin.report == (
        "Chains without an identifier were named A.",
        "Caps left out: ACE (1).",
        "Residues read as standard amino acids: ASH as ASP (1), GLH as GLU (1), LRT as LYS (1), "
        "YPL as CYS (2).",
    )


def test_an_unknown_residue_in_a_chain_is_named(rhodopsin_file: Path, tmp_path: Path) -> None:
    strange = tmp_path / "strange.pdb"
    strange.write_text(rhodopsin_file.read_text().replace(" LRT ", " QQQ "))
    with pytest.raises(UserError, match=r'A:QQQ 296 is no amino acid .* rename=\{"QQQ": "ALA"\}'):
        read_protein(strange)
    with pytest.raises(UserError, match="needs a standard amino acid"):
        read_protein(strange, rename={"QQQ": "XYZ"})
    assert read_protein(strange, rename={"QQQ": "LYS"}).sequence[295] == "K"


def test_ca_mapping(rhodopsin_file: Path, rhodopsin: Protein) -> None:
    ca = read_protein(rhodopsin_file, "ca")
    five = np.array(rhodopsin.bead_names) == "CA"
    np.testing.assert_array_equal(ca.positions, rhodopsin.positions[five])
    assert ca.beads == 348 and len(ca.topology.bonds) == 347
    assert ca.bead_types.min() == 1 and ca.bead_types.max() == 20


def test_beads_come_in_order_whatever_the_order_of_the_file(pdb_lines: Lines, read: Read) -> None:
    lines = pdb_lines("AGW")
    backwards = sorted(lines, key=lambda line: (_residue(line), -int(line[6:11])))
    assert backwards != lines
    expected, found = read(lines), read(backwards)
    assert (
        found.bead_names
        == ("N", "CA", "CB", "C", "O", "N", "CA", "C", "O") + expected.bead_names[:5]
    )
    np.testing.assert_array_equal(found.positions, expected.positions)
    assert found.fingerprint() == expected.fingerprint()


def test_what_is_not_protein_is_left_out_and_said(pdb_lines: Lines, read: Read) -> None:
    lines = [
        *pdb_lines("AGW"),
        "TER",
        WATER,
        WATER.replace("401", "405"),
        ZINC,
        CALCIUM,
        SUGAR,
        BASE,
    ]
    protein = read(lines)
    assert protein.sequence == "AGW"
    assert protein.report == (
        "Water left out: HOH (2).",
        "Nucleic acids left out: DA (1).",
        "Ions and ligands left out: CA (1), NAG (1), ZN (1).",
    )


def test_a_free_amino_acid_is_a_ligand(pdb_lines: Lines, read: Read) -> None:
    for name in ("GLU", "XYZ"):
        ligand = ["HETATM" + line[6:] for line in _rename(pdb_lines("E", shift=40.0), 1, name)]
        lines = [*pdb_lines("AGW"), "TER", *ligand]
        protein = read(lines)
        assert protein.sequence == "AGW"
        assert protein.report == (f"Ions and ligands left out: {name} (1).",)
        assert read(lines, rename={name: "GLU"}).sequence == "AGWE"  # when asked for


def test_hydrogens_side_chains_and_the_last_oxygen_are_ignored(
    pdb_lines: Lines, read: Read
) -> None:
    lines = pdb_lines("AG")
    spare = lines[-1]
    extra = [spare[:12] + name + spare[16:] for name in (" HA2", " OXT", " H  ", "1HA ")]
    assert read(lines + extra).beads == read(lines).beads == 9
    # Force fields rename both oxygens of the last residue.
    renamed = [*lines[:-1], spare[:12] + " OT1" + spare[16:], spare[:12] + " OT2" + spare[16:]]
    np.testing.assert_array_equal(read(renamed).positions, read(lines).positions)


def test_modified_residues_and_variants(pdb_lines: Lines, read: Read) -> None:
    lines = pdb_lines("AMAHA")
    lines = _rename(_rename(lines, 2, "MSE", record="HETATM"), 4, "HIE")
    protein = read(lines)
    assert protein.sequence == "AMAHA"
    assert len(protein.topology.bonds) == 24
    assert {residue.segment for residue in protein.residues} == {0}
    assert protein.report == (
        "Residues read as standard amino acids: HIE as HIS (1), MSE as MET (1).",
    )


def test_caps(pdb_lines: Lines, read: Read) -> None:
    lines = _rename(_rename(pdb_lines("AGWA"), 1, "ACE"), 4, "NME")
    protein = read(lines)
    assert protein.sequence == "GW"
    assert protein.report == ("Caps left out: ACE (1), NME (1).",)
    assert set(protein.topology.bond_terms) == {"n_term_bonds", "c_term_bonds"}


@pytest.mark.parametrize("mapping", ["five_bead", "ca"])
def test_a_break_in_a_chain(pdb_lines: Lines, read: Read, mapping: str) -> None:
    lines = [line for line in pdb_lines("AGWAGW") if _residue(line) != 3]
    protein = read(lines, mapping=mapping)
    assert [residue.segment for residue in protein.residues] == [0, 0, 1, 1, 1]
    assert len(protein.report) == 1
    assert protein.report[0].startswith("The chain is broken between A:GLY 2 and A:ALA 4 (C-N ")


def test_a_break_in_a_file_of_ca_only(pdb_lines: Lines, read: Read) -> None:
    whole = [line for line in pdb_lines("AGWAGW") if line[12:16] == " CA "]
    assert read(whole, mapping="ca").report == ()
    protein = read([line for line in whole if _residue(line) != 3], mapping="ca")
    assert [residue.segment for residue in protein.residues] == [0, 0, 1, 1, 1]
    assert "(CA-CA " in protein.report[0]


def test_chains_are_not_bonded_however_near(pdb_lines: Lines, read: Read) -> None:
    whole = pdb_lines("AGWA")
    first = [line for line in whole if _residue(line) <= 2]
    second = whole[len(first) :]
    joined = read(first + second)  # the same chain goes on
    assert {residue.segment for residue in joined.residues} == {0}
    other = [line[:21] + "B" + line[22:] for line in second]
    for lines in (first + other, [*first, "TER", *second]):
        protein = read(lines)
        assert [residue.segment for residue in protein.residues] == [0, 0, 1, 1]
        assert len(protein.topology.bonds) == len(joined.topology.bonds) - 1
        assert protein.report == ()
        assert protein.fingerprint() != joined.fingerprint()


def test_chains_without_identifier(pdb_lines: Lines, read: Read) -> None:
    lines = [
        *pdb_lines("AG", " "),
        "TER",
        *pdb_lines("GA", " ", 30.0),
        "TER",
        *pdb_lines("AA", "A", 60.0),
    ]
    protein = read(lines)
    assert [residue.chain for residue in protein.residues] == ["B", "B", "C", "C", "A", "A"]
    assert protein.report == ("Chains without an identifier were named B, C.",)


def test_the_fullest_of_alternate_locations(pdb_lines: Lines, read: Read) -> None:
    lines = pdb_lines("AGW")
    spoiled = []
    for line in lines:
        if _residue(line) == 1 and line[12:16] in (" CB ", " CA "):
            near = f"{line[:16]}A{line[17:38]}{99.0:8.3f}{line[46:54]}  0.30{line[60:]}"
            spoiled += [near, f"{line[:16]}B{line[17:54]}  0.70{line[60:]}"]
        else:
            spoiled.append(line)
    protein = read(spoiled)
    np.testing.assert_array_equal(protein.positions, read(lines).positions)
    assert protein.report == (
        "Of alternate locations the one with the highest occupancy was kept: A:ALA 1.",
    )
    tie = read([line.replace("  0.30", "  0.50").replace("  0.70", "  0.50") for line in spoiled])
    assert tie.positions[1, 1] == tie.positions[2, 1] == 99.0


def test_two_amino_acids_at_one_place(pdb_lines: Lines, read: Read) -> None:
    lines = pdb_lines("ASA")
    mutant = []
    for line in lines:
        if _residue(line) == 2:
            mutant.append(f"{line[:16]}A{line[17:54]}  0.40{line[60:]}")
    for line in lines:
        if _residue(line) == 2:
            mutant.append(f"{line[:16]}BTHR{line[20:54]}  0.60{line[60:]}")
    protein = read([*lines[:5], *mutant, *lines[10:]])
    assert protein.sequence == "ATA"
    assert protein.beads == 15


def test_atoms_listed_twice(pdb_lines: Lines, read: Read) -> None:
    lines = pdb_lines("AGW")
    protein = read([*lines[:5], lines[2][:30] + lines[0][30:], *lines[5:]])
    np.testing.assert_array_equal(protein.positions, read(lines).positions)
    assert protein.report == ("Of atoms listed twice the first was kept: A:ALA 1.",)


def test_missing_atoms_are_named(pdb_lines: Lines, read: Read) -> None:
    lines = pdb_lines("AGWAG")
    lines = [
        line for line in lines if (_residue(line), line[12:16]) not in ((3, " CB "), (3, " O  "))
    ]
    with pytest.raises(UserError, match=r'lacks atoms .*: A:TRP 3 \(CB, O\).*incomplete="drop"'):
        read(lines)
    protein = read(lines, incomplete="drop")
    assert protein.sequence == "AGAG"
    assert [residue.segment for residue in protein.residues] == [0, 0, 1, 1]
    assert protein.report[0] == "Residues were left out because atoms are missing: A:TRP 3 (CB, O)."
    assert "broken between A:GLY 2 and A:ALA 4" in protein.report[1]
    assert read(lines, mapping="ca").sequence == "AGWAG"  # its CA is there


def test_a_few_of_many_missing_atoms_are_named(pdb_lines: Lines, read: Read) -> None:
    lines = [line for line in pdb_lines("A" * 9) if line[12:16] != " CB "]
    with pytest.raises(UserError, match=r"A:ALA 5 \(CB\) and 4 more\. Complete"):
        read(lines)
    with pytest.raises(UserError, match="no residue with all atoms"):
        read(lines, incomplete="drop")
    with pytest.raises(UserError, match='use "error" or "drop"'):
        read(lines, incomplete="build")


def test_numbers_and_insertion_codes(pdb_lines: Lines, read: Read) -> None:
    lines = []
    for line in pdb_lines("AGW"):
        number = {1: "  -2 ", 2: "  52 ", 3: "  52A"}[_residue(line)]
        lines.append(line[:22] + number + line[27:])
    protein = read(lines)
    assert [residue.label() for residue in protein.residues] == [
        "A:ALA -2",
        "A:GLY 52",
        "A:TRP 52A",
    ]
    assert protein.label(11) == "A:TRP 52A CB"


def test_no_protein(pdb_lines: Lines, read: Read) -> None:
    with pytest.raises(UserError, match="holds no protein"):
        read([WATER, ZINC])


def test_coordinates_of_no_use(pdb_lines: Lines, read: Read) -> None:
    lines = pdb_lines("A")
    with pytest.raises(UserError, match="not numbers"):
        read([lines[0][:30] + "     nan" + lines[0][38:], *lines[1:]])
    with pytest.raises(UserError, match="A:ALA 1 N and A:ALA 1 CA only 0.00 A apart"):
        read([line[:30] + "   0.000" * 3 + line[54:] for line in lines])


def test_the_name_is_that_of_the_file(pdb_lines: Lines, read: Read) -> None:
    assert read(pdb_lines("AG")).name == "test"
    assert read(pdb_lines("AG"), name="dipeptide").name == "dipeptide"


def test_nothing_of_a_built_chain_changes(pdb_lines: Lines, read: Read) -> None:
    built = build_chain("ACDEFGHIKLMNPQRSTVWY")
    protein = read(pdb_lines("ACDEFGHIKLMNPQRSTVWY"))
    assert protein.fingerprint() == built.fingerprint()
    assert protein.residues == built.residues
    assert protein.report == ()
    np.testing.assert_allclose(protein.positions, built.positions, atol=5.1e-4)
