"""Reading structure files: PDB and mmCIF to residues, as the file has them.

PDB files are read with mdtraj's own parser, one level below `mdtraj.load`: the latter drops
occupancies and insertion codes, takes alternate locations in file order, and refuses a file whose
models differ in their atoms. mmCIF files are read with gemmi, because the last mdtraj for Python
3.10 cannot read them without OpenMM.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from flashschnet_lab.errors import UserError

_PDB_SUFFIXES = (".pdb", ".ent")
_CIF_SUFFIXES = (".cif", ".mmcif")

_BEAD_ATOMS = frozenset(("N", "CA", "CB", "C", "O"))
# Where a chain ends in two oxygens, force fields give the carbonyl oxygen a name of its own.
_TERMINAL_OXYGENS = ("OT1", "OC1", "OCT1", "O1")


@dataclass(frozen=True)
class FileResidue:
    """One residue as the file has it, amino acid or not.

    Attributes:
        name, number, insertion, chain: as in the file; an absent identifier is "".
        piece: counts up wherever the file ends a chain (TER, another chain identifier).
        hetero: listed in HETATM records.
        atoms: positions (angstrom) of those of N, CA, CB, C, O that the file has.
        alternate: some of these atoms had several locations.
        repeated: some of these atoms were listed twice.
    """

    name: str
    number: int
    insertion: str
    chain: str
    piece: int
    hetero: bool
    atoms: dict[str, tuple[float, float, float]]
    alternate: bool
    repeated: bool


@dataclass(frozen=True)
class _Atom:
    """One location of one atom."""

    residue: str
    name: str
    location: str
    occupancy: float
    position: tuple[float, float, float]


def structure_stem(path: Path) -> str:
    """Return the file's name without ".pdb", ".cif", ".gz" and the like."""
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return plain.stem


def read_residues(path: Path) -> tuple[list[FileResidue], int]:
    """Return the residues of a structure file's first model, and how many models there are.

    Args:
        path: PDB (.pdb, .ent) or mmCIF (.cif, .mmcif), also gzipped (.gz).

    Raises:
        UserError: if there is no such file, or if it is not a structure in one of these formats.
    """
    suffix = "".join(part.lower() for part in path.suffixes[-2:]).removesuffix(".gz")
    if not suffix.endswith(_PDB_SUFFIXES + _CIF_SUFFIXES):
        raise UserError(
            f'"{path}" is not named like a structure file: give a PDB (.pdb, .ent) or mmCIF (.cif, '
            ".mmcif) file, which may be gzipped (.gz)."
        )
    text = _read_text(path)
    parse = _parse_pdb if suffix.endswith(_PDB_SUFFIXES) else _parse_cif
    try:
        residues, models = parse(text)
    except ImportError:
        raise
    except Exception as error:  # mdtraj's parsers raise whatever a malformed line leads to
        raise UserError(
            f'"{path}" cannot be read as a structure ({error}): check that it is the complete file.'
        ) from error
    if not residues:
        raise UserError(f'"{path}" lists no atoms: give a PDB or mmCIF file of a protein.')
    return residues, models


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise UserError(f'There is no file "{path}": check the path.')
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f'"{path}" cannot be read ({error}): check that it is complete.') from error
    return data.decode("utf-8", errors="replace")  # remarks may be in any encoding


def _parse_pdb(text: str) -> tuple[list[FileResidue], int]:
    from mdtraj.formats.pdb.pdbstructure import PdbStructure

    lines, models = _first_pdb_model(text)
    structure = PdbStructure(io.StringIO("".join(lines)), load_all_models=False)
    residues = []
    for piece, chain in enumerate(structure.iter_chains()):
        for residue in chain:
            atoms = [
                _Atom(
                    location.residue_name.strip(),
                    atom.name,
                    location.alternate_location_indicator.strip(),
                    location.occupancy,
                    tuple(location.position.tolist()),
                )
                for atom in residue.atoms
                for location in atom.iter_locations()
            ]
            residues.append(
                _resolve(
                    atoms,
                    number=residue.number,
                    insertion=residue.insertion_code.strip(),
                    chain=chain.chain_id.strip(),
                    piece=piece,
                    hetero=residue.atoms[0].record_name == "HETATM",
                )
            )
    return residues, models


