"""`flashschnet umbrella` and `simulate --restrain`: run folders, profiles, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("pymbar", reason="pymbar is not installed")

from flashschnet_lab.analysis.named_coordinates import coordinate_named
from flashschnet_lab.analysis.umbrella_run import read_umbrella
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_system
from flashschnet_lab.simulation.store import open_trajectory
from flashschnet_lab.umbrella_command import ends, spring_for, usual_count
from flashschnet_lab.units import thermal_energy
from tests.command_line import run

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


CHAIN = ["--device", "cpu", "--sequence", "AGWKLA", "--save-every", "5"]
QUICK = ["--pull-ps", "0.4", "--settle-ps", "0.2", "--time-ps", "0.8"]
TWO = ["--from", "14", "--to", "13.4", "--windows", "2", "--replicas", "2"]


def test_a_run_of_windows(tmp_path, capsys):
    assert run("umbrella", *CHAIN, *QUICK, *TWO, "-o", "w") == 0
    said = capsys.readouterr().out
    assert "2 windows of the end-to-end distance, 13.4 to 14 angstrom" in said
    assert "into the windows" in said and "umbrella --restart w" in said
    first = json.loads((tmp_path / "w/profile.json").read_text(), parse_constant=pytest.fail)
    assert (tmp_path / "w/profile.png").read_bytes()[:4] == b"\x89PNG"
    assert first["windows"]["centres"] == [13.4, 14.0] and first["frames"] == 40
    found = [f for f in first["profile"]["free_energy"] if f is not None]
    assert min(found) == 0.0 and len(first["profile"]["edges"]) == 31
    assert len(first["profile"]["error"]) == len(first["profile"]["free_energy"]) == 30

    stored = open_trajectory("w")
    assert stored.replicas == 4 and stored.restrained.shape == (40, 4, 1)
    again = read_umbrella("w")
    assert again.to_dict() == first
    by_window = [stored.restrained[:, :2], stored.restrained[:, 2:]]
    for samples, values in zip(again.samples, by_window, strict=True):
        np.testing.assert_array_equal(samples, values.ravel())

    restart = ["--restart", "w", "--time-ps", "0.2", "--bins", "10", "--device", "cpu"]
    assert run("umbrella", *restart) == 0
    longer = json.loads((tmp_path / "w/profile.json").read_text())
    assert longer["frames"] == 50 and len(longer["profile"]["edges"]) == 11
    np.testing.assert_array_equal(open_trajectory("w").restrained[:40], stored.restrained)
    assert run("simulate", "--restart", "w", "--steps", "5", "--device", "cpu") == 0
    assert run("export", "w", "one.xtc") == 0
    capsys.readouterr()
    assert run("analyse", "w") == 0
    assert "held by restraints (end-to-end distance)" in " ".join(capsys.readouterr().out.split())


def test_windows_that_share_nothing(tmp_path, capsys):
    far = ["--from", "11", "--to", "14", "--windows", "2", "--strength", "300"]
    assert run("umbrella", *CHAIN, *QUICK, *far, "-o", "far") == 2
    said = capsys.readouterr().err
    assert "windows 0 (at 11 angstrom) and 1 (at 14 angstrom) share nothing" in said
    assert "--windows 3 --strength 300" in said and "--restart far" in said
    stored = json.loads((tmp_path / "far/profile.json").read_text())
    assert stored["profile"] is None and stored["windows"]["overlap"] == [0.0]
    assert (tmp_path / "far/profile.png").is_file() and open_trajectory("far").frames == 40


def test_simulate_restrained(tmp_path, capsys):
    held = ["--restrain", "end_to_end=12:5", "--restrain", "rg=6:2:0.5"]
    short = ["--steps", "10", "--replicas", "2", "--out", "s"]
    assert run("simulate", *CHAIN, *held, *short) == 0
    stored = open_trajectory("s")
    assert [r.coordinate.name for r in stored.restraints] == [
        "end-to-end distance",
        "radius of gyration",
    ]
    assert stored.restrained.shape == (3, 2, 2) and stored.restraint_energy.shape == (3, 2)
    assert run("simulate", "--restart", "s", *held, "--device", "cpu") == 2
    assert "keeps the restraints" in capsys.readouterr().err
    assert run("umbrella", "--restart", "s", "--time-ps", "0.1", "--device", "cpu") == 2
    assert "simulate --restart s" in capsys.readouterr().err.replace("\n", " ")
    assert open_trajectory("s").frames == 3  # nothing was run in vain
    with pytest.raises(UserError, match="in no windows"):
        read_umbrella("s")


def test_usual_windows():
    system = load_system("chignolin")
    assert ends("end_to_end", system, (None, None)) == (4.0, 20.0)
    assert ends("q", system, (0.9, None)) == (0.9, 0.95)
    assert ends("q", system, (0.9, 0.2)) == (0.2, 0.9)
    length, share = (coordinate_named(n, system.protein, system.reference) for n in ("rg", "q"))
    for coordinate, span, count in ((length, 16.0, 16), (length, 60.0, 50), (share, 60.0, 16)):
        found = usual_count(coordinate, span, 300.0)
        assert found == count
        centres = np.linspace(0.0, span, found)
        spring = spring_for(centres, 300.0)
        spread = np.sqrt(thermal_energy(300.0) / spring)
        assert (centres[1] - centres[0]) / spread == pytest.approx(1.6, rel=3e-3)
        assert spring >= 1.0 or coordinate is share


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--coordinate", "gdt_ts"], "known are end_to_end, rg, rmsd, q"),
        (["--coordinate", "0-5"], "give --from and --to"),
        (["--coordinate", "rmsd", *CHAIN[2:4]], "native conformation"),
        (["--from", "5", "--to", "5"], "all one"),
        (["--time-ps", "0.01"], "--time-ps 0.01 is too short"),
        (["--pull-ps", "-1"], "--pull-ps -1 is too short"),
        (["--strength", "-1"], "strength"),
        (["--pdb", "a.pdb", "--sequence", "AAA"], "either --pdb or --sequence"),
        (["--restart", "nowhere"], "not a run folder"),
        (["--out", "."], "exists"),
    ],
)
def test_mistakes(arguments, words, capsys):
    assert run("umbrella", "--device", "cpu", "--plan", "reference", *arguments) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
