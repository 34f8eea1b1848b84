"""From a structure file to beads: what is protein, what is left out, where a chain is continuous.

Nothing is dropped or renamed in silence: what happened to the file's content is said in
`Protein.report`, and what has no safe answer is an error that names the residue.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count, pairwise
from math import dist
from pathlib import Path

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein, Residue, check_mapping, make_protein
from flashschnet_lab.proteins.residues import (
    CAPS,
    NUCLEOTIDES,
    ONE_LETTER,
    STANDARD_NAMES,
    WATERS,
    bead_names,
    modified_name,
    standard_name,
)
from flashschnet_lab.proteins.structure_file import FileResidue, read_residues, structure_stem

_LONGEST_PEPTIDE_BOND = 2.0
"""C-N distance (angstrom; a bond has 1.33) above which a chain counts as broken."""
_LONGEST_CA_STEP = 4.5
"""The same between neighbouring CA (3.8 trans, 2.9 cis), where a file has no C and N."""
_SHORTEST_BOND = 0.5
_NAMED_AT_MOST = 5

_Kept = tuple[FileResidue, str]
"""A residue of the file and the standard name that it is read as."""


def read_protein(
    path: str | Path,
    mapping: str = "five_bead",
    name: str | None = None,
    *,
    incomplete: str = "error",
    rename: Mapping[str, str] | None = None,
) -> Protein:
    """Read the protein of a structure file as beads.

    The first model is read. Water, ions, ligands, caps and nucleic acids are left out; of alternate
    locations the one with the highest occupancy is kept; protonation states and modified amino
    acids become the standard ones (`Residue.own_name` keeps what the file calls them, unless
    `rename` says what they are). A chain is cut where C and N of neighbours are more than 2 A
    apart. Positions stay where the file has them.

    Args:
        path: PDB (.pdb, .ent) or mmCIF (.cif, .mmcif), also gzipped (.gz).
        mapping: "five_bead" or "ca".
        name: what to call the protein; the file's name without it.
        incomplete: what to do with a residue that lacks an atom that a bead sits on: "error", or
            "drop" to leave the residue out, which breaks the chain there.
        rename: standard names for residues that are not known otherwise, {"LRT": "LYS"}.

    Raises:
        UserError: if the file cannot be read, holds no protein, lacks atoms, or has a residue in a
            chain that is no known amino acid.
    """
    check_mapping(mapping)
    if incomplete not in ("error", "drop"):
        raise UserError(f'incomplete="{incomplete}" is unknown: use "error" or "drop".')
    for other, standard in (rename or {}).items():
        if standard not in ONE_LETTER:
            raise UserError(
                f'rename={{"{other}": "{standard}"}} needs a standard amino acid such as "ALA".'
            )
    path = Path(path)
    listed, models = read_residues(path)
    report = []
    if models > 1:
        report.append(f"The file holds {models} models: the first was read.")
    listed, note = _name_chains(listed)
    report += note

    linked = _links(listed)
    kept = list(_amino_acids(listed, linked, rename or {}, path))
    report += _report_left_out(listed, kept)
    if not kept:
        raise UserError(f'"{path}" holds no protein: give a file with amino acids.')
    kept, note = _complete(kept, mapping, incomplete, path)
    report += note
    report += _report_changes(kept)
    segments, note = _segments([residue for residue, _ in kept])
    report += note

    residues = [
        Residue(
            standard,
            residue.number,
            residue.insertion,
            residue.chain,
            segment,
            "" if residue.name in (rename or {}) else modified_name(residue.name),
        )
        for (residue, standard), segment in zip(kept, segments, strict=True)
    ]
    positions = np.array(
        [
            residue.atoms[bead]
            for residue, standard in kept
            for bead in bead_names(standard, mapping)
        ]
    )
    if not np.isfinite(positions).all():
        raise UserError(f'"{path}" has coordinates that are not numbers: repair the file.')
    protein = make_protein(name or structure_stem(path), mapping, residues, positions, report)
    _check_bonds(protein, path)
    return protein


def _label(residue: FileResidue) -> str:
    return f"{residue.chain}:{residue.name} {residue.number}{residue.insertion}"


def _name_chains(listed: list[FileResidue]) -> tuple[list[FileResidue], list[str]]:
    """Give chains without an identifier the first free letters."""
    taken = {residue.chain for residue in listed}
    if "" not in taken:
        return listed, []
    candidates = chain(string.ascii_uppercase, map(str, count(1)))
    free = (letter for letter in candidates if letter not in taken)
    letters: dict[int, str] = {}
    named = []
    for residue in listed:
        if not residue.chain:
            if residue.piece not in letters and standard_name(residue.name):
                letters[residue.piece] = next(free)
            residue = replace(residue, chain=letters.get(residue.piece, ""))
        named.append(residue)
    given = ", ".join(dict.fromkeys(letters.values()))
    return named, [f"Chains without an identifier were named {given}."] if given else []


def _bond_length(before: FileResidue, after: FileResidue) -> tuple[str, float, float]:
    """Return which distance joins two neighbours, its length, and the longest that is a bond."""
    if "C" in before.atoms and "N" in after.atoms:
        return "C-N", dist(before.atoms["C"], after.atoms["N"]), _LONGEST_PEPTIDE_BOND
    if "CA" in before.atoms and "CA" in after.atoms:
        return "CA-CA", dist(before.atoms["CA"], after.atoms["CA"]), _LONGEST_CA_STEP
    return "CA-CA", float("inf"), _LONGEST_CA_STEP


def _is_bonded(before: FileResidue, after: FileResidue) -> bool:
    _, length, longest = _bond_length(before, after)
    return before.piece == after.piece and length <= longest


def _links(listed: Sequence[FileResidue]) -> list[bool]:
    """Tell for each residue of the file whether it is bonded to the one before or after it."""
    bonded = [False, *(_is_bonded(before, after) for before, after in pairwise(listed)), False]
    return [left or right for left, right in pairwise(bonded)]


def _amino_acids(
    listed: Sequence[FileResidue], linked: Sequence[bool], rename: Mapping[str, str], path: Path
) -> Iterator[_Kept]:
    """Yield the residues that are amino acids of a chain, with their standard names."""
    for residue, is_linked in zip(listed, linked, strict=True):
        if residue.name in CAPS:
            continue
        standard = rename.get(residue.name) or standard_name(residue.name)
        # A lone standard or unknown residue in HETATM records is a ligand, not part of a chain.
        is_modified = residue.name in STANDARD_NAMES or residue.name in rename
        if residue.hetero and not is_linked and not is_modified:
            continue
        if standard is None and residue.atoms.keys() >= {"N", "CA", "C"}:
            raise UserError(
                f'"{path}": {_label(residue)} is no amino acid that is known here. If a standard '
                f'one may stand for it, say so with rename={{"{residue.name}": "ALA"}}; otherwise '
                "remove it from the file."
            )
        if standard is not None:
            yield residue, standard


def _complete(
    kept: list[_Kept], mapping: str, incomplete: str, path: Path
) -> tuple[list[_Kept], list[str]]:
    """Return the residues that have an atom for each bead; others are an error, or dropped."""
    missing = {
        index: [bead for bead in bead_names(standard, mapping) if bead not in residue.atoms]
        for index, (residue, standard) in enumerate(kept)
    }
    lacking = [
        f"{_label(kept[index][0])} ({', '.join(beads)})"
        for index, beads in missing.items()
        if beads
    ]
    if not lacking:
        return kept, []
    if incomplete == "error":
        raise UserError(
            f'"{path}" lacks atoms that beads sit on: {_some(lacking)}. Complete the file '
            '(PDBFixer can), or leave these residues out with incomplete="drop".'
        )
    complete = [residue for index, residue in enumerate(kept) if not missing[index]]
    if not complete:
        raise UserError(
            f'"{path}" has no residue with all atoms of the mapping "{mapping}", for instance '
            f"{lacking[0]}: give a file with the whole backbone."
        )
    return complete, [f"Residues were left out because atoms are missing: {_some(lacking)}."]


def _segments(residues: Sequence[FileResidue]) -> tuple[list[int], list[str]]:
    """Return for each residue its continuous piece of chain, and a sentence for each break."""
    segments = [0]
    report = []
    for before, after in pairwise(residues):
        bonded = _is_bonded(before, after)
        segments.append(segments[-1] + (not bonded))
        if not bonded and before.piece == after.piece:
            kind, length, _ = _bond_length(before, after)
            report.append(
                f"The chain is broken between {_label(before)} and {_label(after)} "
                f"({kind} {length:.1f} A): no bond was put there."
            )
    return segments, report


def _check_bonds(protein: Protein, path: Path) -> None:
    """Refuse bonded beads that lie on one another: a placeholder for unknown coordinates."""
    i, j = protein.topology.bonds.T
    lengths = np.linalg.norm(protein.positions[i] - protein.positions[j], axis=1)
    for bond in np.flatnonzero(lengths < _SHORTEST_BOND)[:1]:
        raise UserError(
            f'"{path}" has {protein.label(i[bond])} and {protein.label(j[bond])} only '
            f"{lengths[bond]:.2f} A apart: repair the coordinates of the file."
        )


def _report_left_out(listed: Sequence[FileResidue], kept: Iterable[_Kept]) -> list[str]:
    """Say what in the file is not protein, by kind and name."""
    used = {id(residue) for residue, _ in kept}
    kinds: dict[str, Counter[str]] = {
        kind: Counter() for kind in ("Water", "Caps", "Nucleic acids", "Ions and ligands")
    }
    for residue in listed:
        if id(residue) not in used:
            kinds[_kind(residue.name)][residue.name] += 1
    return [f"{kind} left out: {_counts(names)}." for kind, names in kinds.items() if names]


def _kind(name: str) -> str:
    if name in WATERS:
        return "Water"
    if name in CAPS:
        return "Caps"
    return "Nucleic acids" if name in NUCLEOTIDES else "Ions and ligands"


def _report_changes(kept: Sequence[_Kept]) -> list[str]:
    """Say what in the protein was read as something else."""
    report = []
    renamed = Counter(
        f"{residue.name} as {standard}" for residue, standard in kept if residue.name != standard
    )
    if renamed:
        report.append(f"Residues read as standard amino acids: {_counts(renamed)}.")
    alternate = [_label(residue) for residue, _ in kept if residue.alternate]
    if alternate:
        report.append(
            "Of alternate locations the one with the highest occupancy was kept: "
            f"{_some(alternate)}."
        )
    repeated = [_label(residue) for residue, _ in kept if residue.repeated]
    if repeated:
        report.append(f"Of atoms listed twice the first was kept: {_some(repeated)}.")
    return report


def _counts(names: Counter[str]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sorted(names.items()))


def _some(items: Sequence[str]) -> str:
    """Name the first few items, and how many more there are."""
    named = ", ".join(items[:_NAMED_AT_MOST])
    more = len(items) - _NAMED_AT_MOST
    return f"{named} and {more} more" if more > 0 else named
