"""`flashschnet temper`: a ladder, a run folder, a restart, and an export by temperature."""

from __future__ import annotations

import numpy as np
import pytest

from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.proteins.mdtraj_io import write_pdb
from flashschnet_lab.simulation.exchange import RECORD
from flashschnet_lab.simulation.exchange_record import read_exchanges
from flashschnet_lab.simulation.tempered import open_tempered
from tests.command_line import run

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


QUICK = ["--device", "cpu", "--sequence", "AGWKLA", "--save-every", "10", "--every", "10"]


def test_a_given_ladder_and_a_restart(tmp_path, capsys):
    given = ["--temperatures", "300,330,365", "--replicas", "2", "--steps", "60"]
    assert run("temper", *QUICK, *given, "--out", "t") == 0
    said = capsys.readouterr().out
    assert "accepted with the next" in said and "round trips" in said
    assert "--temperature 300" in said and "temper --restart t" in said
    whole = read_exchanges(tmp_path / "t" / RECORD)
    assert (whole.ladder, whole.ladders, whole.attempts) == ((300.0, 330.0, 365.0), 2, 6)

    assert run("temper", *QUICK, *given[:-1], "35", "--out", "parts") == 0
    assert run("temper", "--restart", "parts", "--steps", "25", "--device", "cpu") == 0
    np.testing.assert_array_equal(read_exchanges(tmp_path / "parts" / RECORD).rungs, whole.rungs)
    assert run("simulate", "--restart", "parts", "--steps", "10", "--device", "cpu") == 0
    assert read_exchanges(tmp_path / "parts" / RECORD).attempts == 7  # it goes on trading

    assert run("export", "t", "cold.xtc", "--temperature", "330", "--ladder", "1") == 0
    assert (tmp_path / "cold.xtc").is_file() and open_tempered("t").frames == 7
    assert run("export", "t", "cold.dcd", "--temperature", "310") == 2
    assert "300, 330, 365 K" in capsys.readouterr().err
    assert run("export", "t", "x.dcd", "--temperature", "300", "--replica", "1") == 2
    assert run("export", "t", "x.dcd", "--replica", "1") == 0


def test_a_made_ladder_and_extended_chains(tmp_path, capsys):
    write_pdb(tmp_path / "fold.pdb", embedded_protein("chignolin").protein)
    options = ["--pdb", "fold.pdb", "--hottest", "340", "--acceptance", "0.2", "--extended"]
    quick = ["--device", "cpu", "--steps", "20", "--every", "5", "--save-every", "5"]
    assert run("temper", *options, *quick, "--plan", "reference", "--out", "made") == 0
    ladder = read_exchanges(tmp_path / "made" / RECORD).ladder
    assert ladder[0] == 300.0 and ladder[-1] == 340.0
    first = open_tempered("made").positions(0, 0, slice(0, 1))[0]
    assert np.linalg.norm(first[1] - first[-3]) > 25.0  # ten residues, stretched


def test_a_ladder_from_a_trial_run(tmp_path):
    options = ["--hottest", "330", "--pilot", "40", "--steps", "10", "--out", "made"]
    assert run("temper", *QUICK, *options) == 0
    ladder = read_exchanges(tmp_path / "made" / RECORD).ladder
    assert ladder[0] == 300.0 and ladder[-1] == 330.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--temperatures", "300;400"], "300,340,385"),
        (["--temperatures", "400,300"], "must rise"),
        (["--temperatures", "300,400", "--hottest", "500"], "either --temperatures or --hottest"),
        (["--hottest", "200"], "rises from the lowest"),
        (["--acceptance", "1.5"], "acceptance of 1.5"),
        (["--pdb", "a.pdb", "--sequence", "AAA"], "either --pdb or --sequence"),
        (["--restart", "nowhere"], "not a run folder"),
        (["--sequence", "AGW", "--pilot", "1"], "trial run"),
    ],
)
def test_mistakes(arguments, words, capsys):
    assert run("temper", "--device", "cpu", *arguments) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
