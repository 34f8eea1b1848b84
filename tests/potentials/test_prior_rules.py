"""Tables of priors that speak of some terms only, count beads, or let nearer beads repel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashschnet_lab.loading import default_prior
from flashschnet_lab.potentials.prior_table import FAMILIES, PriorRules, PriorTable
from flashschnet_lab.potentials.priors import Priors
from flashschnet_lab.proteins.builder import build_chain

RULES = {
    "no angles": PriorRules(("bonds", "dihedrals", "repulsion")),
    "no repulsion": PriorRules(("bonds", "angles", "dihedrals")),
    "second neighbours repel": PriorRules(ca_separation=2),
    "only far ones repel": PriorRules(ca_separation=6),
    "repulsion alone": PriorRules(("repulsion",)),
}


def table_with(rules: PriorRules) -> PriorTable:
    table = default_prior("ca")
    return PriorTable(table.bonds, table.angles, table.dihedrals, table.sigma, rules=rules)


def per_bead(protein) -> PriorTable:
    """Return the default table, written out for the beads of one molecule; five orders."""
    table, rules = default_prior("ca"), PriorRules(types="per_bead")
    rows: dict = {}
    for family in FAMILIES[:3]:
        index, names = rules.terms(family, protein)
        values = table.rows(family, protein, index, names).tolist()
        if family == "dihedrals":
            values = [[*v[:4], 0.0, 0.0, *v[4:], 0.0, 0.0] for v in values]
        rows[family] = {
            (name, tuple(beads)): tuple(value)
            for name, beads, value in zip(names, index.tolist(), values, strict=True)
        }
    sigma = table.sigma[np.ix_(protein.bead_types, protein.bead_types)]
    return PriorTable(rows["bonds"], rows["angles"], rows["dihedrals"], sigma, rules=rules)


@pytest.fixture
def protein():
    chain = build_chain("ACDEFGHIKLMN", "helix", "ca")
    noise = np.random.default_rng(0).normal(0.0, 0.3, chain.positions.shape)
    return chain.with_positions(chain.positions + noise)


@pytest.mark.parametrize("name", RULES)
def test_a_family_that_is_not_named_is_no_part_of_the_energy(protein, name):
    rules = RULES[name]
    priors = Priors(table_with(rules), [protein, protein])
    x = torch.from_numpy(protein.positions).repeat(2, 1)
    energies = priors(x)
    for family in FAMILIES:
        there = family in rules.families
        assert bool((energies[family] != 0.0).all()) is there
        assert (priors.counts[family][0] > 0) is there
    assert rules.counts(protein) == {f: priors.counts[f][0] for f in FAMILIES}


@pytest.mark.parametrize("separation", [1, 2, 3, 4, 6])
def test_beads_repel_from_their_separation_on(protein, separation):
    pairs = PriorRules(ca_separation=separation).repulsion(protein)
    i, j = np.triu_indices(protein.beads, separation)
    np.testing.assert_array_equal(pairs, np.stack([i, j], axis=1))
    excluded = PriorRules(ca_separation=separation).excluded(protein)
    assert len(pairs) + len(excluded) == protein.beads * (protein.beads - 1) // 2


@pytest.mark.parametrize("name", [*RULES, "per bead"])
def test_the_compiled_priors_obey_too(protein, name):
    pytest.importorskip("numba")
    table = per_bead(protein) if name == "per bead" else table_with(RULES[name])
    priors = Priors(table, [protein, protein])
    x = torch.from_numpy(protein.positions).repeat(2, 1)
    for found, expected in zip(
        priors.evaluate(x, "cpu"), priors.evaluate(x, "reference"), strict=True
    ):
        torch.testing.assert_close(found.sum(0), expected.sum(0), rtol=1e-9, atol=1e-9)


def test_a_table_of_one_molecule_counts_its_beads(protein):
    x = torch.from_numpy(protein.positions)
    own, general = Priors(per_bead(protein), [protein]), Priors(default_prior("ca"), [protein])
    for family, energy in general(x).items():
        torch.testing.assert_close(own(x)[family], energy)


def test_rules_are_kept_and_ordinary_tables_do_not_mention_them(protein):
    table = table_with(RULES["second neighbours repel"])
    assert PriorTable.from_json(table.to_json()).rules == table.rules
    own = per_bead(protein)
    assert PriorTable.from_json(own.to_json()).to_json() == own.to_json()
    assert "rules" not in default_prior("ca").to_json()


def test_unknown_rules_are_refused():
    with pytest.raises(ValueError, match="families"):
        PriorRules(("bonds", "impropers"))
    with pytest.raises(ValueError, match="types 'names'"):
        PriorRules(types="names")
    with pytest.raises(ValueError, match="at least 1"):
        PriorRules(ca_separation=0)
