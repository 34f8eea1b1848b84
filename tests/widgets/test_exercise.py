"""A check says what is wrong with an answer, for every way in which answers are wrong."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from flashschnet_lab.widgets import check
from flashschnet_lab.widgets.exercise import what_is_wrong

EXPECTED = np.array([[1.0, -2.0, 3.5], [0.25, 8.0, -1.5]])


@pytest.mark.parametrize(
    "right",
    [
        EXPECTED,
        EXPECTED.tolist(),
        EXPECTED * (1 + 1e-7),
        torch.tensor(EXPECTED, dtype=torch.bfloat16),  # its numbers are short enough for 8 digits
        torch.tensor(EXPECTED, requires_grad=True),
    ],
    ids=["array", "list", "rounded", "bfloat16", "gradient"],
)
def test_right_answers(right: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("the matrix", right, EXPECTED) is True
    printed = capsys.readouterr().out
    assert "✓ the matrix: right" in printed and printed.count("\n") == 1


def test_an_unanswered_exercise_is_not_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("the matrix", None, EXPECTED, hint="think") is False
    printed = capsys.readouterr().out
    assert "not answered yet" in printed and "think" not in printed


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (-EXPECTED, "sign"),
        (2 * EXPECTED, "2 times"),
        (418.4 * EXPECTED, "418.4 times"),
        (EXPECTED[0], r"shape is \[3\], expected \[2, 3\]"),
        (EXPECTED.T, "transposed"),
        (np.where(EXPECTED > 5, np.nan, EXPECTED), r"1 of 6 values is nan.*\[1, 1\]"),
        (EXPECTED[:, ::-1], "order"),
        (EXPECTED + 1e-3 * np.eye(3)[:2], r"2 of 6 values are off, the first at index \[0, 0\]"),
        (EXPECTED.astype(complex), "expected numbers.*complex"),
        (np.array(["a", "b"]), "expected numbers"),
        ("seven", "expected numbers"),
        (lambda: EXPECTED, "function"),
    ],
)
def test_what_is_wrong_is_named(wrong: Any, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("the matrix", wrong, EXPECTED, hint="think") is False
    printed = capsys.readouterr().out
    assert printed.startswith("\x1b[31m✗ the matrix:") and "hint: think" in printed
    assert re.search(said, printed), printed


def test_the_right_values_at_wrong_places_are_named() -> None:
    numbers = np.array([5.0, 1.0, 7.0, 2.0])
    assert "order" in what_is_wrong(numbers[[1, 0, 2, 3]], numbers, 1e-9)
    assert "shifted" in what_is_wrong(np.roll(numbers, 1), numbers, 1e-9)


def test_float32_where_float64_is_needed() -> None:
    exact = torch.linspace(0.1, 1.0, 5, dtype=torch.float64) ** 2
    said = what_is_wrong(exact.float(), exact, 1e-10)
    assert "float32 holds no more" in said
    assert what_is_wrong(exact.float(), exact, 1e-6) == ""


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (8.0, "2 times too large"),
        (4.0 / 1024, "1024 times too small"),
        (-4.0, "sign"),
        (4.4, "too large"),
        (3.7, "too small"),
        (float("nan"), "nan"),
    ],
)
def test_single_numbers(wrong: float, said: str) -> None:
    message = what_is_wrong(wrong, 4.0, 1e-5)
    assert said in message
    assert "4.0" not in message.replace("4.4", "")  # the answer stays with the student


def test_expected_zero_is_judged_absolutely() -> None:
    assert what_is_wrong(1e-7, 0.0, 1e-6) == ""
    assert "too large" in what_is_wrong(1e-3, 0.0, 1e-6)


def test_sets_of_texts() -> None:
    asked = {"water", "hydrogen"}
    assert what_is_wrong(["Hydrogen ", "WATER"], asked, 0.0) == ""
    assert "1 of 2 is missing" in what_is_wrong({"water"}, asked, 0.0)
    assert "oxygen does not belong" in what_is_wrong({"water", "oxygen"}, asked, 0.0)
    assert "expected text" in what_is_wrong(3, asked, 0.0)
    assert what_is_wrong("Energy", "energy", 0.0) == ""


def test_nothing_is_raised_whatever_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def __array__(self) -> np.ndarray:
            raise RuntimeError("no array")

    for nonsense in (Broken(), object(), [[1, 2], [3]], {"a": 1}, iter([])):
        assert check("anything", nonsense, EXPECTED) is False
    assert capsys.readouterr().out.count("✗") == 5
