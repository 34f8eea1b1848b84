"""How other packages number the amino acids: rows of their embeddings.

A wrong numbering gives wrong energies without any error, so nothing here is a default that could be
taken in silence: an importer detects the numbering, knows that there is only one, or asks for it.
"""

from __future__ import annotations

import json
from pathlib import Path

from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.bead_rows import BeadRows
from flashschnet_lab.proteins.residues import BACKBONE_TYPES, PROTONATION_STATES, RESIDUE_TYPES

MLCG = BeadRows({**RESIDUE_TYPES, "NLE": RESIDUE_TYPES["LEU"]}, dict(BACKBONE_TYPES))
"""mlcg's numbering for one and for five beads; norleucine is a leucine there."""


def _numbered(names: str, skipped: tuple[int, ...] = ()) -> BeadRows:
    rows = (row for row in range(1, 100) if row not in skipped)
    return BeadRows(dict(zip(names.split(), rows, strict=False)))


_TORCHMD = "ALA GLY PHE TYR ASP GLU TRP PRO ASN GLN HIS SER THR VAL MET CYS NLE ARG LYS LEU ILE"
TORCHMD = {
    "torchmd-2021": _numbered(_TORCHMD, skipped=(18,)),
    "torchmd-exp": _numbered(_TORCHMD),
}
"""The two numberings of TorchMD's C-alpha models: that of the force-matched models of Majewski et
al. (2023), where 18 is unused, and the later one of torchmd-exp, where it is arginine."""


def named_map(name: str, known: dict[str, BeadRows]) -> BeadRows:
    """Return a map by its name, or from a JSON file {"ALA": 1, ...}.

    A file may also be {"residues": {...}, "backbone": {"N": 21, ...}}. Protonation states may be
    named where they have the row of their amino acid.

    Raises:
        UserError: neither a known name nor such a file.
    """
    if name in known:
        return known[name]
    path = Path(name)
    if not path.is_file():
        raise UserError(
            f"--embedding {name!r} is neither one of {', '.join(known)} nor a JSON file of rows by "
            'residue, {"ALA": 1, "GLY": 2}'
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if "residues" not in values:
            values = {"residues": values, "backbone": {}}
        rows = BeadRows.from_dict(values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no JSON file of rows by residue ({error})") from error
    return BeadRows(_without_states(rows.residues, path), rows.backbone)


def _without_states(residues: dict[str, int], path: Path) -> dict[str, int]:
    """Return rows of amino acids, those of protonation states folded into them."""
    found = {name: row for name, row in residues.items() if name not in PROTONATION_STATES}
    for name, row in residues.items():
        standard = PROTONATION_STATES.get(name, name)
        if found.setdefault(standard, row) != row:
            raise UserError(
                f"{path} gives {name} another row than {standard}; protonation states with rows of "
                "their own are not supported"
            )
    return found
