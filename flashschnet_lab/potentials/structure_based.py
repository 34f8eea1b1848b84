"""A structure-based (Go-type) teacher: every native contact attracts, so the native fold is lowest.

    E = - sum over native contacts c of  depth_c  w(r_c - r0_c)  C(r_c)
    w(x) = 0.6 exp(-x^2 / (2 * 0.8^2)) + 0.4 exp(-x^2 / (2 * 3.0^2))        (x in angstrom)

The narrow well holds the native distance, the wide one gives an unfolded chain a funnel. C is the
cosine envelope of the network's cutoff, so a SchNet with that cutoff can represent the teacher.
Priors supply the chain, its chirality and its excluded volume.

Contacts: residues at least three apart along the chain (or in different segments), one of whose
bead pairs lies within 6 A in the reference structure (8 A in a C-alpha model). Such residues
attract through their C-alphas and through their C-betas (C-alpha for glycine); backbone N and O
closer than 3.5 A attract too (a hydrogen bond). All contacts are equally deep. At the
default depth the two small proteins of the package keep their fold at 300 K and lose it
between 400 and 700 K; a network taught so let the larger 1ENH loosen within 0.1 ns, which therefore
has wells of 3 kcal/mol.

Sources: Go-type models: Clementi, Nymeyer, Onuchic, J. Mol. Biol. 298, 937 (2000); Gaussian
contact wells: Lammert, Schug, Onuchic, Proteins 77, 881 (2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from flashschnet_kernels.priors.reference import distances
from flashschnet_kernels.radial_basis.reference import cosine_envelope
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.batch import Batch, sum_per_molecule
from flashschnet_lab.proteins.protein import Protein

CONTACT_DISTANCE = {"five_bead": 6.0, "ca": 8.0}
HYDROGEN_BOND_DISTANCE = 3.5
SEQUENCE_SEPARATION = 3
NARROW_WIDTH, WIDE_WIDTH, NARROW_SHARE = 0.8, 3.0, 0.6
CUTOFF = 15.0
DEFAULT_DEPTH = 2.0
"""kcal/mol per contact."""


@dataclass(frozen=True, eq=False)
class Contacts:
    """Native contacts of one protein.

    Attributes:
        pairs: [contacts, 2] int64 bead indices.
        r0: [contacts] native distances in angstrom.
        depth: [contacts] well depths in kcal/mol.
    """

    pairs: np.ndarray
    r0: np.ndarray
    depth: np.ndarray


def native_contacts(protein: Protein, depth: float = DEFAULT_DEPTH) -> Contacts:
    """Find the contacts of a protein's reference conformation (`protein.positions`).

    Args:
        protein: five-bead or C-alpha protein in its native conformation.
        depth: of every well, kcal/mol.

    Raises:
        UserError: the structure has no contact (an extended chain has no fold to teach).
    """
    x = protein.positions
    i, j = np.triu_indices(protein.beads, 1)
    residue_i, residue_j = protein.residue_of_bead[i], protein.residue_of_bead[j]
    segments = np.array([r.segment for r in protein.residues])
    apart = residue_j - residue_i >= SEQUENCE_SEPARATION
    apart |= segments[residue_i] != segments[residue_j]
    i, j = i[apart], j[apart]
    r = np.linalg.norm(x[j] - x[i], axis=1)
    near = r < CONTACT_DISTANCE[protein.mapping]
    touching = {
        (int(a), int(b))
        for a, b in zip(
            protein.residue_of_bead[i[near]], protein.residue_of_bead[j[near]], strict=True
        )
    }
    centres = _representatives(protein)
    pairs = {
        (bead_a, bead_b)
        for a, b in touching
        for bead_a, bead_b in zip(centres[a], centres[b], strict=True)
    }
    names = np.array(protein.bead_names)
    backbone = ((names[i] == "N") & (names[j] == "O")) | ((names[i] == "O") & (names[j] == "N"))
    bonded = backbone & (r < HYDROGEN_BOND_DISTANCE)
    pairs |= {(int(a), int(b)) for a, b in zip(i[bonded], j[bonded], strict=True)}
    if not pairs:
        raise UserError(
            f"{protein.name} has no native contacts: a structure-based potential needs a folded "
            "structure, not an extended chain"
        )
    index = np.array(sorted(pairs), dtype=np.int64)
    r0 = np.linalg.norm(x[index[:, 1]] - x[index[:, 0]], axis=1)
    return Contacts(index, r0, np.full(len(index), depth))


def _representatives(protein: Protein) -> list[tuple[int, ...]]:
    """Return the beads of each residue that attract: (CA, CB), glycine (CA, CA), "ca" (CA,)."""
    beads: list[dict[str, int]] = [{} for _ in protein.residues]
    for bead, (name, residue) in enumerate(
        zip(protein.bead_names, protein.residue_of_bead, strict=True)
    ):
        beads[residue][name] = bead
    if protein.mapping == "ca":
        return [(b["CA"],) for b in beads]
    return [(b["CA"], b.get("CB", b["CA"])) for b in beads]


class StructureBased(nn.Module):
    """The contact energy of a batch of molecules.

    Args:
        contacts: of each molecule of the batch, in order.
        batch: the layout.
    """

    pairs: Tensor
    r0: Tensor
    depth: Tensor

    def __init__(self, contacts: Sequence[Contacts], batch: Batch) -> None:
        super().__init__()
        self.counts = [len(c.pairs) for c in contacts]
        pairs = batch.lay_out([torch.from_numpy(c.pairs) for c in contacts])
        self.register_buffer("pairs", pairs, persistent=False)
        for name in ("r0", "depth"):
            values = np.concatenate([getattr(c, name) for c in contacts])
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def forward(self, positions: Tensor) -> Tensor:
        """Return the contact energy [molecules] float64 in kcal/mol from [beads, 3] in angstrom."""
        r = distances(positions, self.pairs)
        x2 = (r - self.r0) ** 2
        well = NARROW_SHARE * torch.exp(-x2 / (2 * NARROW_WIDTH**2))
        well = well + (1 - NARROW_SHARE) * torch.exp(-x2 / (2 * WIDE_WIDTH**2))
        return sum_per_molecule(-self.depth * well * cosine_envelope(r, CUTOFF), self.counts)
