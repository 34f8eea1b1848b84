"""The pages for teachers: what they point to is there, and names that they use exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import flashschnet_lab.puzzles
from flashschnet_lab.puzzles.series import MODULES

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
PAGES = [NOTEBOOKS / "TEACHING.md", NOTEBOOKS / "puzzles" / "solutions" / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#:]+)\)", prose)
    assert targets
    assert not [target for target in targets if not (page.parent / target).exists()]


def test_every_puzzle_has_a_notebook_and_a_solution() -> None:
    notebooks = [path.stem for path in sorted((NOTEBOOKS / "puzzles").glob("0*.ipynb"))]
    numbered = [name for name in MODULES if name != "double"]
    assert notebooks == [f"{number:02d}_{name}" for number, name in enumerate(numbered, 1)]
    solutions = {path.stem for path in (NOTEBOOKS / "puzzles" / "solutions").glob("*.py")}
    assert solutions == set(MODULES)


def test_public_names_exist() -> None:
    for name in flashschnet_lab.puzzles.__all__:
        assert getattr(flashschnet_lab.puzzles, name) is not None
