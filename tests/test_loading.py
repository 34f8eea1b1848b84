"""From a name, a file or a sequence to a system, and which model moves it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from flashschnet_lab.checkpoints.native import load_model, save_model
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import (
    default_prior,
    load_sequence,
    load_system,
    priors_only_model,
    structure_based_model,
    trained_model,
)
from flashschnet_lab.paths import data_folder
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.embedded import embedded_names, embedded_protein
from flashschnet_lab.proteins.mdtraj_io import write_pdb
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.system import Model, System, build_force_field


def small_network(protein: Protein) -> Model:
    torch.manual_seed(1)
    shape = SchNetShape(
        types=protein.beads, hidden=8, channels=8, blocks=1, radial_functions=8, output_widths=(4,)
    )
    name, identity = f"small network of {protein.name}", protein.fingerprint()
    return Model(name, default_prior("five_bead"), SchNet(shape), "per_bead", only_for=identity)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder whose models are empty until the test puts some in."""
    folder = tmp_path / "data"
    shutil.copytree(data_folder() / "priors", folder / "priors")
    (folder / "models").mkdir()
    monkeypatch.setattr("flashschnet_lab.loading.data_folder", lambda: folder)
    return folder / "models"


@pytest.fixture
def with_chignolin(models: Path) -> Model:
    """A data folder with networks of chignolin and of another molecule, and with clutter."""
    (models / "clutter").mkdir()
    (models / "README.md").write_text("no model")
    save_model(small_network(build_chain("AAAA")), models / "alanines")
    model = small_network(embedded_protein("chignolin").protein)
    save_model(model, models / "chignolin")
    return model


@pytest.mark.parametrize("name", embedded_names())
def test_every_name_loads_with_what_the_package_has(name):
    system = load_system(name)
    embedded = embedded_protein(name)
    assert system.name == name
    np.testing.assert_array_equal(system.reference, embedded.protein.positions)
    np.testing.assert_array_equal(system.protein.positions, embedded.starts[0])
    trained = trained_model(embedded.protein)
    if trained is None:
        assert "structure-based" in system.model.name
        assert system.model.contacts is not None
    else:
        assert system.model.digest == trained.digest
        assert system.model.network is not None


def test_every_trained_model_of_the_package_can_be_read():
    for description in (data_folder() / "models").glob("*/model.json"):
        model = load_model(description.parent)
        assert model.network is not None
        proteins = [embedded_protein(name).protein for name in embedded_names()]
        assert model.only_for in {protein.fingerprint() for protein in proteins}


def test_names_in_any_case():
    assert load_system("Chignolin").name == "chignolin"


@pytest.mark.parametrize("which", ["villin", Path("villin")])
def test_an_unknown_name_is_refused_with_the_known_ones(which):
    with pytest.raises(UserError, match="'villin' is neither .*1enh, chignolin, trpcage"):
        load_system(which)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="nothing.pdb"):
        load_system(tmp_path / "nothing.pdb")


def test_a_library_protein_has_one_mapping():
    with pytest.raises(UserError, match="chignolin of the library has the mapping five_bead"):
        load_system("chignolin", mapping="ca")


def test_without_a_trained_network_the_structure_moves_it(models):
    system = load_system("chignolin")
    assert system.model.name == "structure-based potential of chignolin (no trained network)"
    assert system.model.network is None
    # The wells are of the reference, not of the conformation that the simulation starts from.
    contacts = system.model.contacts
    i, j = contacts.pairs.T
    r = np.linalg.norm(system.reference[j] - system.reference[i], axis=1)
    np.testing.assert_allclose(contacts.r0, r)
    assert not np.allclose(system.protein.positions, system.reference)


def test_the_trained_network_of_the_molecule_is_found(with_chignolin):
    for system in (load_system("chignolin"), load_sequence("YYDPETGTWY")):
        assert system.model.digest == with_chignolin.digest
        assert system.model.network is not None
    assert load_system("trpcage").model.network is None
    assert load_sequence("AAAA").model.name == "small network of chain of 4 residues"


def test_a_file_of_the_molecule_finds_the_network_too(with_chignolin, tmp_path):
    embedded = embedded_protein("chignolin")
    path = tmp_path / "mine.pdb"
    write_pdb(path, embedded.protein, embedded.starts[3])
    system = load_system(path)
    assert system.name == "mine"
    assert system.model.digest == with_chignolin.digest
    np.testing.assert_allclose(system.reference, embedded.starts[3], atol=1e-3)
    np.testing.assert_array_equal(system.reference, system.protein.positions)


