"""The command line: what it makes, and that a mistake is one clear line and exit code 2."""

from __future__ import annotations

import json

import pytest
import typer

from flashschnet_lab.cli import app
from flashschnet_lab.loading import default_prior
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.proteins.mdtraj_io import write_pdb
from flashschnet_lab.simulation.store import open_trajectory
from tests.command_line import run

COMMANDS = {
    *("simulate", "proteins", "doctor", "export", "lab"),
    *("distil", "validate", "compile", "bench", "fetch", "temper", "analyse"),
    *("import", "export-model", "umbrella"),
}
SHORT = ["--device", "cpu", "--replicas", "2", "--steps", "10", "--save-every", "5"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_simulate_without_arguments_of_its_own(tmp_path, capsys):
    assert run("simulate", *SHORT) == 0
    folder = tmp_path / "runs/chignolin-001"
    assert (folder / "picture.png").is_file()
    assert json.loads((folder / "receipt.json").read_text())["ending"] == "finished"
    assert "ns/day" in capsys.readouterr().out
    assert run("simulate", "--restart", folder, "--steps", "5", "--device", "cpu") == 0
    assert open_trajectory(folder).steps[-1] == 15
    assert run("export", folder, tmp_path / "one.xtc", "--replica", "1") == 0
    assert (tmp_path / "one.xtc").is_file()


def test_simulate_a_structure_file(tmp_path):
    protein = embedded_protein("trpcage").protein
    write_pdb(tmp_path / "fold.pdb", protein)
    assert run("simulate", "--pdb", "fold.pdb", *SHORT, "--out", "there") == 0
    assert open_trajectory(tmp_path / "there").beads == protein.beads


def test_simulate_a_c_alpha_model(tmp_path):
    write_pdb(tmp_path / "fold.pdb", embedded_protein("trpcage").protein)
    assert run("simulate", "--pdb", "fold.pdb", "--mapping", "ca", *SHORT, "--out", "ca") == 0
    assert open_trajectory(tmp_path / "ca").beads == 20


def test_simulate_a_sequence(tmp_path):
    assert run("simulate", "--sequence", "ACDEFGH", "--shape", "helix", *SHORT, "--out", "s") == 0
    assert default_prior("five_bead") is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--protein", "titin"], "titin"),
        (["--pdb", "missing.pdb"], "missing.pdb"),
        (["--pdb", "a.pdb", "--sequence", "AAA"], "either --pdb or --sequence"),
        (["--sequence", "AXZ"], "X"),
        (["--timestep", "4000"], "femtoseconds"),
        (["--plan", "warp"], "unknown plan 'warp'"),
        (["--device", "tpu"], "device"),
        (["--model", "nowhere"], "model.json"),
        (["--restart", "nowhere"], "not a run folder"),
        (["--rename", "LRT"], "LRT=LYS"),
        (["--steps", "0"], "steps"),
        (["--bogus"], "bogus"),
    ],
)
def test_mistakes(arguments, words, capsys):
    assert run("simulate", *arguments) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_an_extended_chain_is_no_structure(tmp_path, capsys):
    write_pdb(tmp_path / "chain.pdb", build_chain("ACDEFGHIKL"))
    assert run("simulate", "--pdb", "chain.pdb", *SHORT) == 2
    assert "folded structure" in capsys.readouterr().err


def test_bench(tmp_path, capsys):
    quick = ["--replicas", "1", "--seconds", "0.01", "--device", "cpu", "--out", "bench.json"]
    assert run("bench", *quick) == 0
    plans = [r["plan"] for r in json.loads((tmp_path / "bench.json").read_text())["records"]]
    assert plans == ["baseline", "reference", "flash-float32", "exact", "fast"]
    assert "force error" in capsys.readouterr().out
    assert run("bench", "--plan", "warp") == 2


def test_every_option_has_help():
    commands = typer.main.get_command(app).commands
    assert set(commands) == COMMANDS
    for name, command in commands.items():
        assert command.help, name
        for parameter in command.params:
            assert getattr(parameter, "help", "") or parameter.name == "help", parameter.name


def test_lists_and_helps(capsys):
    assert run("proteins") == 0
    assert "chignolin" in capsys.readouterr().out
    assert run("doctor") == 0
    for command in COMMANDS:
        assert run(command, "--help") == 0
