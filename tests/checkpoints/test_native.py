"""Model folders: what is written is what is read, and anything else is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from flashschnet_lab.checkpoints.native import load_model, read_description, save_model, sha256_of
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import default_prior, structure_based_model
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.system import Model, System, build_force_field


@pytest.fixture(scope="module")
def network_model() -> Model:
    torch.manual_seed(5)
    shape = SchNetShape(
        types=49, hidden=16, channels=12, blocks=2, radial_functions=10, output_widths=(8,)
    )
    protein = embedded_protein("chignolin").protein
    return Model(
        "chignolin for tests",
        default_prior("five_bead"),
        SchNet(shape),
        "per_bead",
        only_for=protein.fingerprint(),
    )


@pytest.fixture(scope="module")
def contacts_model() -> Model:
    return structure_based_model(embedded_protein("trpcage").protein, depth=1.7)


@pytest.fixture
def folder(tmp_path: Path, network_model: Model) -> Path:
    save_model(network_model, tmp_path / "model")
    return tmp_path / "model"


def edit(folder: Path, **changes: object) -> None:
    """Change values of model.json."""
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_network_comes_back_to_the_bit(folder, network_model):
    again = load_model(folder)
    assert again.network.shape == network_model.network.shape
    for name, tensor in network_model.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor)
    for field in ("name", "network_types", "only_for", "contacts", "digest"):
        assert getattr(again, field) == getattr(network_model, field)


def test_the_same_energies_after_a_round_trip(folder, network_model):
    embedded = embedded_protein("chignolin")
    x = torch.from_numpy(embedded.starts).float()
    one, two = (
        build_force_field([System(embedded.protein, model)] * len(x))(x)
        for model in (network_model, load_model(folder))
    )
    assert torch.equal(one.energy, two.energy)
    assert torch.equal(one.forces, two.forces)


def test_contacts_come_back_to_the_bit(tmp_path, contacts_model):
    save_model(contacts_model, tmp_path)
    again = load_model(tmp_path)
    assert again.network is None
    for field in ("pairs", "r0", "depth"):
        ours, theirs = getattr(contacts_model.contacts, field), getattr(again.contacts, field)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert again.digest == contacts_model.digest


def test_priors_alone_come_back(tmp_path):
    model = Model("priors", default_prior("ca"))
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert (again.network, again.contacts, again.only_for) == (None, None, "")
    assert again.digest == model.digest


def test_a_digest_covers_every_number(network_model, contacts_model):
    prior, network = network_model.prior, network_model.network
    models = [
        network_model,
        contacts_model,
        Model("priors", prior),
        Model("network", None, network),
        Model("other rows", None, network, "per_bead"),
        Model("both", prior, network),
        structure_based_model(embedded_protein("trpcage").protein, depth=1.8),
    ]
    assert len({model.digest for model in models}) == len(models)
    assert Model("a", prior).digest == Model("b", prior).digest  # a name is no number


def test_the_description_is_for_people_too(tmp_path, network_model):
    save_model(network_model, tmp_path, {"licence": "MIT", "errors": {"force": 1.25}})
    description = read_description(tmp_path)
    assert description["licence"] == "MIT"
    assert description["errors"] == {"force": 1.25}
    assert description["units"] == {"length": "angstrom", "energy": "kcal/mol"}
    assert set(description["sha256"]) == {"network.safetensors", "prior.json"}
    for name, digest in description["sha256"].items():
        assert sha256_of(tmp_path / name) == digest


@pytest.mark.parametrize("key", ["name", "sha256", "format"])
def test_information_cannot_replace_what_the_format_says(tmp_path, network_model, key):
    with pytest.raises(ValueError, match=key):
        save_model(network_model, tmp_path / "model", {key: "mine"})
    assert not (tmp_path / "model").exists()


def test_another_model_in_the_same_folder_replaces_the_first(folder, contacts_model):
    save_model(contacts_model, folder)
    assert load_model(folder).digest == contacts_model.digest
    assert not (folder / "network.safetensors").exists()


def test_a_model_can_be_saved_where_it_was_read(folder, tmp_path, contacts_model):
    for model in (load_model(folder), contacts_model):
        save_model(model, tmp_path)
        digest = model.digest
        save_model(load_model(tmp_path), tmp_path)
        assert load_model(tmp_path).digest == digest


@pytest.mark.parametrize("name", ["network.safetensors", "prior.json"])
def test_a_changed_file_is_refused(folder, name):
    path = folder / name
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=f"{name} is not the file that model.json describes"):
        load_model(folder)


def test_a_shortened_file_is_refused(folder):
    path = folder / "network.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="SHA-256 differs"):
        load_model(folder)


@pytest.mark.parametrize("name", ["network.safetensors", "prior.json"])
def test_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"incomplete: {name} is missing"):
        load_model(folder)


def test_a_newer_format_is_refused(folder):
    edit(folder, format=3)
    with pytest.raises(UserError, match="format 3; update flashschnet-lab"):
        load_model(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": null}', '{"format": "new"}', "\x00"])
def test_a_broken_description_is_refused(folder, text):
    (folder / "model.json").write_text(text)
    with pytest.raises(UserError, match="model.json is not a model description"):
        load_model(folder)


@pytest.mark.parametrize("key", ["name", "shape", "network_types", "only_for", "sha256"])
def test_an_incomplete_description_is_refused(folder, key):
    path = folder / "model.json"
    description = json.loads(path.read_text())
    del description[key]
    path.write_text(json.dumps(description))
    with pytest.raises(UserError, match=f"lacks {key}"):
        load_model(folder)


def test_what_is_no_model_folder_is_refused(folder, tmp_path):
    for path in (tmp_path / "nowhere", tmp_path, folder / "model.json"):
        with pytest.raises(UserError, match="is not a model folder"):
            load_model(path)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": 20},
        {"blocks": 3},
        {"radial_basis": "bessel"},
        {"radial_functions": 1},
        {"depth": 1},
    ],
)
def test_weights_of_another_shape_are_refused(folder, change):
    shape = read_description(folder)["shape"]
    edit(folder, shape={**shape, **change})
    with pytest.raises(UserError, match="do not fit its model.json"):
        load_model(folder)


def test_a_network_cannot_be_lost_in_silence(folder):
    sha256 = read_description(folder)["sha256"]
    edit(folder, sha256={"prior.json": sha256["prior.json"]})
    with pytest.raises(UserError, match="network.safetensors and its shape, or neither"):
        load_model(folder)


def test_unknown_embedding_rows_are_refused(folder):
    edit(folder, network_types="per_residue")
    with pytest.raises(UserError, match="'per_residue'; known: five_bead, per_bead"):
        load_model(folder)


def test_a_file_that_is_no_safetensors_is_refused(folder):
    path = folder / "network.safetensors"
    path.write_bytes(b"not weights")
    sha256 = read_description(folder)["sha256"]
    edit(folder, sha256={**sha256, path.name: sha256_of(path)})
    with pytest.raises(UserError, match="do not fit its model.json"):
        load_model(folder)


def test_contacts_with_a_missing_array_are_refused(tmp_path, contacts_model):
    from safetensors.torch import save_file

    save_model(contacts_model, tmp_path)
    path = tmp_path / "contacts.safetensors"
    save_file({"pairs": torch.zeros(1, 2, dtype=torch.int64)}, path)
    sha256 = read_description(tmp_path)["sha256"]
    edit(tmp_path, sha256={**sha256, path.name: sha256_of(path)})
    with pytest.raises(UserError, match="do not fit its model.json"):
        load_model(tmp_path)
