"""The priors of a molecule: every term has parameters, and none is counted twice or left out."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from flashschnet_kernels.priors import reference as terms
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import default_prior
from flashschnet_lab.potentials.prior_table import PriorTable, load_prior_table
from flashschnet_lab.potentials.priors import FAMILIES, Priors
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.embedded import embedded_names, embedded_protein
from flashschnet_lab.proteins.protein import make_protein
from flashschnet_lab.proteins.residues import MAPPINGS

TWENTY = "ACDEFGHIKLMNPQRSTVWY"


@pytest.fixture(scope="module")
def table() -> PriorTable:
    return default_prior("five_bead")


def at(protein) -> torch.Tensor:
    return torch.from_numpy(protein.positions)


def total(priors: Priors, x: torch.Tensor) -> torch.Tensor:
    return torch.stack(list(priors(x).values())).sum(0)


def without(table: PriorTable, family: str, term: str) -> PriorTable:
    rows = {key: value for key, value in getattr(table, family).items() if key[0] != term}
    assert len(rows) < len(getattr(table, family))
    return replace(table, **{family: rows})


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_the_tables_of_the_package_cover_every_residue_everywhere(mapping):
    table = default_prior(mapping)
    every_end = [TWENTY[turn:] + TWENTY[:turn] for turn in range(20)]
    before_proline = "P".join(TWENTY)
    for sequence in (*every_end, before_proline):
        protein = build_chain(sequence, "helix", mapping)
        energies = Priors(table, [protein])(at(protein))
        assert all(energy.isfinite().all() for energy in energies.values())


@pytest.mark.parametrize("name", embedded_names())
def test_counts(table, name):
    protein = embedded_protein(name).protein
    priors = Priors(table, [protein, protein])
    topology = protein.topology
    expected = [len(getattr(topology, f)) for f in FAMILIES]
    assert [priors.counts[f] for f in FAMILIES] == [[n, n] for n in expected]
    per_term = priors.per_term(at(protein).repeat(2, 1))
    for family in FAMILIES:
        assert len(per_term[family]) == sum(priors.counts[family])
    assert priors.term_names("bonds") == 2 * list(topology.bond_terms)
    assert priors.term_names("angles") == 2 * list(topology.angle_terms)
    assert priors.term_names("dihedrals") == 2 * list(topology.dihedral_terms)
    assert set(priors.term_names("repulsion")) == {"non_bonded"}


def test_families_are_sums_of_terms(table):
    embedded = embedded_protein("trpcage")
    priors = Priors(table, [embedded.protein] * 3)
    x = torch.from_numpy(embedded.starts[:3]).reshape(-1, 3)
    families, per_term = priors(x), priors.per_term(x)
    assert tuple(families) == FAMILIES
    for family in FAMILIES:
        assert families[family].shape == (3,)
        assert families[family].dtype == torch.float64
        expected = per_term[family].reshape(3, -1).sum(1)
        torch.testing.assert_close(families[family], expected, rtol=1e-12, atol=1e-12)
        assert families[family].abs().min() > 0.0


def test_terms_use_the_parameters_of_their_types(table):
    """One term of each family, looked up and evaluated by hand."""
    protein = embedded_protein("chignolin").protein
    x, types, topology = at(protein), protein.bead_types, protein.topology
    per_term = Priors(table, [protein]).per_term(x)

    def parameters(family: str, row: int) -> torch.Tensor:
        beads = getattr(topology, family)[row]
        term = getattr(topology, f"{family[:-1]}_terms")[row]
        kind = tuple(int(t) for t in types[beads])
        rows = getattr(table, family)
        keys = [key for key in ((term, kind), (term, kind[::-1]), (term, ())) if key in rows]
        return torch.tensor(rows[keys[0]], dtype=torch.float64)

    for row in (0, 3, -1):
        k, r0 = parameters("bonds", row)
        i, j = topology.bonds[row]
        assert per_term["bonds"][row] == pytest.approx(float(k * ((x[i] - x[j]).norm() - r0) ** 2))
        k, cos0 = parameters("angles", row)
        i, j, k_ = topology.angles[row]
        u, v = x[i] - x[j], x[k_] - x[j]
        cos = torch.dot(u, v) / (u.norm() * v.norm())
        assert per_term["angles"][row] == pytest.approx(float(k * (cos - cos0) ** 2))
        values = parameters("dihedrals", row)
        phi = terms.dihedral_angles(x, torch.from_numpy(topology.dihedrals[row])[None])[0]
        n = torch.arange(1, 4)
        series = values[1:4] * torch.sin(n * phi) + values[4:] * torch.cos(n * phi)
        assert per_term["dihedrals"][row] == pytest.approx(float(values[0] + series.sum()))
        i, j = topology.repulsion[row]
        sigma = table.sigma[types[i], types[j]]
        expected = (sigma / float((x[i] - x[j]).norm())) ** 6
        assert per_term["repulsion"][row] == pytest.approx(expected)


@pytest.fixture(params=["reference", "cpu", "triton"])
def implementation(request) -> str:
    """An implementation that runs on a CPU."""
    name = request.param
    if name != "reference":
        pytest.importorskip({"triton": "triton", "cpu": "numba"}[name])
    if name == "triton" and not os.environ.get("TRITON_INTERPRET"):
        pytest.skip("needs Triton's interpreter")
    return name


@pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
@pytest.mark.parametrize("mapping", MAPPINGS)
def test_energy_and_gradient_at_once(implementation, mapping):
    """Different molecules, with and without replicas, against autograd over all families."""
    one, other = (build_chain(s, "helix", mapping) for s in ("AWPGKY", "GG"))
    proteins = [one, other, one]
    priors = Priors(default_prior(mapping), proteins)
    generator = torch.Generator().manual_seed(1)
    x = torch.cat([at(p) for p in proteins])
    x = (x + 0.2 * torch.randn(x.shape, generator=generator)).requires_grad_()
    expected = total(priors, x)
    (slope,) = torch.autograd.grad(expected.sum(), x)
    energy, gradient = priors.evaluate(x, implementation)
    found = [part.sum() for part in energy.split([p.beads for p in proteins])]
    torch.testing.assert_close(torch.stack(found), expected.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient, slope, rtol=1e-10, atol=1e-9)
    assert not gradient.requires_grad

    before = torch.ones_like(energy), torch.ones_like(gradient)
    added = priors.evaluate(x, implementation, *before)
    assert added[0] is before[0]
    assert added[1] is before[1]
    torch.testing.assert_close(added[0], energy + 1.0)
    torch.testing.assert_close(added[1], gradient + 1.0)


def test_pairs_are_listed_only_for_the_reference(table, monkeypatch):
    """Twenty thousand beads have 2e8 of them."""
    priors = Priors(table, [build_chain("AWGK")])
    monkeypatch.setattr(Priors, "_pairs_of", None)
    layout = priors._layout_for(torch.zeros(1))
    assert len(layout.types) == priors.batch.beads


@pytest.mark.parametrize("name", embedded_names())
def test_the_folded_proteins_are_relaxed(table, name):
    protein = embedded_protein(name).protein
    energies = Priors(table, [protein])(at(protein))
    assert energies["bonds"] / len(protein.topology.bonds) < 1.0
    assert energies["angles"] / len(protein.topology.angles) < 1.0


def test_different_molecules_in_one_batch_equal_separate_runs(table):
    trpcage = embedded_protein("trpcage").protein
    proteins = [trpcage, build_chain("G"), build_chain("AWPGK", "helix")]
    together = Priors(table, proteins)(torch.cat([at(p) for p in proteins]))
    for number, protein in enumerate(proteins):
        alone = Priors(table, [protein])(at(protein))
        for family in FAMILIES:
            torch.testing.assert_close(
                together[family][[number]], alone[family], rtol=1e-12, atol=1e-12
            )


@pytest.mark.parametrize(
    ("mapping", "sequence"),
    [("five_bead", "G"), ("five_bead", "A"), ("five_bead", "GG"), ("ca", "A"), ("ca", "AGA")],
)
@pytest.mark.parametrize("replicas", [1, 3])
def test_molecules_that_lack_whole_families(mapping, sequence, replicas):
    protein = build_chain(sequence, mapping=mapping)
    priors = Priors(default_prior(mapping), [protein] * replicas)
    energies = priors(at(protein).repeat(replicas, 1))
    for family in FAMILIES:
        assert energies[family].shape == (replicas,)
        assert energies[family].isfinite().all()
        if not len(getattr(protein.topology, family)):
            assert energies[family].count_nonzero() == 0


def test_two_segments_have_no_term_across(table):
    one = build_chain("AAAA", "helix")
    residues = [*one.residues, *(replace(r, segment=1) for r in one.residues)]
    apart = one.positions + np.array([1000.0, 0.0, 0.0])
    two = make_protein("two", "five_bead", residues, np.concatenate([one.positions, apart]))
    single = total(Priors(table, [one]), at(one))
    double = total(Priors(table, [two]), at(two))
    torch.testing.assert_close(double, 2.0 * single, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("family", "term"),
    [
        ("bonds", "n_term_bonds"),
        ("bonds", "c_term_bonds"),
        ("angles", "bulk_angles"),
        ("dihedrals", "TRP_phi"),
        ("dihedrals", "gamma_1"),
        ("dihedrals", "pro_omega"),
    ],
)
def test_a_missing_term_is_an_error_that_names_it(table, family, term):
    protein = embedded_protein("chignolin").protein
    with pytest.raises(UserError, match=f"no {family} parameters for term {term} with bead types"):
        Priors(without(table, family, term), [protein])


def test_missing_bead_types_are_an_error_that_names_residue_and_types(table):
    protein = build_chain("AWK")
    bond = ("bulk_bonds", (22, 19))
    rows = {k: v for k, v in table.bonds.items() if k not in (bond, (bond[0], bond[1][::-1]))}
    assert len(rows) < len(table.bonds)
    with pytest.raises(UserError, match=r"bulk_bonds.*19.*A:TRP 2 CA, A:TRP 2 CB"):
        Priors(replace(table, bonds=rows), [protein])


@pytest.mark.parametrize("unknown", [0.0, -1.0, float("nan")])
def test_a_missing_repulsion_range_is_an_error_that_names_both_beads(table, unknown):
    sigma = table.sigma.copy()
    sigma[1, 9] = sigma[9, 1] = unknown  # alanine with lysine
    with pytest.raises(UserError, match=r"no repulsion range for A:ALA 1 CB with A:LYS 4 CB"):
        Priors(replace(table, sigma=sigma), [build_chain("AWGK")])


@pytest.mark.parametrize(("of", "to"), [("five_bead", "ca"), ("ca", "five_bead")])
def test_the_table_of_another_mapping_is_refused(of, to):
    with pytest.raises(UserError, match=f"covers {to} proteins"):
        Priors(default_prior(of), [build_chain("AWGK", mapping=to)])


def test_types_may_be_listed_in_either_direction(table):
    protein = embedded_protein("chignolin").protein

    def turned(rows):
        return {(term, types[::-1]): row for (term, types), row in rows.items()}

    other = replace(
        table,
        bonds=turned(table.bonds),
        angles=turned(table.angles),
        dihedrals=turned(table.dihedrals),
    )
    one, other = (total(Priors(t, [protein]), at(protein)) for t in (table, other))
    assert torch.equal(one, other)


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_json_round_trip_is_exact(mapping, tmp_path):
    table = default_prior(mapping)
    path = tmp_path / "prior.json"
    path.write_text(table.to_json())
    again = load_prior_table(path)
    assert again.bonds == table.bonds
    assert again.angles == table.angles
    assert again.dihedrals == table.dihedrals
    assert again.provenance == table.provenance
    np.testing.assert_array_equal(again.sigma, table.sigma)
    assert again.to_json() == table.to_json()


def test_sigma_is_symmetric_and_covers_every_type(table):
    np.testing.assert_array_equal(table.sigma, table.sigma.T)
    assert (table.sigma[1:, 1:] > 0.0).all()


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no prior table at .*nowhere.json"):
        load_prior_table(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1, 2]",
        '{"bonds": []}',
        '{"provenance": {}, "bonds": [["b", [], [1.0]]], "angles": [], "dihedrals": [], '
        '"sigma": []}',
    ],
)
def test_another_file_is_an_error(tmp_path, text):
    path = tmp_path / "prior.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"prior.json is not a prior table"):
        load_prior_table(path)
