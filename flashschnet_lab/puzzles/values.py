"""What wrong values say about a kernel: the mistake that they are the fingerprint of."""

from __future__ import annotations

import numpy as np
import torch

from flashschnet_lab.puzzles.specification import Case, Finding, Puzzle, place_in_words

HALF_DIGITS = 2e-2
"""Errors below this part of the largest value can come from 16-bit arithmetic."""


def value_findings(
    puzzle: Puzzle, case: Case, found: np.ndarray, expected: np.ndarray, unset: np.ndarray
) -> list[Finding]:
    """Return what is wrong with an output, the likeliest explanation alone.

    Args:
        puzzle: its suspects are compared with.
        case: the inputs.
        found: the output, float64.
        expected: the reference, float64, of the same shape.
        unset: [as found] elements that nobody wrote.
    """
    if unset.any():
        return [_never_written(puzzle, case, unset)]
    wrong = wrong_elements(found, expected, puzzle.tolerance)
    if not wrong.any():
        return []
    where = _first_wrong(puzzle, case, found, expected, wrong)
    for suspect in puzzle.suspects:
        fingerprint = suspect.wrong(case.inputs).double().numpy()
        told_apart = wrong_elements(fingerprint, expected, puzzle.tolerance).any()
        if told_apart and not wrong_elements(found, fingerprint, 4 * puzzle.tolerance).any():
            return [Finding(suspect.category, suspect.what, where, suspect.hint)]
    category, what, hint = _general(puzzle, found, expected, wrong)
    return [Finding(category, what, where, hint)]


def wrong_elements(found: np.ndarray, expected: np.ndarray, tolerance: float) -> np.ndarray:
    """Return where a result is off by more than a part of the largest expected value."""
    scale = float(np.abs(expected).max(initial=0.0)) or 1.0
    result: np.ndarray = ~(np.abs(found - expected) <= tolerance * scale)  # NaN is wrong, too
    return result


def _never_written(puzzle: Puzzle, case: Case, unset: np.ndarray) -> Finding:
    """Say which part of the output was left out."""
    name, count = puzzle.output.name, int(np.count_nonzero(unset))
    first = int(np.argmax(unset.ravel()))
    where = place_in_words(puzzle.output, case.inputs, unset.shape, first)
    what = f"{count} of {unset.size} elements of `{name}` are never written"
    if unset.ravel()[first:].all():
        hint = (
            "all from there to the end: the grid has too few programs (use triton.cdiv, which "
            "rounds up), or a mask switches off too much."
        )
    elif unset.ndim > 1 and (unset.all(axis=1) == unset.any(axis=1)).all():
        hint = "whole rows are left out: must a row without anything to add not become zero?"
    else:
        hint = "compare the indices that the programs write with those of the whole output."
    return Finding("mask", what, f"first {where}", hint)


def _first_wrong(
    puzzle: Puzzle, case: Case, found: np.ndarray, expected: np.ndarray, wrong: np.ndarray
) -> str:
    first = int(np.argmax(wrong.ravel()))
    place = place_in_words(puzzle.output, case.inputs, wrong.shape, first)
    count = int(np.count_nonzero(wrong))
    return (
        f"{count} of {wrong.size} elements are wrong; first {place}: "
        f"{found.ravel()[first]:.5g} instead of {expected.ravel()[first]:.5g}"
    )


def _general(
    puzzle: Puzzle, found: np.ndarray, expected: np.ndarray, wrong: np.ndarray
) -> tuple[str, str, str]:
    """Return category, sentence and hint for mistakes that any kernel can have."""
    close = lambda given: not wrong_elements(given, expected, 4 * puzzle.tolerance).any()  # noqa: E731
    scale = float(np.abs(expected).max(initial=0.0)) or 1.0
    if np.isnan(found).any():
        return (
            "mask",
            f"{np.count_nonzero(np.isnan(found))} elements are NaN",
            "lanes that are switched off in a tl.load have no value unless you say other=0.0; in a "
            "sum or a product they spoil everything. Or: 0 divided by 0, the root of a negative.",
        )
    if close(-found):
        return "formula", "the sign is wrong everywhere", "which way does the difference point?"
    if not found.any():
        return "formula", "everything is zero", "is the result that is stored the one computed?"
    square = float(np.sum(expected * expected))
    factor = float(np.sum(found * expected)) / square if square else 0.0
    if factor and close(found / factor):
        return (
            "formula",
            f"everything is {factor:.4g} times what it should be",
            "a constant factor of the formula is missing, or something is counted twice.",
        )
    if expected.ndim == 2 and close(found.reshape(expected.shape[::-1]).T):
        rows, columns = (axis for axis in puzzle.output.axes)
        return (
            "index",
            "the output is transposed",
            f"element ({rows} r, {columns} c) lies at r * number of {columns}s + c: the last axis "
            "is the one whose neighbours are neighbours in memory.",
        )
    if close(found + np.where(wrong, expected - np.trunc(expected), 0.0)) or close(
        found + np.where(wrong, expected - np.round(expected), 0.0)
    ):
        return (
            "dtype",
            "the values are cut to whole numbers",
            "somewhere floats pass through an integer type: look at every .to(...) and tl.zeros.",
        )
    if np.abs(found - expected).max() < HALF_DIGITS * scale and wrong.mean() > 0.25:
        error = np.abs(found - expected).max() / scale
        return (
            "dtype",
            f"almost right, but digits are lost: the error is {error:.0e} of the largest value",
            "float32 has 7 digits, float16 has 3, bfloat16 and TF32 have 2 to 3. Add up in float32 "
            '(tl.float32 in tl.zeros and .to), and use tl.dot(..., input_precision="ieee").',
        )
    if expected.ndim == 2 and _same_rows(found, expected, puzzle.tolerance * scale):
        return (
            "index",
            "all rows are right, but they lie in the wrong order",
            "which index does the row of the output get, and which the row that is read?",
        )
    for by in (-1, 1):
        if close(np.roll(found, by, axis=0)):
            return "index", "everything is shifted by one place", "where does counting start?"
    share = float(wrong.mean())
    return (
        "unknown",
        f"{share:.0%} of the values are wrong, and this checker does not recognise how",
        "look at the picture: which rows and columns are wrong? Then compute the first wrong "
        "element by hand, with PyTorch.",
    )


def _same_rows(found: np.ndarray, expected: np.ndarray, margin: float) -> bool:
    """Whether two matrices have the same rows in another order."""
    by_row = [matrix[np.lexsort(matrix.round(3).T)] for matrix in (found, expected)]
    return bool(np.abs(by_row[0] - by_row[1]).max() <= 4 * margin)


def poisoned(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return an output full of NaN, as nobody should rely on what new memory holds."""
    return torch.full(shape, float("nan"), dtype=dtype)
