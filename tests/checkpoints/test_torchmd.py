"""Graph networks of TorchMD-Net: numbering, weights, priors, and what is refused."""

from __future__ import annotations

import argparse
import math

import pytest
import torch

from flashschnet_lab.checkpoints.embedding_maps import TORCHMD, named_map
from flashschnet_lab.checkpoints.importer import Choices, import_checkpoint
from flashschnet_lab.checkpoints.torchmd import find_rows
from flashschnet_lab.checkpoints.torchmd_priors import read_torchmd_priors
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_sequence
from flashschnet_lab.system import Model, build_force_field, embedding_rows

HIDDEN, FUNCTIONS, BLOCKS, ROWS = 8, 5, 2, 30
ALL_OF_2021 = frozenset({*range(1, 18), *range(19, 23)})
YAML = """\
atomtypes: [CAA, CAY, CAL]
bonds:
  (CAA, CAA): {k0: 60.0, req: 3.80}
  (CAA, CAY): {k0: 65.0, req: 3.82}
  (CAY, CAY): {k0: 70.0, req: 3.84}
  (CAL, CAA): {k0: 75.0, req: 3.86}
dihedrals:
  (X, X, X, X):
    terms:
      - {phi_k: 0.2, phase: -130.0, per: 1}
      - {phi_k: 0.3, phase: 40.0, per: 2}
  (CAA, CAY, CAA, CAY):
    terms:
      - {phi_k: 1.5, phase: 10.0, per: 3}
lj:
  CAA: {epsilon: 2000.0, sigma: 1.0, epsilon14: 2000.0, sigma14: 1.0}
  CAY: {epsilon: 3000.0, sigma: 1.0, epsilon14: 3000.0, sigma14: 1.0}
  CAL: {epsilon: 2500.0, sigma: 1.0, epsilon14: 2500.0, sigma14: 1.0}
electrostatics:
  CAA: {charge: 0.0}
masses: {CAA: 12.0, CAY: 12.0, CAL: 12.0}
"""
HYPERS = {
    "model": "graph-network", "output_model": "Scalar", "prior_model": None, "activation": "tanh",
    "rbf_type": "expnorm", "neighbor_embedding": False, "atom_filter": -1, "reduce_op": "add",
    "standardize": False, "derivative": True, "cutoff_lower": 3.0, "cutoff_upper": 12.0,
    "max_num_neighbors": 128,
}  # fmt: skip


def weights() -> dict[str, torch.Tensor]:
    """Return the weights of a small graph network under TorchMD-Net's names."""
    torch.manual_seed(3)
    start = "model.representation_model."
    state = {
        "model.mean": torch.tensor(0.0),
        "model.std": torch.tensor(1.0),
        f"{start}embedding.weight": torch.randn(ROWS, HIDDEN),
        f"{start}distance_expansion.means": torch.rand(FUNCTIONS),
        f"{start}distance_expansion.betas": 2.0 + torch.rand(FUNCTIONS),
    }
    for block in range(BLOCKS):
        own = f"{start}interactions.{block}."
        for name in ("conv.lin1", "conv.lin2", "lin"):
            state[f"{own}{name}.weight"] = 0.3 * torch.randn(HIDDEN, HIDDEN)
            if name != "conv.lin1":
                state[f"{own}{name}.bias"] = 0.3 * torch.randn(HIDDEN)
        for layer, width in ((0, FUNCTIONS), (2, HIDDEN)):
            for kind, tensor in (
                ("weight", 0.3 * torch.randn(HIDDEN, width)),
                ("bias", 0.3 * torch.randn(HIDDEN)),
            ):
                state[f"{own}mlp.{layer}.{kind}"] = state[f"{own}conv.net.{layer}.{kind}"] = tensor
    for layer, shape in ((0, (4, HIDDEN)), (2, (1, 4))):
        state[f"model.output_model.output_network.{layer}.weight"] = torch.randn(*shape)
        state[f"model.output_model.output_network.{layer}.bias"] = torch.randn(shape[0])
    return state


def checkpoint(trained: frozenset[int] | None = ALL_OF_2021, **hypers) -> dict:
    """Return a checkpoint whose optimiser moved some rows of the embedding."""
    value = {"state_dict": weights(), "hyper_parameters": {**HYPERS, **hypers}}
    if trained is not None:
        squares = torch.zeros(ROWS, HIDDEN)
        squares[sorted(trained)] = 1e-6
        value["optimizer_states"] = [{"state": {0: {"exp_avg_sq": squares}}, "param_groups": []}]
    return value


@pytest.fixture
def imported(tmp_path):
    """Return a function that saves a checkpoint and imports it."""

    def run(value, **choices):
        path = tmp_path / "general.ckpt"
        torch.save(value, path)
        return import_checkpoint(path, Choices(**choices))

    return run


@pytest.fixture
def prior(tmp_path):
    path = tmp_path / "prior.yaml"
    path.write_text(YAML)
    return path


