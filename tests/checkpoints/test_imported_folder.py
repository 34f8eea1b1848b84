"""An imported model in its folder: written, read, checked against a protein, and simulated."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from flashschnet_kernels.plan import REFERENCE
from flashschnet_lab.checkpoints.importer import Choices, import_checkpoint, write_import
from flashschnet_lab.checkpoints.native import format_of, load_model, read_description, save_model
from flashschnet_lab.cli import main
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_sequence, load_system
from flashschnet_lab.potentials.bead_rows import BeadRows
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.mapping import read_protein
from flashschnet_lab.proteins.mdtraj_io import write_pdb
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.run import continue_run, load_run_system, start_run
from flashschnet_lab.system import Model, System
from tests.checkpoints import fake_mlcg as mlcg
from tests.checkpoints.test_mlcg import specialised
from tests.checkpoints.test_torchmd import YAML, checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def prior(tmp_path):
    path = tmp_path / "prior.yaml"
    path.write_text(YAML)
    return path


@pytest.fixture
def general(tmp_path, prior):
    """A folder of a model of TorchMD-Net."""
    path = tmp_path / "general.ckpt"
    torch.save(checkpoint(), path)
    write_import(import_checkpoint(path, Choices(prior=prior)), tmp_path / "general")
    return tmp_path / "general"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0)


def test_a_folder_keeps_everything(general, tmp_path, prior):
    found = import_checkpoint(tmp_path / "general.ckpt", Choices(prior=prior)).model
    read = load_model(general)
    assert read.digest == found.digest
    assert (read.rows, read.mapping, read.masses) == (found.rows, "ca", {"CA": 12.0})
    assert read.prior.rules == found.prior.rules
    description = read_description(general)
    assert description["format"] == 2
    assert set(description["imported_from"]) == {"general.ckpt", "prior.yaml"}
    assert len(description["imported_from"]["general.ckpt"]["sha256"]) == 64
    card = (general / "MODEL_CARD.md").read_text()
    assert "torchmd-2021" in card and "max_num_neighbors 128" in card


def test_models_that_format_1_describes_stay_in_it(tmp_path):
    save_model(Model("old", network=SchNet(SchNetShape(types=3))), tmp_path / "old")
    assert read_description(tmp_path / "old")["format"] == 1
    assert "rows" not in read_description(tmp_path / "old")
    newer = Model("new", network=SchNet(SchNetShape(types=3, output_bias=True)))
    assert format_of(newer) == 2


def test_the_digest_is_of_rows_and_masses_too():
    network = SchNet(SchNetShape(types=5))
    rows = [BeadRows({"ALA": 1}), BeadRows({"ALA": 2})]
    models = [Model("m", network=network, network_types="by_residue", rows=r) for r in rows]
    models += [Model("m", network=network), Model("m", network=network, masses={"CA": 12.0})]
    assert len({model.digest for model in models}) == 4


def test_masses_of_the_model_move_its_proteins(general):
    model = load_model(general)
    system = load_sequence("AYA", model)
    np.testing.assert_array_equal(system.protein.masses, 12.0)
    simulation = Simulation(system, device="cpu", plan=REFERENCE)
    np.testing.assert_allclose(simulation.dynamics.inverse_mass.numpy(), 418.4 / 12.0, rtol=1e-6)
    with pytest.raises(UserError, match="no mass for beads C, CB, N, O"):
        System(build_chain("A"), Model("m", masses={"CA": 12.0}))


def test_the_mapping_of_the_model_is_implied_and_checked(general, tmp_path):
    assert load_sequence("AYA", general).protein.mapping == "ca"
    path = tmp_path / "chain.pdb"
    write_pdb(path, build_chain("AYA"))
    assert load_system(path, general).protein.beads == 3
    with pytest.raises(UserError, match="mapping ca, but .* has five_bead; .* --mapping ca"):
        load_system(path, general, mapping="five_bead")


def test_a_library_protein_gives_its_c_alpha_beads(general):
    model = load_model(general)
    model = Model(
        "m", network=model.network, network_types="by_residue", rows=model.rows, mapping="ca"
    )
    system = load_system("chignolin", model)
    whole = load_system("chignolin")
    beads = [name == "CA" for name in whole.protein.bead_names]
    np.testing.assert_array_equal(system.protein.positions, whole.protein.positions[beads])
    np.testing.assert_array_equal(system.reference, whole.reference[beads])


def test_a_modified_residue_keeps_its_name_through_files_and_runs(general, tmp_path):
    """Norleucine has a row of its own here, though its bead is leucine's."""
    path = tmp_path / "chain.pdb"
    write_pdb(path, build_chain("ALA", mapping="ca"))
    path.write_text(path.read_text().replace("LEU", "NLE"))
    protein = read_protein(path, mapping="ca")
    assert [r.own_name for r in protein.residues] == ["", "NLE", ""]
    assert protein.fingerprint() == build_chain("ALA", mapping="ca").fingerprint()
    assert read_protein(path, mapping="ca", rename={"NLE": "LEU"}).residues[1].own_name == ""
    write_pdb(tmp_path / "again.pdb", protein)
    again = read_protein(tmp_path / "again.pdb", mapping="ca")
    assert again.residues == protein.residues

    system = load_system(path, general)
    run_folder = tmp_path / "run"
    start_run(Simulation(system, device="cpu", plan=REFERENCE, minimise=True), run_folder, 20)
    assert load_run_system(run_folder).protein.residues == protein.residues
    receipt = continue_run(run_folder, 20, device="cpu")
    assert receipt["ending"] == "finished"


def test_a_model_of_one_molecule_comes_with_it(tmp_path):
    path = mlcg.save(specialised(), tmp_path / "small.pt")
    write_import(import_checkpoint(path), tmp_path / "small")
    system = load_system(tmp_path / "small/structure.pdb", tmp_path / "small")
    assert system.protein.sequence == "AYAY"
    assert system.model.prior.rules.types == "per_bead"
    simulation = Simulation(system, device="cpu", plan=REFERENCE)
    assert simulation.force_field.priors.counts["dihedrals"] == [1]


def test_the_command_line(tmp_path, prior, capsys):
    path = tmp_path / "general.ckpt"
    torch.save(checkpoint(), path)
    folder = tmp_path / "model"
    assert run("import", path, "--prior", prior, "-o", folder) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "residues by the numbering torchmd-2021" in printed
    assert "not taken over: no row was trained for" not in printed
    assert "max_num_neighbors 128" in printed
    chain = tmp_path / "chain.pdb"
    write_pdb(chain, build_chain("AYAY", mapping="ca"))
    out = tmp_path / "run"
    assert run("simulate", "--pdb", chain, "--model", folder, "--steps", 20, "--out", out) == 0
    assert json.loads((out / "receipt.json").read_text())["ending"] == "finished"
    exported = tmp_path / "x.safetensors"
    assert run("export-model", folder, "-o", exported) == 2
    assert "StandardSchNet lacks a lower cutoff" in capsys.readouterr().err
    hostile = tmp_path / "hostile.pt"
    hostile.write_bytes(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.")
    assert run("import", hostile, "-o", folder) == 2
    assert "asks for 'posix.system'" in capsys.readouterr().err
