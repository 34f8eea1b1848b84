"""Models of mlcg come over with everything, or the import says what stands against it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from flashschnet_lab.checkpoints.export_model import export_state, mlcg_state
from flashschnet_lab.checkpoints.importer import Choices, import_checkpoint
from flashschnet_lab.checkpoints.mlcg_configurations import read_configurations
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_sequence
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.system import Model, build_force_field
from tests.checkpoints import fake_mlcg as mlcg

BASES = ("exp_normal", "gaussian")
ALANINE, GLYCINE, TYROSINE = 1, 6, 20


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(7)


@pytest.fixture
def imported(tmp_path):
    """Return a function that saves a value as mlcg would and imports it."""

    def run(value, **choices):
        path = mlcg.save(value, tmp_path / "model.pt")
        return import_checkpoint(path, Choices(**{"mapping": "ca", **choices}))

    return run


def same(state, other) -> bool:
    return list(state) == list(other) and all(torch.equal(state[k], other[k]) for k in state)


@pytest.mark.parametrize("kind", BASES)
def test_weights_and_trained_basis_come_over_and_go_back(imported, kind):
    theirs = mlcg.schnet(kind)
    found = imported(mlcg.out("SchNet", theirs))
    shape = found.model.network.shape
    assert shape == SchNetShape(
        types=25, hidden=8, channels=6, blocks=2, radial_functions=5, radial_basis=kind,
        cutoff=9.0, output_widths=(7, 4),
    )  # fmt: skip
    back = mlcg_state(found.model)
    assert set(back) == set(theirs.state_dict())
    assert all(torch.equal(back[k], v) for k, v in theirs.state_dict().items())


def test_an_alpha_of_its_own_comes_over(imported):
    assert imported(mlcg.schnet(alpha=1.0)).model.network.shape.alpha == 1.0


def test_the_network_is_the_one_of_the_formula(imported):
    """Energy of two beads, written out from mlcg's definition."""
    theirs = mlcg.schnet(upper=9.0)
    model = imported(theirs).model
    system = load_sequence("AY", model)
    d = torch.tensor(4.0, dtype=torch.float64)
    x = torch.zeros(1, 2, 3, dtype=torch.float64)
    x[0, 1, 0] = d
    energy = build_force_field([system], dtype=torch.float64)(x).energy

    theirs = theirs.double()
    envelope = 0.5 * (torch.cos(torch.pi * d / 9.0) + 1.0)
    basis = theirs.rbf_layer
    rbf = envelope * torch.exp(-basis.betas * (torch.exp(-5.0 / 9.0 * d) - basis.means) ** 2)
    features = theirs.embedding_layer.weight[[ALANINE, TYROSINE]]
    for block in theirs.interaction_blocks:
        filters = block.conv.filter_network.layers(rbf) * envelope
        messages = block.conv.lin1(features).flip(0) * filters
        features = features + block.lin(torch.tanh(block.conv.lin2(messages)))
    expected = theirs.output_network.layers(features).sum()
    torch.testing.assert_close(energy[0], expected, rtol=1e-10, atol=1e-12)


def test_a_lightning_checkpoint_with_modules(imported):
    theirs = mlcg.out("SchNet", mlcg.schnet())
    value = {
        "state_dict": {f"model.{k}": v for k, v in theirs.state_dict().items()},
        "hyper_parameters": {"model": theirs},
        "optimizer_states": [],
    }
    state = mlcg_state(imported(value).model)
    assert torch.equal(state["rbf_layer.means"], theirs.model.rbf_layer.means)


def test_a_lightning_checkpoint_with_a_configuration(imported):
    """Without an alpha in the file mlcg's default is taken, and said."""
    theirs = mlcg.schnet()
    config = {
        "class_path": "mlcg.nn.GradientsOut",
        "init_args": {
            "targets": ["forces"],
            "model": {
                "class_path": "mlcg.nn.StandardSchNet",
                "init_args": {
                    "rbf_layer": {
                        "class_path": "mlcg.nn.ExpNormalBasis",
                        "init_args": {"cutoff": 9.0, "num_rbf": 5, "trainable": False},
                    },
                    "cutoff": {
                        "class_path": "mlcg.nn.CosineCutoff",
                        "init_args": {"cutoff_lower": 0, "cutoff_upper": 9},
                    },
                    "activation": {"class_path": "torch.nn.Tanh"},
                },
            },
        },
    }
    state = {f"model.model.{k}": v for k, v in theirs.state_dict().items()}
    found = imported({"state_dict": state, "hyper_parameters": {"model": config}})
    assert found.model.network.shape.cutoff == 9.0
    assert any("alpha is not in the file" in line for line in found.left_out)
    assert set(mlcg_state(found.model)) == set(theirs.state_dict())


