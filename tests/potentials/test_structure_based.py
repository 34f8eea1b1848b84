"""The structure-based teacher: which contacts there are, and the wells that they make."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.batch import Batch
from flashschnet_lab.potentials.structure_based import (
    CONTACT_DISTANCE,
    CUTOFF,
    DEFAULT_DEPTH,
    Contacts,
    StructureBased,
    native_contacts,
)
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.embedded import embedded_names, embedded_protein
from flashschnet_lab.proteins.protein import Protein, make_protein


def native(name: str) -> Protein:
    return embedded_protein(name).protein


def c_alphas(protein: Protein) -> Protein:
    """The C-alpha model at the C-alphas of a five-bead protein."""
    positions = protein.positions[np.array(protein.bead_names) == "CA"]
    return make_protein(protein.name, "ca", protein.residues, positions)


def potential(protein: Protein) -> StructureBased:
    return StructureBased([native_contacts(protein)], Batch((protein.beads,)))


def one_contact(r0: float, depth: float = 2.0) -> StructureBased:
    contacts = Contacts(np.array([[0, 1]]), np.array([r0]), np.array([depth]))
    return StructureBased([contacts], Batch((2,)))


def energy_at(potential: StructureBased, r: float) -> float:
    return potential(torch.tensor([[0.0, 0.0, 0.0], [0.0, r, 0.0]], dtype=torch.float64)).item()


def envelope(r: float) -> float:
    return 0.5 * (math.cos(math.pi * r / CUTOFF) + 1.0)


@pytest.mark.parametrize("name", embedded_names())
@pytest.mark.parametrize("form", [lambda p: p, c_alphas], ids=["five_bead", "ca"])
def test_contacts_are_native_pairs(name, form):
    protein = form(native(name))
    contacts = native_contacts(protein)
    i, j = contacts.pairs.T
    assert (i < j).all()
    assert len({tuple(pair) for pair in contacts.pairs.tolist()}) == len(contacts.pairs)
    assert (protein.residue_of_bead[j] - protein.residue_of_bead[i]).min() >= 3
    r = np.linalg.norm(protein.positions[j] - protein.positions[i], axis=1)
    np.testing.assert_allclose(contacts.r0, r)
    assert contacts.r0.max() < CUTOFF
    assert (contacts.depth == DEFAULT_DEPTH).all()


def test_contacts_by_double_loop():
    """Residues that touch attract through CA and CB; close backbone N and O attract too."""
    protein = native("trpcage")
    x, names, residue = protein.positions, protein.bead_names, protein.residue_of_bead
    beads = [dict[str, int]() for _ in protein.residues]
    for bead, name in enumerate(names):
        beads[residue[bead]][name] = bead
    expected = set()
    for a in range(len(beads)):
        for b in range(a + 3, len(beads)):
            r = {
                (m, n): np.linalg.norm(x[beads[a][m]] - x[beads[b][n]])
                for m in beads[a]
                for n in beads[b]
            }
            if min(r.values()) < CONTACT_DISTANCE["five_bead"]:
                expected.add((beads[a]["CA"], beads[b]["CA"]))
                ends = (beads[a].get("CB", beads[a]["CA"]), beads[b].get("CB", beads[b]["CA"]))
                expected.add(ends)
            for m, n in (("N", "O"), ("O", "N")):
                if r[m, n] < 3.5:
                    expected.add((beads[a][m], beads[b][n]))
    assert {tuple(pair) for pair in native_contacts(protein).pairs.tolist()} == expected


def test_glycine_attracts_through_its_c_alpha():
    protein = native("trpcage")
    glycine = [n for n, r in enumerate(protein.residues) if r.name == "GLY"]
    pairs = native_contacts(protein).pairs
    mixed = [
        (i, j) for i, j in pairs if {protein.bead_names[i], protein.bead_names[j]} == {"CA", "CB"}
    ]
    assert mixed  # glycine's C-alpha with another residue's C-beta
    for pair in mixed:
        (c_alpha,) = (bead for bead in pair if protein.bead_names[bead] == "CA")
        assert protein.residue_of_bead[c_alpha] in glycine


def test_the_energy_of_the_native_fold_is_the_depth_of_all_wells():
    protein = native("chignolin")
    contacts = native_contacts(protein)
    expected = -sum(d * envelope(r) for d, r in zip(contacts.depth, contacts.r0, strict=True))
    energy = potential(protein)(torch.from_numpy(protein.positions))
    assert energy.shape == (1,)
    assert energy.dtype == torch.float64
    assert energy.item() == pytest.approx(expected)


@pytest.mark.parametrize("name", embedded_names())
def test_leaving_the_native_fold_costs_energy(name):
    protein = native(name)
    teacher, x = potential(protein), torch.from_numpy(protein.positions)
    lowest = teacher(x).item()
    generator = torch.Generator().manual_seed(1)
    for size in (0.5, 1.0, 3.0):
        for _ in range(3):
            shift = size * torch.randn(x.shape, generator=generator, dtype=x.dtype)
            assert teacher(x + shift).item() > lowest
    extended = build_chain(protein.sequence).positions
    assert teacher(torch.from_numpy(extended)).item() > 0.3 * lowest


def test_the_wells_hold_the_starting_conformations():
    embedded = embedded_protein("1enh")
    teacher = potential(embedded.protein)
    lowest = teacher(torch.from_numpy(embedded.protein.positions)).item()
    for x in embedded.starts:
        assert lowest < teacher(torch.from_numpy(x)).item() < 0.5 * lowest


def test_one_well_by_hand():
    r0, r = 6.0, 7.1
    well = 0.6 * math.exp(-(1.1**2) / (2 * 0.8**2)) + 0.4 * math.exp(-(1.1**2) / (2 * 3.0**2))
    assert energy_at(one_contact(r0), r) == pytest.approx(-2.0 * well * envelope(r))
    assert energy_at(one_contact(r0), r0) == pytest.approx(-2.0 * envelope(r0))
    assert energy_at(one_contact(r0, depth=5.0), r0) == pytest.approx(-5.0 * envelope(r0))


def test_nothing_attracts_beyond_the_cutoff():
    well = one_contact(12.0)
    assert energy_at(well, CUTOFF - 0.1) < 0.0
    for r in (CUTOFF, CUTOFF + 1e-9, 100.0):
        assert energy_at(well, r) == 0.0
    protein = native("chignolin")
    x = (100.0 * torch.from_numpy(protein.positions)).requires_grad_()
    energy = potential(protein)(x)
    (gradient,) = torch.autograd.grad(energy.sum(), x)
    assert energy.item() == 0.0
    assert gradient.count_nonzero() == 0


def test_the_cutoff_is_smooth():
    well = one_contact(12.0)
    # The envelope falls with the square of the distance to the cutoff: no step, no kink.
    ratio = energy_at(well, CUTOFF - 1e-4) / energy_at(well, CUTOFF - 1e-2)
    assert ratio == pytest.approx(1e-4, rel=0.05)


def test_gradients_are_finite_differences():
    embedded = embedded_protein("chignolin")
    x = torch.from_numpy(embedded.starts[0]).requires_grad_()
    assert torch.autograd.gradcheck(potential(embedded.protein), x, atol=1e-6)


def test_a_batch_equals_separate_runs():
    proteins = [native("trpcage"), native("chignolin"), native("trpcage")]
    batch = Batch(tuple(p.beads for p in proteins))
    starts = [torch.from_numpy(embedded_protein(p.name).starts[n]) for n, p in enumerate(proteins)]
    teacher = StructureBased([native_contacts(p) for p in proteins], batch)
    together = teacher(torch.cat(starts))
    alone = torch.cat([potential(p)(x) for p, x in zip(proteins, starts, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("mapping", ["five_bead", "ca"])
def test_an_extended_chain_is_refused(mapping):
    chain = build_chain("YYDPETGTWYAAAA", mapping=mapping, name="stretched")
    with pytest.raises(UserError, match="stretched has no native contacts"):
        native_contacts(chain)


def test_a_helix_is_a_fold():
    contacts = native_contacts(build_chain("AAAAAAAAAA", "helix"))
    assert len(contacts.pairs) > 0


def test_neighbours_in_different_segments_may_touch():
    """Two strands side by side: each residue touches its image, two residues on in the list."""
    strand = build_chain("AA", name="two strands")
    residues = [*strand.residues, *(replace(r, segment=1) for r in strand.residues)]
    beside = strand.positions + np.array([0.0, 0.0, 4.8])
    positions = np.concatenate([strand.positions, beside])
    pair = make_protein(strand.name, "five_bead", residues, positions)
    touching = {tuple(r) for r in pair.residue_of_bead[native_contacts(pair).pairs].tolist()}
    assert {(0, 2), (1, 3)} <= touching
    assert all(a < 2 <= b for a, b in touching)
    with pytest.raises(UserError):
        native_contacts(make_protein("one chain", "five_bead", strand.residues, strand.positions))


def test_depth():
    protein = native("chignolin")
    x = torch.from_numpy(protein.positions)
    deep = StructureBased([native_contacts(protein, depth=5.0)], Batch((protein.beads,)))
    assert deep(x).item() == pytest.approx(2.5 * potential(protein)(x).item())