@pytest.mark.parametrize("mapping", ["five_bead", "ca"])
def test_a_file(models, tmp_path, mapping):
    helix = build_chain("AEAAAKEAAAKA", "helix")
    path = tmp_path / "helix.pdb"
    write_pdb(path, helix)
    system = load_system(str(path), mapping=mapping)
    assert system.name == "helix"
    assert system.protein.mapping == mapping
    assert system.protein.sequence == helix.sequence
    assert system.model.contacts is not None
    evaluation = build_force_field([system])(torch.from_numpy(system.protein.positions).float())
    assert evaluation.energy.isfinite().all()


def test_a_file_without_a_fold_has_nothing_to_move_it(models, tmp_path):
    path = tmp_path / "stretched.pdb"
    write_pdb(path, build_chain("AEAAAKEAAAKA"))
    with pytest.raises(UserError, match="stretched has no native contacts"):
        load_system(path)


def test_files_may_need_renaming_and_dropping(models, tmp_path):
    path = tmp_path / "helix.pdb"
    write_pdb(path, build_chain("AEAAAKEAAAKA", "helix"))
    odd = path.read_text().replace("GLU A   2", "XYZ A   2")
    path.write_text(odd)
    with pytest.raises(UserError):
        load_system(path)
    assert load_system(path, rename={"XYZ": "GLU"}).protein.sequence == "AEAAAKEAAAKA"
    without_oxygen = [line for line in odd.splitlines(True) if "O   ALA A  12" not in line]
    path.write_text("".join(without_oxygen))
    with pytest.raises(UserError):
        load_system(path, rename={"XYZ": "GLU"})
    dropped = load_system(path, rename={"XYZ": "GLU"}, incomplete="drop")
    assert dropped.protein.sequence == "AEAAAKEAAAK"


def test_a_protein_is_its_own_reference(models):
    helix = build_chain("AEAAAKEAAAKA", "helix")
    system = load_system(helix)
    assert system.protein is helix
    assert system.reference is helix.positions
    assert system.model.contacts is not None


def test_a_given_model_is_taken(with_chignolin, models):
    protein = embedded_protein("chignolin").protein
    weak = structure_based_model(protein, depth=0.5)
    assert load_system("chignolin", weak).model is weak
    for folder in (models / "chignolin", str(models / "chignolin")):
        assert load_system("chignolin", folder).model.digest == with_chignolin.digest
    assert load_sequence("YYDPETGTWY", weak).model is weak


def test_the_model_of_another_molecule_is_refused(with_chignolin, models):
    for load in (
        lambda: load_system("trpcage", models / "chignolin"),
        lambda: load_sequence("YYDPETGTWF", with_chignolin),
    ):
        with pytest.raises(UserError, match="small network of chignolin was made for one other"):
            load()


def test_a_model_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a model folder"):
        load_system("chignolin", tmp_path / "nowhere")


def test_a_broken_model_of_the_package_is_an_error_not_a_fallback(with_chignolin, models):
    (models / "chignolin" / "network.safetensors").unlink()
    with pytest.raises(UserError, match="incomplete"):
        load_system("chignolin")


@pytest.mark.parametrize("mapping", ["five_bead", "ca"])
@pytest.mark.parametrize("shape", ["extended", "helix"])
def test_a_sequence_has_priors_alone(models, mapping, shape):
    system = load_sequence("ACDEFGHIK", shape=shape, mapping=mapping)
    assert system.protein.sequence == "ACDEFGHIK"
    assert system.protein.mapping == mapping
    assert system.model.name.startswith("priors only of chain of 9 residues")
    assert (system.model.network, system.model.contacts) == (None, None)
    assert system.reference is None
    force_field = build_force_field([system])
    energies = force_field.terms(torch.from_numpy(system.protein.positions).float())
    assert set(energies) == {"bonds", "angles", "dihedrals", "repulsion"}


def test_a_sequence_of_the_library_knows_its_fold(models):
    system = load_sequence("YYDPETGTWY")
    embedded = embedded_protein("chignolin").protein
    np.testing.assert_array_equal(system.reference, embedded.positions)
    np.testing.assert_array_equal(system.protein.positions, build_chain("YYDPETGTWY").positions)
    assert load_sequence("YYDPETGTWY", mapping="ca").reference is None


@pytest.mark.parametrize(("sequence", "shape"), [("", "extended"), ("AB", "helix"), ("AA", "knot")])
def test_a_bad_sequence_is_refused(sequence, shape):
    with pytest.raises(UserError):
        load_sequence(sequence, shape=shape)


def test_models_are_bound_to_their_molecule():
    chain = build_chain("ACDEFGHIK", "helix")
    for model in (priors_only_model(chain), structure_based_model(chain)):
        assert System(chain.with_positions(chain.positions + 1.0), model).model is model
        with pytest.raises(UserError):
            System(build_chain("ACDEFGHIR"), model)


def test_there_is_a_prior_per_mapping():
    assert default_prior("five_bead").to_json() != default_prior("ca").to_json()
    with pytest.raises(UserError, match="no prior table at .*martini.json"):
        default_prior("martini")