def ca_priors(sparse: bool) -> dict[str, nn.Module]:
    """Return priors of C-alpha beads of alanine and tyrosine."""
    pairs = {(i, j): 1.0 for i in (ALANINE, TYROSINE) for j in (ALANINE, TYROSINE)}
    triples = {(i, j, k): 1.0 for i, j in pairs for k in (ALANINE, TYROSINE)}
    quads = {(*key, k): 1.0 for key in triples for k in (ALANINE, TYROSINE)}

    def scaled(entries, factor):
        return mlcg.table(21, {key: factor for key in entries}, sparse)

    def series(factor):
        orders = torch.arange(1, 5).reshape(4, 1, 1, 1, 1) * factor
        dense = scaled(quads, 1.0)
        dense = (dense.to_dense() if sparse else dense)[None] * orders
        return dense.to_sparse() if sparse else dense

    return {
        "bonds": mlcg.module(
            "GeneralBonds", {"k": scaled(pairs, 90.0), "x_0": scaled(pairs, 3.8)}, order=2
        ),
        "angles": mlcg.module(
            "GeneralAngles", {"k": scaled(triples, 7.0), "x_0": scaled(triples, -0.3)}, order=3
        ),
        "dihedrals": mlcg.module(
            "Dihedral",
            {"v_0": scaled(quads, 0.5), "k1s": series(0.1), "k2s": series(-0.2)},
            n_degs=4,
        ),
        "repulsion": mlcg.module("Repulsion", {"sigma": scaled(pairs, 4.0)}, order=2),
    }


@pytest.mark.parametrize("sparse", [False, True])
def test_priors_by_bead_types(imported, sparse):
    """Four orders of the dihedral, more than our own tables have."""
    found = imported(mlcg.sum_out(SchNet=mlcg.schnet(), **ca_priors(sparse)), mapping=None)
    table = found.model.prior
    assert found.model.mapping == "ca"
    assert table.bonds["ca_bonds", (1, 20)] == pytest.approx((90.0, 3.8))
    assert table.angles["ca_angles", (1, 20, 1)] == pytest.approx((7.0, -0.3))
    expected = (0.5, 0.1, 0.2, 0.3, 0.4, -0.2, -0.4, -0.6, -0.8)
    assert table.dihedrals["ca_dihedrals", (1, 1, 20, 1)] == pytest.approx(expected)
    assert table.sigma[1, 20] == 4.0 and table.sigma[1, 2] == 0.0
    assert table.from_json(table.to_json()).to_json() == table.to_json()


def test_priors_of_their_own_file(imported, tmp_path):
    priors = nn.ModuleDict({k: mlcg.out(k, v) for k, v in ca_priors(sparse=True).items()})
    path = mlcg.save(priors, tmp_path / "prior.pt")
    found = imported(mlcg.schnet(), prior=path)
    assert found.model.network is not None
    assert found.model.prior.bonds
    alone = import_checkpoint(path)
    assert alone.model.network is None


SPECIALISED = {
    "bonds": [[0, 1], [1, 2], [2, 3]],
    "dihedrals": [[0, 1, 2, 3]],
    "non_bonded": [[0, 2], [0, 3], [1, 3]],
}


def specialised(copies: int = 2, **changes):
    """Return priors made for one molecule of four beads, and its configurations."""
    lists = {k: mlcg.neighbours(v) for k, v in {**SPECIALISED, **changes}.items()}
    bonds = {"k": torch.tensor([60.0, 70.0, 80.0]), "x0": torch.tensor([3.7, 3.8, 3.9])}
    bonds["V0"] = torch.zeros(3)
    dihedral = {"v_0": torch.tensor([[1.0, 0.5]]), "k1s": torch.tensor([[0.1, 0.2]])}
    dihedral["k2s"] = torch.tensor([[0.3, 0.4]])

    def repeated(values):
        return {k: v.repeat(copies, *[1] * (v.ndim - 1)) for k, v in values.items()}

    sigma = mlcg.table(21, {(1, 1): 4.0, (1, 20): 4.5, (20, 1): 4.5, (20, 20): 5.0}, sparse=False)
    model = mlcg.sum_out(
        SchNet=mlcg.schnet(),
        bonds=mlcg.module("StaticGeneralBonds", repeated(bonds)),
        dihedrals=mlcg.module("StaticDihedral", repeated(dihedral)),
        non_bonded=mlcg.module("Repulsion", {"sigma": sigma}),
    )
    data = [mlcg.configuration([1, 20, 1, 20], neighbor_list=lists) for _ in range(copies)]
    return model, data


