"""`flashschnet bench` as people call it."""

from __future__ import annotations

import json

import pytest

from flashschnet_lab.cli import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *arguments])
    return ended.value.code


def test_bench_of_a_bead_count(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    quick = ["--replicas", "1", "--seconds", "0.01", "--device", "cpu", "--out", "b.json"]
    assert run("--beads", "30", "--plan", "reference", "--by-stage", "--profile", *quick) == 0
    (record,) = json.loads((tmp_path / "b.json").read_text())["records"]
    assert record["work"] == {
        "protein": "30 beads",
        "replicas": 1,
        "beads": 30,
        "directed_edges": record["work"]["directed_edges"],
    }
    assert {"b.png", "b_roofline.png"} <= {path.name for path in tmp_path.iterdir()}
    shown = capsys.readouterr().out
    assert "roofline" in shown and "stage, predicted" in shown and "operation, measured" in shown


def test_fit_measures_nothing(capsys):
    assert run("--fit", "24GB", "--protein", "trpcage", "--protein", "chignolin") == 0
    shown = capsys.readouterr().out
    assert "Replicas that fit in 24 GB" in shown and "trpcage" in shown and "baseline" in shown
    assert run("--fit", "plenty") == 2


def test_a_model_does_not_go_with_a_bead_count(tmp_path, capsys):
    assert run("--beads", "30", "--model", str(tmp_path)) == 2
    assert "--beads" in capsys.readouterr().err
