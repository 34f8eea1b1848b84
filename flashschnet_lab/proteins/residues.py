"""The amino acids: names, bead types, masses, and what else a structure file may call them.

Bead types follow the five-bead CGSchNet numbering: 1-20 are the amino acids in the order of their
one-letter codes, 21-24 the backbone beads N, CA, C, O. The amino acid's own type is carried by its
CB; glycine has none, so there the CA carries it.
"""

from __future__ import annotations

FIVE_BEAD = "five_bead"
CA_ONLY = "ca"
MAPPINGS = (FIVE_BEAD, CA_ONLY)

ONE_LETTER = {
    "ALA": "A", "CYS": "C", "ASP": "D", "GLU": "E", "PHE": "F",
    "GLY": "G", "HIS": "H", "ILE": "I", "LYS": "K", "LEU": "L",
    "MET": "M", "ASN": "N", "PRO": "P", "GLN": "Q", "ARG": "R",
    "SER": "S", "THR": "T", "VAL": "V", "TRP": "W", "TYR": "Y",
}  # fmt: skip
"""One-letter code of each standard amino acid, in the order of the bead types 1-20."""

THREE_LETTER = {letter: name for name, letter in ONE_LETTER.items()}

RESIDUE_TYPES = {name: number for number, name in enumerate(ONE_LETTER, start=1)}
BACKBONE_TYPES = {"N": 21, "CA": 22, "C": 23, "O": 24}

BEAD_MASSES = {"N": 14.007, "CA": 12.011, "CB": 12.011, "C": 12.011, "O": 15.999}
"""Mass of the atom that a bead sits on, dalton."""

_BEADS = ("N", "CA", "CB", "C", "O")
_GLYCINE_BEADS = ("N", "CA", "C", "O")

_VARIANTS = {
    # protonation states and disulfides, as force fields name them
    "ASP": "ASH ASPP ASPH",
    "GLU": "GLH GLUP GLUH",
    "HIS": "HIE HID HIP HSE HSD HSP HISE HISD HISH HISA HISB",
    "LYS": "LYN LSN LYSH",
    "ARG": "ARN ARGN",
    "CYS": "CYX CYM CYSH CYS2",
}
_MODIFIED = {
    # modified amino acids with an L backbone and a CB: names of the PDB's chemical component
    # dictionary, and LRT (with retinal) and YPL (with palmitic acid) of membrane simulations
    "ARG": "AGM CIR MMO DA2 2MR",
    "ASN": "MEN",
    "ASP": "PHD BFD BHD",
    "CYS": "CSO CSD CSX CSS CME OCS SMC SEC YCM SCH CAF CAS P1L SNC YPL",
    "GLN": "PCA",
    "GLU": "CGU",
    "GLY": "SAR",
    "HIS": "HIC MHS NEP",
    "LEU": "NLE",
    "LYS": "MLY MLZ M3L ALY KCX LLP LYR PYL LRT",
    "MET": "MSE FME MHO SME",
    "PRO": "HYP",
    "SER": "SEP SAC",
    "THR": "TPO",
    "TRP": "FTR HTR TRO TRQ",
    "TYR": "PTR TYS",
}

STANDARD_NAMES = {
    alias: standard
    for table in (_VARIANTS, _MODIFIED)
    for standard, aliases in table.items()
    for alias in aliases.split()
}
"""Variants and modified amino acids, by the standard amino acid whose bead stands for them."""

_MODIFIED_NAMES = frozenset(alias for aliases in _MODIFIED.values() for alias in aliases.split())

PROTONATION_STATES = {
    alias: standard for standard, aliases in _VARIANTS.items() for alias in aliases.split()
}
"""Protonation states and disulfides, by the amino acid that they are."""

WATERS = frozenset("HOH WAT H2O DOD TIP TIP3 TIP4 TIP5 TP3 T3P T4P SOL SPC OPC".split())
CAPS = frozenset("ACE NME NMA NH2 NHE FOR".split())
NUCLEOTIDES = frozenset("A C G U I DA DC DG DT DU DI RA RC RG RU DA5 DC5 DG5 DT5".split()) | {
    base + end for base in ("DA", "DC", "DG", "DT", "A", "C", "G", "U") for end in ("3", "5")
}


def standard_name(name: str) -> str | None:
    """Return the standard amino acid that a residue name of a file stands for, or None.

    Besides the tables above this knows the four-letter names that AMBER gives to the residues at
    the ends of a chain ("NALA", "CTYR").
    """
    if name in ONE_LETTER:
        return name
    if name in STANDARD_NAMES:
        return STANDARD_NAMES[name]
    if len(name) == 4 and name[0] in "NC":
        return standard_name(name[1:])
    return None


def modified_name(name: str) -> str:
    """Return a residue name of a file if it is a modified amino acid's ("NLE", "NNLE"), or "".

    Protonation states are no modifications: they are the amino acid itself.
    """
    if name in _MODIFIED_NAMES:
        return name
    if len(name) == 4 and name[0] in "NC" and name not in STANDARD_NAMES:
        return modified_name(name[1:])
    return ""


def bead_names(residue: str, mapping: str) -> tuple[str, ...]:
    """Return the bead names of one standard residue, in bead order."""
    if mapping == CA_ONLY:
        return ("CA",)
    return _GLYCINE_BEADS if residue == "GLY" else _BEADS


def bead_type(residue: str, bead: str, mapping: str) -> int:
    """Return the bead type of one bead of a standard residue."""
    carrier = "CA" if mapping == CA_ONLY or residue == "GLY" else "CB"
    return RESIDUE_TYPES[residue] if bead == carrier else BACKBONE_TYPES[bead]