def test_a_model_made_for_one_molecule(imported):
    found = imported(specialised(), mapping=None)
    model = found.model
    assert found.protein.sequence == "AYAY"
    assert model.only_for == found.protein.fingerprint()
    assert model.masses == {"CA": 12.0}
    assert model.prior.rules.ca_separation == 2
    assert model.prior.rules.families == ("bonds", "dihedrals", "repulsion")
    assert model.prior.bonds["ca_bonds", (1, 2)] == pytest.approx((70.0, 3.8))
    # v_0 is summed over its columns
    assert model.prior.dihedrals["ca_dihedrals", (0, 1, 2, 3)] == pytest.approx(
        (1.5, 0.1, 0.2, 0.3, 0.4)
    )
    with pytest.raises(UserError, match="was made for one other protein"):
        load_sequence("AYAA", model)


def test_the_priors_of_one_molecule_are_those_of_the_formula(imported):
    found = imported(specialised(), mapping=None)
    system = load_sequence("AYAY", Model("priors", found.model.prior, mapping="ca"))
    x = torch.randn(1, 4, 3, dtype=torch.float64) * 3.0
    energy = build_force_field([system], dtype=torch.float64)(x).energy[0]
    d = torch.cdist(x[0], x[0])
    expected = sum(
        k * (d[i, i + 1] - r) ** 2 for i, k, r in ((0, 60, 3.7), (1, 70, 3.8), (2, 80, 3.9))
    )
    expected += sum((s / d[i, j]) ** 6 for i, j, s in ((0, 2, 4.0), (0, 3, 4.5), (1, 3, 5.0)))
    b = x[0].diff(dim=0)
    n1, n2 = torch.linalg.cross(b[0], b[1]), torch.linalg.cross(b[1], b[2])
    phi = torch.atan2(b[1].norm() * (b[0] @ n2), n1 @ n2)
    expected += 1.5 + sum(
        k1 * torch.sin(n * phi) + k2 * torch.cos(n * phi)
        for n, k1, k2 in ((1, 0.1, 0.3), (2, 0.2, 0.4))
    )
    torch.testing.assert_close(energy, expected, rtol=1e-6, atol=1e-6)  # parameters in float32


def test_configurations_give_types_coordinates_and_masses(tmp_path):
    data = mlcg.configuration(
        [1, 20, 6], neighbor_list={"bonds": mlcg.neighbours([[0, 1], [1, 2]])}
    )
    path = mlcg.save([data], tmp_path / "some_configurations.pt")
    (found,) = read_configurations(path)
    protein = found.protein()
    assert protein.sequence == "AYG" and protein.mapping == "ca"
    np.testing.assert_allclose(protein.positions, data.pos.double().numpy())
    np.testing.assert_allclose(found.masses, 12.0, rtol=1e-6)
    with pytest.raises(UserError, match="holds configurations, not a model"):
        import_checkpoint(path)


def test_configurations_of_five_beads(tmp_path):
    path = mlcg.save([mlcg.configuration([21, 22, 1, 23, 24, 21, 6, 23, 24])], tmp_path / "c.pt")
    protein = read_configurations(path)[0].protein()
    assert (protein.sequence, protein.mapping) == ("AG", "five_bead")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (lambda: mlcg.schnet(activation=nn.SiLU()), "SiLU"),
        (lambda: mlcg.schnet(aggr="mean"), "aggregation 'mean'"),
        (lambda: mlcg.schnet(self_interaction=True), "self_interaction"),
        (lambda: mlcg.sum_out(SchNet=mlcg.schnet(), two=mlcg.schnet()), "2 networks"),
        (
            lambda: mlcg.sum_out(SchNet=mlcg.schnet(), impropers=mlcg.module("HarmonicImpropers")),
            r"HarmonicImpropers \(called impropers\)",
        ),
        (
            lambda: mlcg.sum_out(
                SchNet=mlcg.schnet(),
                bonds=ca_priors(False)["bonds"],
                odd=ca_priors(False)["angles"],
            ),
            "the term odd",
        ),
        (lambda: specialised(non_bonded=[[0, 3], [1, 2]]), "follows no rule"),
        (lambda: specialised(bonds=[[0, 1], [1, 2], [0, 3]]), "bonds on A:ALA 1 CA, A:TYR 4 CA"),
    ],
)
def test_what_is_not_supported_is_named(imported, value, named):
    with pytest.raises(UserError, match=named):
        imported(value(), mapping=None)