def _first_pdb_model(text: str) -> tuple[list[str], int]:
    """Return the atom and TER lines of the first model, and the number of models.

    Only these lines go to the parser: the rest cannot make it stumble, and later models cost
    nothing. Some programs part their models with END alone.
    """
    first: list[str] = []
    models = 0
    inside = False
    for line in text.splitlines(keepends=True):
        if line.startswith(("ATOM  ", "HETATM")):
            if not inside:
                models += 1
                inside = True
            if models == 1:
                first.append(line)
        elif line.startswith(("MODEL ", "ENDMDL")) or line.rstrip() == "END":
            inside = False
        elif line.startswith("TER") and inside and models == 1:
            first.append(line)
    return first, models


def _parse_cif(text: str) -> tuple[list[FileResidue], int]:
    from gemmi import cif

    tables = [block.find_mmcif_category("_atom_site.") for block in cif.read_string(text)]
    table = next((table for table in tables if len(table)), None)
    if table is None:
        return [], 0
    columns = [tag.removeprefix("_atom_site.") for tag in table.tags]
    rows = [_CifRow(columns, [cif.as_string(value) for value in row]) for row in table]
    models = list(dict.fromkeys(row.get("pdbx_PDB_model_num") for row in rows))
    residues = []
    pieces: dict[tuple[str, str], int] = {}
    for key, group in groupby(
        (row for row in rows if row.get("pdbx_PDB_model_num") == models[0]), _CifRow.residue_key
    ):
        entity, chain, number, insertion, _ = key
        atoms = list(group)
        residues.append(
            _resolve(
                [row.atom() for row in atoms],
                number=int(number or 0),
                insertion=insertion,
                chain=chain,
                piece=pieces.setdefault((entity, chain), len(pieces)),
                hetero=atoms[0].get("group_PDB") == "HETATM",
            )
        )
    return residues, len(models)


class _CifRow:
    """One row of mmCIF's atom_site table: what people call things (auth_*) before label_*."""

    def __init__(self, columns: list[str], values: list[str]) -> None:
        self._values = dict(zip(columns, values, strict=True))

    def get(self, *columns: str) -> str:
        """Return the first of these columns that holds a value, or ""."""
        for column in columns:
            value = self._values.get(column, "")  # gemmi reads "." and "?" as ""
            if value:
                return value
        return ""

    def residue_key(self) -> tuple[str, str, str, str, str]:
        return (
            self.get("label_asym_id"),
            self.get("auth_asym_id", "label_asym_id"),
            self.get("auth_seq_id", "label_seq_id"),
            self.get("pdbx_PDB_ins_code"),
            self.get("label_seq_id"),
        )

    def atom(self) -> _Atom:
        return _Atom(
            self.get("auth_comp_id", "label_comp_id"),
            self.get("auth_atom_id", "label_atom_id"),
            self.get("label_alt_id"),
            float(self.get("occupancy") or 1.0),
            (float(self.get("Cartn_x")), float(self.get("Cartn_y")), float(self.get("Cartn_z"))),
        )


def _resolve(atoms: list[_Atom], **residue: Any) -> FileResidue:
    """Choose one location for all atoms of a residue: the fullest one, or else the first.

    Where locations are different amino acids (a point mutation in the crystal), the residue takes
    the name of the chosen location.
    """
    occupancies: dict[str, list[float]] = defaultdict(list)
    for atom in atoms:
        if atom.location:
            occupancies[atom.location].append(atom.occupancy)
    chosen = max(occupancies, key=lambda location: fmean(occupancies[location]), default="")
    # Atoms that the chosen location lacks come from those without one, then from the others.
    ordered = sorted(atoms, key=lambda atom: (atom.location != chosen, atom.location != ""))
    name = ordered[0].residue
    found: dict[str, list[_Atom]] = defaultdict(list)
    for atom in ordered:
        if atom.residue == name:
            found[atom.name].append(atom)
    if "O" not in found:
        oxygen = next((name for name in _TERMINAL_OXYGENS if name in found), "O")
        found["O"] = found.pop(oxygen, [])
    beads = {bead: found[bead] for bead in _BEAD_ATOMS if found.get(bead)}
    locations = [[atom.location for atom in same] for same in beads.values()]
    return FileResidue(
        name=name,
        atoms={bead: same[0].position for bead, same in beads.items()},
        alternate=any(len(set(same)) > 1 for same in locations),
        repeated=any(len(set(same)) < len(same) for same in locations),
        **residue,
    )
