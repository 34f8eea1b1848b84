"""Names and bead types of the amino acids."""

from __future__ import annotations

from flashschnet_lab.proteins import residues


def test_types_are_the_order_of_the_one_letter_codes() -> None:
    letters = "".join(residues.ONE_LETTER.values())
    assert letters == "".join(sorted(letters)) and len(letters) == 20
    assert [residues.RESIDUE_TYPES[name] for name in ("ALA", "GLY", "LEU", "TYR")] == [1, 6, 10, 20]


def test_the_residue_type_sits_on_cb_and_for_glycine_on_ca() -> None:
    def types(residue: str, mapping: str) -> list[int]:
        beads = residues.bead_names(residue, mapping)
        return [residues.bead_type(residue, bead, mapping) for bead in beads]

    assert types("TYR", "five_bead") == [21, 22, 20, 23, 24]
    assert types("GLY", "five_bead") == [21, 6, 23, 24]
    assert types("TYR", "ca") == [20]
    assert types("GLY", "ca") == [6]


def test_names_of_files() -> None:
    expected = {
        "TYR": "TYR",
        "MSE": "MET",
        "NLE": "LEU",
        "HIE": "HIS",
        "HSD": "HIS",
        "CYX": "CYS",
        "SEP": "SER",
        "NALA": "ALA",
        "CHIP": "HIS",
        "HOH": None,
        "NAG": None,
        "UNK": None,
    }
    assert {name: residues.standard_name(name) for name in expected} == expected


def test_a_name_has_one_meaning() -> None:
    sets = [
        set(residues.ONE_LETTER),
        set(residues.STANDARD_NAMES),
        residues.WATERS,
        residues.CAPS,
        residues.NUCLEOTIDES,
    ]
    assert len(set().union(*sets)) == sum(map(len, sets))
    assert set(residues.STANDARD_NAMES.values()) <= set(residues.ONE_LETTER)
