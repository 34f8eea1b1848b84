"""The edge to mdtraj: beads as an `mdtraj.Topology`, and as a PDB file.

mdtraj's unit is the nanometre; topologies carry no positions, so nothing is converted here.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein

if TYPE_CHECKING:
    import mdtraj


def to_mdtraj_topology(protein: Protein) -> mdtraj.Topology:
    """Return the beads as an `mdtraj.Topology`, atom i being bead i.

    Each segment becomes a chain of its own, under its chain's identifier.
    """
    import mdtraj

    topology = mdtraj.Topology()
    chains: dict[int, Any] = {}
    residues = []
    for residue in protein.residues:
        if residue.segment not in chains:
            chains[residue.segment] = topology.add_chain(chain_id=residue.chain)
        chain = chains[residue.segment]
        residues.append(topology.add_residue(residue.name, chain, resSeq=residue.number))
    atoms = [
        topology.add_atom(
            name, mdtraj.element.get_by_symbol(name[0]), residues[index], serial=bead + 1
        )
        for bead, (name, index) in enumerate(
            zip(protein.bead_names, protein.residue_of_bead.tolist(), strict=True)
        )
    ]
    for i, j in protein.topology.bonds.tolist():
        topology.add_bond(atoms[i], atoms[j])
    return topology


def write_pdb(path: str | Path, protein: Protein, positions: np.ndarray | None = None) -> None:
    """Write the beads as a PDB file that `read_protein` maps back to the same beads.

    Every segment ends in TER. Written here because mdtraj's writer leaves out insertion codes.

    Args:
        path: the file to write.
        protein: the beads.
        positions: [beads, 3], or [models, beads, 3] for one model each, angstrom; the protein's
            own without it.

    Raises:
        UserError: if something does not fit the PDB format's columns: residue numbers beyond 9999,
            coordinates beyond 9999 A, more chains than single characters.
        ValueError: if the shape of positions is another one.
    """
    models = np.asarray(protein.positions if positions is None else positions, dtype=np.float64)
    if models.ndim == 2:
        models = models[None]
    if models.ndim != 3 or models.shape[1:] != (protein.beads, 3):
        raise ValueError(
            f"positions of {protein.name} are [{protein.beads}, 3], not {models.shape}"
        )
    if not np.all((models > -999.9995) & (models < 9999.9995)):
        raise UserError(
            f'"{path}" cannot hold coordinates that are no numbers or outside -999 to 9999 A: '
            "centre the molecule first."
        )
    heads = _pdb_heads(protein, path)
    lines: list[str] = []
    for number, model in enumerate(models, start=1):
        if len(models) > 1:
            lines.append(f"MODEL     {number:4d}")
        for (head, element, is_end), (x, y, z) in zip(heads, model.tolist(), strict=True):
            lines.append(f"ATOM  {head}{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {element:>2}")
            if is_end:
                lines.append("TER")
        if len(models) > 1:
            lines.append("ENDMDL")
    Path(path).write_text("\n".join([*lines, "END", ""]), encoding="ascii")


def _pdb_heads(protein: Protein, path: str | Path) -> list[tuple[str, str, bool]]:
    """Return per bead columns 7-30 of its record, its element, and whether a segment ends."""
    letters = _chain_letters([residue.chain for residue in protein.residues], path)
    heads = []
    for bead, (name, index) in enumerate(
        zip(protein.bead_names, protein.residue_of_bead.tolist(), strict=True)
    ):
        residue = protein.residues[index]
        if not -999 <= residue.number <= 9999:
            raise UserError(f'"{path}" cannot hold {residue.label()}: PDB numbers end at 9999.')
        next_bead = bead + 1
        is_end = (
            next_bead == protein.beads
            or protein.residues[protein.residue_of_bead[next_bead]].segment != residue.segment
        )
        head = (
            f"{(bead + 1) % 100000:5d}  {name:<3} {residue.own_name or residue.name:>3} "
            f"{letters[residue.chain]}{residue.number:4d}{residue.insertion or ' ':1}   "
        )
        heads.append((head, name[0], is_end))
    return heads


def _chain_letters(chains: Iterable[str], path: str | Path) -> dict[str, str]:
    """Give each chain one character: its own identifier, or a free one where that is longer."""
    names = list(dict.fromkeys(chains))
    characters = string.ascii_uppercase + string.ascii_lowercase + string.digits
    free = (character for character in characters if character not in names)
    letters = {}
    for name in names:
        letter = name if len(name) == 1 else next(free, None)
        if letter is None:
            raise UserError(f'"{path}" cannot hold {len(names)} chains: PDB has 62 identifiers.')
        letters[name] = letter
    return letters
