"""Every solution passes the checker, and every typical wrong answer is told what is wrong."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed")

from flashschnet_lab.errors import UserError
from flashschnet_lab.puzzles.diagnosis import diagnose
from flashschnet_lab.puzzles.interpreter import require_triton
from flashschnet_lab.puzzles.series import MODULES
from tests.puzzles.wrong_answers import WRONG_ANSWERS, WrongAnswer

SOLUTIONS = Path(__file__).resolve().parents[2] / "notebooks" / "puzzles" / "solutions"
ALL_WRONG = [(puzzle, wrong) for puzzle, answers in WRONG_ANSWERS.items() for wrong in answers]
_numbers = itertools.count()

try:
    require_triton()
except UserError as problem:
    pytest.skip(str(problem), allow_module_level=True)


def launcher(path: Path) -> Callable[..., object]:
    """Return the function `launch` of a file."""
    specification = importlib.util.spec_from_file_location(f"answer_{next(_numbers)}", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    launch: Callable[..., object] = module.launch
    return launch


@pytest.mark.parametrize("puzzle", MODULES)
def test_the_solution_is_right(puzzle: str) -> None:
    diagnosis = diagnose(puzzle, launcher(SOLUTIONS / f"{puzzle}.py"))
    assert diagnosis.solved, str(diagnosis)
    assert len(diagnosis.passed) == len(diagnosis.puzzle.cases())
    assert "Solved" in str(diagnosis)


@pytest.mark.parametrize(
    ("puzzle", "wrong"), ALL_WRONG, ids=[f"{puzzle}: {wrong.name}" for puzzle, wrong in ALL_WRONG]
)
def test_a_wrong_answer_is_explained(puzzle: str, wrong: WrongAnswer, tmp_path: Path) -> None:
    source = (SOLUTIONS / f"{puzzle}.py").read_text()
    for old, new in wrong.edits:
        assert old in source, f"{old!r} is not in the solution any more"
        source = source.replace(old, new)
    path = tmp_path / "answer.py"
    path.write_text(source)

    diagnosis = diagnose(puzzle, launcher(path))

    assert diagnosis.categories[:1] == (wrong.category,), str(diagnosis)
    for words in wrong.words:
        assert words in str(diagnosis), str(diagnosis)
