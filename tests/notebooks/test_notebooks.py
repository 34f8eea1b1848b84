"""Every notebook: what is stored in it is fit to be read on a web page.

That it runs is tested with `pytest --nbmake notebooks`, as `.ci/run` does.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("**/[!.]*.ipynb"))
IDS = [path.relative_to(NOTEBOOKS).as_posix() for path in PATHS]
LARGEST_BYTES = 1_000_000
LONGEST_MEDIAN_CELL = 6  # lines

every_notebook = pytest.mark.parametrize("path", PATHS, ids=IDS)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_there_is_a_first_notebook() -> None:
    assert "00_start.ipynb" in IDS


@every_notebook
def test_it_is_valid_and_small(path: Path) -> None:
    nbformat.validate(nbformat.read(path, as_version=4))
    assert path.stat().st_size < LARGEST_BYTES


@every_notebook
def test_it_was_executed_in_order_without_errors(path: Path) -> None:
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output.evalue for output in outputs if output.output_type == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs), "no static figure"


@every_notebook
def test_it_stores_no_widgets(path: Path) -> None:
    assert "widgets" not in nbformat.read(path, as_version=4).metadata
    kinds = {
        kind for cell in code_cells(path) for out in cell.outputs for kind in out.get("data", {})
    }
    assert not [kind for kind in kinds if "widget" in kind]


@every_notebook
def test_its_cells_are_short(path: Path) -> None:
    lengths = [len(cell.source.splitlines()) for cell in code_cells(path)]
    assert statistics.median(lengths) <= LONGEST_MEDIAN_CELL