def test_hyper_parameters_and_weights_come_over(imported):
    found = imported(checkpoint())
    network, state = found.model.network, weights()
    assert network.shape.to_dict() == {
        "types": ROWS, "hidden": HIDDEN, "channels": HIDDEN, "blocks": BLOCKS,
        "radial_functions": FUNCTIONS, "radial_basis": "exp_normal", "cutoff": 12.0,
        "output_widths": [4], "cutoff_lower": 3.0, "filter_bias": True, "output_bias": True,
    }  # fmt: skip
    expected = state["model.representation_model.interactions.1.conv.net.2.bias"]
    assert torch.equal(network.blocks[1].filter_network[2].bias, expected)
    assert found.model.mapping == "ca"
    assert any("no priors" in line for line in found.left_out)


def test_hyper_parameters_of_a_namespace(imported):
    value = checkpoint()
    value["hyper_parameters"] = argparse.Namespace(**HYPERS)
    assert imported(value).model.network is not None


def test_the_network_is_the_one_of_the_formula(imported):
    """Two beads 4 A apart, written out from TorchMD-Net's definition."""
    model = imported(checkpoint()).model
    d = torch.tensor(4.0, dtype=torch.float64)
    x = torch.zeros(1, 2, 3, dtype=torch.float64)
    x[0, 1, 0] = d
    energy = build_force_field([load_sequence("AL", model)], dtype=torch.float64)(x).energy[0]

    state = {k.removeprefix("model."): v.double() for k, v in weights().items()}
    get = lambda name: state[f"representation_model.{name}"]  # noqa: E731
    inner = 0.5 * (torch.cos(torch.pi * d / 12.0) + 1.0)
    hump = 0.5 * (torch.cos(torch.pi * (2.0 * (d - 3.0) / 9.0 + 1.0)) + 1.0)
    means, betas = get("distance_expansion.means"), get("distance_expansion.betas")
    rbf = inner * torch.exp(-betas * (torch.exp(5.0 / 9.0 * (3.0 - d)) - means) ** 2)
    features = get("embedding.weight")[[1, 21]]  # alanine and leucine in the numbering of 2021
    for block in range(BLOCKS):
        own = f"interactions.{block}."
        first = get(f"{own}conv.net.0.weight") @ rbf + get(f"{own}conv.net.0.bias")
        filters = get(f"{own}conv.net.2.weight") @ torch.tanh(first)
        filters = (filters + get(f"{own}conv.net.2.bias")) * hump
        messages = (features @ get(f"{own}conv.lin1.weight").T).flip(0) * filters
        update = messages @ get(f"{own}conv.lin2.weight").T + get(f"{own}conv.lin2.bias")
        features = features + torch.tanh(update) @ get(f"{own}lin.weight").T
        features = features + get(f"{own}lin.bias")
    last = [state[f"output_model.output_network.{k}"] for k in ("0.weight", "0.bias")]
    end = [state[f"output_model.output_network.{k}"] for k in ("2.weight", "2.bias")]
    expected = (torch.tanh(features @ last[0].T + last[1]) @ end[0].T + end[1]).sum()
    torch.testing.assert_close(energy, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("trained", "arginine", "leucine"),
    [(ALL_OF_2021, 19, 21), (frozenset(range(1, 22)), 18, 20)],
)
def test_the_numbering_is_found_by_the_rows_that_moved(imported, trained, arginine, leucine):
    model = imported(checkpoint(trained)).model
    system = load_sequence("RLA", model)
    assert embedding_rows(system).tolist() == [arginine, leucine, 1]


def test_rows_that_never_moved_are_no_rows(imported):
    found = imported(checkpoint(frozenset({1, 2, 4})))
    assert found.model.rows.residues == {"ALA": 1, "GLY": 2, "TYR": 4}
    assert any("no row was trained for ARG" in line for line in found.left_out)
    with pytest.raises(UserError, match="has no row for LEU .* it was not trained on it"):
        load_sequence("ALA", found.model)


def test_a_numbering_that_the_file_does_not_show_must_be_said(imported):
    with pytest.raises(UserError, match="say it with --embedding NAME, one of torchmd-2021"):
        imported(checkpoint(None))
    model = imported(checkpoint(None), embedding="torchmd-exp").model
    assert model.rows == TORCHMD["torchmd-exp"]


def test_numberings_that_both_fit_and_differ_must_be_said(imported):
    """Rows 19 to 21 are used by both, for other residues."""
    value = checkpoint(frozenset({1, 19, 20, 21}))
    with pytest.raises(UserError, match="fit several numberings"):
        imported(value)
    assert imported(value, embedding="torchmd-2021").model.rows.residues["ARG"] == 19


def test_a_numbering_that_cannot_be_right_is_refused(imported, tmp_path):
    with pytest.raises(UserError, match=r"torchmd-exp cannot be right: rows \[22\]"):
        imported(checkpoint(), embedding="torchmd-exp")
    with pytest.raises(UserError, match="none of the numberings"):
        imported(checkpoint(frozenset({25})))
    own = tmp_path / "rows.json"
    own.write_text('{"ALA": 25, "HSD": 3}')
    rows, _ = find_rows(frozenset({25, 3}), str(own), own)
    assert rows.residues == {"ALA": 25, "HIS": 3}


