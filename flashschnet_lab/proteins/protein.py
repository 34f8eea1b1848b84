"""A protein as the simulation sees it: residues, beads, positions, topology."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.residues import (
    BEAD_MASSES,
    CA_ONLY,
    MAPPINGS,
    ONE_LETTER,
    bead_names,
    bead_type,
)
from flashschnet_lab.proteins.topology import Topology, build_topology


@dataclass(frozen=True)
class Residue:
    """One amino acid of a chain.

    Attributes:
        name: standard three-letter name.
        number: residue number in the structure file.
        insertion: insertion code of the structure file, or "".
        chain: chain identifier, "A".
        segment: the continuous piece of chain; no bond, angle or dihedral joins two segments.
        own_name: of a modified amino acid, as the file calls it ("NLE"), or "". Its bead type is
            that of `name`, which stands for it; a model may have a row of its own for it.
    """

    name: str
    number: int
    insertion: str
    chain: str
    segment: int
    own_name: str = ""

    def label(self) -> str:
        """Return the residue as messages call it, "A:TYR 2"."""
        return f"{self.chain}:{self.name} {self.number}{self.insertion}"


@dataclass(frozen=True, eq=False)
class Protein:
    """Beads, where they are, and how they hang together.

    Attributes:
        name: what to call it.
        mapping: "five_bead" (N, CA, CB, C, O per residue; no CB for glycine) or "ca".
        residues: the amino acids in chain order.
        bead_names: per bead "N", "CA", "CB", "C" or "O".
        bead_types: [beads] int64; 1-20 amino acid, 21 N, 22 CA, 23 C, 24 O.
        residue_of_bead: [beads] int64, index into `residues`.
        masses: [beads] float64, dalton.
        positions: [beads, 3] float64, angstrom.
        topology: bonds, angles, dihedrals and repelling pairs.
        report: what was left out or changed on the way here, one sentence each.
    """

    name: str
    mapping: str
    residues: tuple[Residue, ...]
    bead_names: tuple[str, ...]
    bead_types: np.ndarray
    residue_of_bead: np.ndarray
    masses: np.ndarray
    positions: np.ndarray
    topology: Topology
    report: tuple[str, ...] = ()

    @property
    def beads(self) -> int:
        """Number of beads."""
        return len(self.bead_names)

    @property
    def sequence(self) -> str:
        """One letter per residue, all chains in a row."""
        return "".join(ONE_LETTER[residue.name] for residue in self.residues)

    def label(self, bead: int) -> str:
        """Return a bead as messages call it, "A:TYR 2 CB"."""
        return f"{self.residues[self.residue_of_bead[bead]].label()} {self.bead_names[bead]}"

    def with_positions(self, positions: np.ndarray) -> Protein:
        """Return the same protein elsewhere.

        Args:
            positions: [beads, 3], angstrom; copied.

        Raises:
            ValueError: if the shape is another one.
        """
        moved = np.array(positions, dtype=np.float64)
        if moved.shape != (self.beads, 3):
            raise ValueError(f"positions of {self.name} are [{self.beads}, 3], not {moved.shape}")
        return replace(self, positions=moved)

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) of what defines the molecule: the beads, not their positions.

        It covers the mapping, the residues' names and segments, and the beads' names and types; not
        the protein's name, its chain letters, residue numbers or report.
        """
        identity = {
            "mapping": self.mapping,
            "residues": [[part.name, part.segment] for part in self.residues],
            "beads": [*zip(self.bead_names, self.bead_types.tolist(), strict=True)],
        }
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def c_alpha_chain(protein: Protein) -> Protein:
    """Return the same chain with its C-alpha beads alone, where they are."""
    alpha = [bead for bead, name in enumerate(protein.bead_names) if name == "CA"]
    return make_protein(
        protein.name, CA_ONLY, protein.residues, protein.positions[alpha], protein.report
    )


def check_mapping(mapping: str) -> None:
    """Raise a `UserError` unless `mapping` is the name of a mapping."""
    if mapping not in MAPPINGS:
        raise UserError(f'There is no mapping "{mapping}": use {" or ".join(MAPPINGS)}.')


def make_protein(
    name: str,
    mapping: str,
    residues: Sequence[Residue],
    positions: np.ndarray,
    report: Sequence[str] = (),
) -> Protein:
    """Return the protein of these residues: everything else follows from them.

    Args:
        name: what to call it.
        mapping: "five_bead" or "ca".
        residues: the amino acids in chain order, under their standard names.
        positions: [beads, 3], angstrom, residue by residue in the order of `bead_names`.
        report: what was left out or changed.

    Raises:
        UserError: for an unknown mapping.
        ValueError: if positions and beads differ in number.
    """
    check_mapping(mapping)
    beads = [
        (index, residue.name, bead)
        for index, residue in enumerate(residues)
        for bead in bead_names(residue.name, mapping)
    ]
    positions = np.array(positions, dtype=np.float64)
    if positions.shape != (len(beads), 3):
        raise ValueError(f"positions of {name} are [{len(beads)}, 3], not {positions.shape}")
    return Protein(
        name=name,
        mapping=mapping,
        residues=tuple(residues),
        bead_names=tuple(bead for _, _, bead in beads),
        bead_types=np.array(
            [bead_type(residue, bead, mapping) for _, residue, bead in beads], dtype=np.int64
        ),
        residue_of_bead=np.array([index for index, _, _ in beads], dtype=np.int64),
        masses=np.array([BEAD_MASSES[bead] for _, _, bead in beads]),
        positions=positions,
        topology=build_topology(
            [residue.name for residue in residues],
            [residue.segment for residue in residues],
            mapping,
        ),
        report=tuple(report),
    )