def test_everything_that_is_not_supported_is_named_at_once(imported):
    theirs = mlcg.schnet(activation=nn.SiLU(), aggr="mean", self_interaction=True)
    with pytest.raises(UserError, match=r"SiLU.*self_interaction.*aggregation"):
        imported(theirs)


def test_the_mapping_must_be_known(imported):
    with pytest.raises(UserError, match="--mapping five_bead or --mapping ca"):
        imported(mlcg.schnet(), mapping=None)
    with pytest.raises(UserError, match="the priors say ca, --mapping say five_bead"):
        imported(mlcg.sum_out(SchNet=mlcg.schnet(), **ca_priors(False)), mapping="five_bead")


def test_weights_that_do_not_fit_are_refused(imported):
    theirs = mlcg.schnet()
    theirs.interaction_blocks[1].lin = nn.Linear(8, 9)
    with pytest.raises(UserError, match="make no SchNet"):
        imported(theirs)
    theirs = mlcg.schnet()
    theirs.embedding_layer.weight.data[3] = float("nan")
    with pytest.raises(UserError, match=r"no finite numbers: embedding\.weight"):
        imported(theirs)


def test_weights_that_would_make_a_huge_network_are_refused(imported):
    """A few numbers, repeated without memory, that ask for a layer of 10^12."""
    theirs = mlcg.schnet()
    theirs.embedding_layer.weight = nn.Parameter(torch.ones(1, 1).expand(1, 1_000_000))
    for block in theirs.interaction_blocks:
        block.conv.lin1.weight = nn.Parameter(torch.ones(1, 1).expand(1_000_000, 1))
    with pytest.raises(UserError, match="make no SchNet"):
        imported(theirs)


def test_a_number_where_none_belongs_is_refused(imported):
    theirs = mlcg.schnet()
    theirs.rbf_layer.cutoff.cutoff_lower = "three"
    with pytest.raises(UserError, match="is not laid out as models"):
        imported(theirs)


def test_other_terms_on_a_molecule_are_refused(imported, tmp_path):
    """Lists of a configuration tell how the model's makers would lay the terms out."""
    value = mlcg.sum_out(SchNet=mlcg.schnet(), **ca_priors(False))
    lists = {"bonds": mlcg.neighbours([[0, 1], [1, 2], [0, 3]])}
    data = mlcg.configuration([1, 20, 1, 20], neighbor_list=lists)
    path = mlcg.save([data], tmp_path / "configurations.pt")
    with pytest.raises(UserError, match=r"other terms on small: bonds \(3 terms, here 3\)"):
        imported(value, mapping=None, configurations=path)


def test_a_file_that_is_no_model(tmp_path):
    path = tmp_path / "file.pt"
    torch.save({"epoch": 3, "loss": 0.1}, path)
    with pytest.raises(UserError, match="it holds a dictionary of epoch, loss"):
        import_checkpoint(path)


def test_export_writes_safetensors_that_torch_can_load(imported, tmp_path):
    from safetensors.torch import load_file

    theirs = mlcg.schnet("gaussian")
    found = imported(theirs)
    path = tmp_path / "network.safetensors"
    export_state(found.model, path)
    theirs.load_state_dict(load_file(path))
    with pytest.raises(UserError, match="exists"):
        export_state(found.model, path)
    with pytest.raises(UserError, match=r"end in \.safetensors"):
        export_state(found.model, tmp_path / "network.pt")


def test_a_network_that_mlcg_cannot_be_is_not_exported(tmp_path):
    network = SchNet(SchNetShape(types=3, cutoff_lower=2.0, output_bias=True))
    with pytest.raises(UserError, match=r"lower cutoff of 2 A, a bias in the last layer"):
        export_state(Model("other", network=network), tmp_path / "network.safetensors")
    with pytest.raises(UserError, match="no network"):
        mlcg_state(Model("none"))