@pytest.mark.parametrize(
    "text", ["[]", '{"ALA": "one"}', '{"ALA": -1}', "no JSON", '{"HIS": 1, "HSE": 2}']
)
def test_a_broken_file_of_rows_is_refused(text, tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"rows\.json"):
        named_map(str(path), TORCHMD)
    with pytest.raises(UserError, match="neither one of torchmd-2021, torchmd-exp nor a JSON file"):
        named_map("torchmd-1999", TORCHMD)


def test_the_priors_are_those_of_the_formula(prior):
    table, masses, _ = read_torchmd_priors(prior)
    assert masses == {"CA": 12.0}
    system = load_sequence("AYAYA", Model("priors", table, mapping="ca"))
    x = 4.0 * torch.randn(3, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    force_field = build_force_field([system] * 3, dtype=torch.float64)
    for positions, energy in zip(x, force_field(x).energy, strict=True):
        torch.testing.assert_close(energy, _prior(positions), rtol=1e-12, atol=1e-9)


def _prior(x: torch.Tensor) -> torch.Tensor:
    """Return the prior energy of AYAYA, written out."""
    d = torch.cdist(x, x)
    energy = sum(65.0 * (d[i, i + 1] - 3.82) ** 2 for i in range(4))
    epsilon = [2000.0, 3000.0, 2000.0, 3000.0, 2000.0]
    for i in range(5):
        for j in range(i + 2, 5):
            energy = energy + 4.0 * math.sqrt(epsilon[i] * epsilon[j]) / d[i, j] ** 6
    for start, terms in (
        (0, [(1.5, 10.0, 3)]),
        (1, [(1.5, 10.0, 3)]),  # tyrosine first: the same four types from the other end
    ):
        b = x[start : start + 4].diff(dim=0)
        n1, n2 = torch.linalg.cross(b[0], b[1]), torch.linalg.cross(b[1], b[2])
        phi = torch.atan2(b[1].norm() * (b[0] @ n2), n1 @ n2)
        for k, phase, per in terms:
            energy = energy + k * (1.0 + torch.cos(per * phi - math.radians(phase)))
    return energy


def test_general_dihedrals_hold_where_no_special_ones_do(prior):
    table, _, _ = read_torchmd_priors(prior)
    k, phase = (0.2, 0.3), (math.radians(-130.0), math.radians(40.0))
    expected = (
        sum(k), k[0] * math.sin(phase[0]), k[1] * math.sin(phase[1]), 0.0,
        k[0] * math.cos(phase[0]), k[1] * math.cos(phase[1]), 0.0,
    )  # fmt: skip
    assert table.dihedrals["ca_dihedrals", ()] == pytest.approx(expected)


def test_a_bond_without_parameters_is_an_error(imported, prior):
    model = imported(checkpoint(), prior=prior).model
    with pytest.raises(UserError, match="no bonds parameters for term ca_bonds"):
        build_force_field([load_sequence("YLA", model)])


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("CAY: 12.0", "CAY: 13.0", "masses that differ"),
        ("charge: 0.0", "charge: 0.5", "charges"),
        ("sigma: 1.0, epsilon14: 3000", "sigma: 2.0, epsilon14: 3000", "sigma of CAY is 2.0"),
        ("[CAA, CAY, CAL]", "[CAA, CAY, NZ]", "atom types NZ"),
        ("per: 3", "per: 0", "period of 0"),
        ("lj:", "jl:", "no C-alpha force field"),
    ],
)
def test_priors_that_are_not_supported_are_named(prior, old, new, named):
    prior.write_text(YAML.replace(old, new))
    with pytest.raises(UserError, match=named):
        read_torchmd_priors(prior)


def test_yaml_runs_no_code(prior, tmp_path):
    prior.write_text(f"!!python/object/apply:os.system ['touch {tmp_path / 'ran'}']")
    with pytest.raises(UserError, match="is no YAML file"):
        read_torchmd_priors(prior)
    assert not (tmp_path / "ran").exists()


def test_what_is_not_supported_is_named(imported):
    with pytest.raises(UserError, match=r"model 'transformer'.*activation 'silu'.*atom_filter 5"):
        imported(checkpoint(model="transformer", activation="silu", atom_filter=5))
    value = checkpoint()
    value["state_dict"]["model.std"] = torch.tensor(2.0)
    with pytest.raises(UserError, match="energies that are scaled"):
        imported(value)
    value = checkpoint()
    value["state_dict"]["model.representation_model.distance.weight"] = torch.zeros(2)
    with pytest.raises(UserError, match=r"no place .*: representation_model\.distance\.weight"):
        imported(value)
    value = checkpoint()
    value["state_dict"]["model.representation_model.interactions.0.mlp.0.bias"] = torch.zeros(
        HIDDEN
    )
    with pytest.raises(UserError, match="should be the same weights"):
        imported(value)
    with pytest.raises(UserError, match="leave --mapping out"):
        imported(checkpoint(), mapping="five_bead")
