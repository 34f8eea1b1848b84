"""The README's tables are those of the measurement files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flashschnet_lab.measure.markdown import markdown_tables, titles

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "data" / "measurements").glob("*.json"))
KEYS = {"versions", "commit", "date", "work", "plan", "precision", "stage", "force_error"}
WORK = {"protein", "replicas", "beads", "directed_edges"}


def _records(file: Path) -> list[dict]:
    return json.loads(file.read_text(encoding="utf-8"))["records"]


def test_there_are_measurements():
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_records_have_the_agreed_form(file):
    for record in _records(file):
        assert set(record) >= KEYS
        assert set(record["work"]) == WORK
        assert ("gpu" in record) != ("cpu" in record)
        if "failed" not in record:
            assert set(record["ms"]) == {"min", "median", "max"}
            assert record["peak_bytes"] > 0
            assert record.get("compiled") or record["predicted_bytes"] > 0


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_line_of_the_readme_is_measured(file):
    records, readme = _records(file), (ROOT / "README.md").read_text(encoding="utf-8")
    shown = [table for table in markdown_tables(records) if table in readme]
    assert shown, f"README.md shows no table of {file.name}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_memory_that_was_measured_is_the_memory_that_is_predicted(file):
    for record in _records(file):
        if "failed" not in record and not record.get("compiled"):
            assert record["predicted_peak_bytes"] == pytest.approx(record["peak_bytes"], rel=0.12)


def test_a_table_has_a_title():
    records = _records(FILES[0])
    assert len(titles(records)) == len(markdown_tables(records))


def test_a_failed_plan_shows_no_speed():
    record = _records(FILES[0])[0]
    failed = {k: v for k, v in record.items() if k not in ("ms", "peak_bytes")}
    failed["failed"] = "out of memory"
    (table,) = markdown_tables([failed], failed["stage"])
    assert "out of memory" in table
