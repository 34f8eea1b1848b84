"""Exercises that check themselves: right, or what exactly is wrong.

A lesson leaves `answer = None` for the student to replace, and ends the cell with

    check("the distance", answer, expected, hint="a norm is a square root")

which prints one line and never raises, so that a notebook runs to its end unsolved.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

GREEN, RED, GREY, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[90m", "\x1b[0m"
TELLING_FACTORS = (2.0, 3.0, 4.0, 8.0, 10.0, 100.0, 418.4, 1000.0, 1024.0)
"""A single number that is off by one of these was computed with a wrong unit or a lost factor."""

SINGLE_PRECISION = 1e-5  # relative; what float32 cannot explain is larger


def check(name: str, value: Any, expected: Any, tolerance: float = 1e-5, hint: str = "") -> bool:
    """Print whether an answer is right and, when it is wrong, in which way.

    Args:
        name: what was asked for, for the printed line.
        value: the answer; None counts as not answered yet.
        expected: a number, an array or tensor of any shape, a text, or a set of texts.
        tolerance: largest error that is accepted, in units of the largest expected number; of 1
            where all that is expected is zero.
        hint: shown below a wrong answer.

    Returns:
        True if the answer is right. Nothing is raised, whatever the value is.
    """
    if value is None:
        print(f"{GREY}… {name}: not answered yet{PLAIN}")
        return False
    try:
        wrong = what_is_wrong(value, expected, tolerance)
    except Exception as error:  # an answer may be anything; a lesson must go on
        wrong = f"cannot be compared ({type(error).__name__}: {error})"
    if not wrong:
        print(f"{GREEN}✓ {name}: right{PLAIN}")
        return True
    print(f"{RED}✗ {name}: {wrong}{PLAIN}" + (f"\n  hint: {hint}" if hint else ""))
    return False


def what_is_wrong(value: Any, expected: Any, tolerance: float) -> str:
    """Return what is wrong with an answer, or nothing; arguments as for `check`."""
    if callable(value) and not hasattr(value, "__array__"):
        return "this is a function; call it and give what it returns"
    if isinstance(expected, str):
        return _wrong_texts({value} if isinstance(value, str) else value, {expected})
    if isinstance(expected, set | frozenset):
        return _wrong_texts({value} if isinstance(value, str) else value, expected)
    return _wrong_numbers(value, expected, tolerance)


def _wrong_texts(value: Any, expected: Iterable[str]) -> str:
    """Compare texts as sets, without regard to capitals and blanks around them."""
    if not isinstance(value, Iterable) or not all(isinstance(text, str) for text in value):
        return f"expected text, got {type(value).__name__}"
    given = {text.strip().casefold() for text in value}
    wanted = {text.strip().casefold() for text in expected}
    if given == wanted:
        return ""
    extra = sorted(given - wanted)
    if extra:
        return f"{', '.join(extra)} {'does' if len(extra) == 1 else 'do'} not belong here"
    missing = len(wanted - given)
    return f"right as far as it goes, but {missing} of {len(wanted)} {_is(missing)} missing"


def _wrong_numbers(value: Any, expected: Any, tolerance: float) -> str:
    """Compare numbers and arrays; the diagnosis goes from form to content."""
    given, wanted = _as_array(value), _as_array(expected)
    if given.dtype.kind not in "biuf":
        return f"expected numbers, got {type(value).__name__} of {given.dtype}"
    if given.shape != wanted.shape:
        turned = given.T.shape == wanted.shape and _close(given.T, wanted, tolerance)
        found = f"shape is {list(given.shape)}, expected {list(wanted.shape)}"
        return f"{found}; transposed it would be right" if turned else found
    if not np.isfinite(given).all():
        count = int(np.count_nonzero(~np.isfinite(given)))
        first = "" if given.ndim == 0 else f", the first at index {_first(~np.isfinite(given))}"
        return f"{count} of {given.size} values {_is(count)} nan or infinite{first}"
    if _close(given, wanted, tolerance):
        return ""
    return _numeric_difference(given, wanted, tolerance, _precision(value))


def _numeric_difference(
    given: np.ndarray, wanted: np.ndarray, tolerance: float, precision: str
) -> str:
    """Describe how finite numbers of the right shape differ from the expected ones."""
    if _close(-given, wanted, tolerance):
        return "the sign is wrong, all else is right"
    if given.ndim == 0:
        return _scalar_difference(float(given), float(wanted), tolerance)
    wanted_square = np.sum(wanted * wanted)
    factor = np.sum(given * wanted) / wanted_square if wanted_square else 0.0
    if factor and _close(given / factor, wanted, tolerance):
        return f"everything is {factor:.4g} times what it should be"
    if any(_close(np.roll(given, by, axis=0), wanted, tolerance) for by in (-1, 1)):
        return "the values are right, but shifted by one place"
    if _close(np.sort(given, axis=None), np.sort(wanted, axis=None), tolerance):
        return "the values are right, but their order is not"
    error = np.abs(given - wanted)
    scale = _scale(wanted)
    if precision and tolerance < SINGLE_PRECISION and error.max() < SINGLE_PRECISION * scale:
        return f"right to {error.max() / scale:.0e}, but {precision} holds no more; use float64"
    far = error > tolerance * scale
    return (
        f"{np.count_nonzero(far)} of {far.size} values are off, the first at index {_first(far)}; "
        f"the largest error is {error.max() / scale:.1e} of the largest value"
    )


def _scalar_difference(given: float, wanted: float, tolerance: float) -> str:
    """Describe how one number is off, without giving the answer away."""
    for factor in TELLING_FACTORS:
        if _close(np.array(given / factor), np.array(wanted), tolerance):
            return f"{given:.6g} is {factor:g} times too large"
        if _close(np.array(given * factor), np.array(wanted), tolerance):
            return f"{given:.6g} is {factor:g} times too small"
    return f"{given:.6g} is too {'large' if given > wanted else 'small'}"


def _as_array(value: Any) -> np.ndarray:
    """Return a number, array or tensor as an array, floats as float64."""
    if hasattr(value, "detach"):  # a torch tensor; a 16-bit one has no counterpart in numpy
        value = value.detach().cpu()
        value = (value.double() if value.is_floating_point() else value).numpy()
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind in "biuf" else array


def _precision(value: Any) -> str:
    """Return the name of a dtype with fewer digits than float64, or nothing."""
    name = str(getattr(value, "dtype", "")).removeprefix("torch.")
    return name if name in ("float32", "float16", "bfloat16") else ""


def _close(given: np.ndarray, wanted: np.ndarray, tolerance: float) -> bool:
    return bool(np.all(np.abs(given - wanted) <= tolerance * _scale(wanted)))


def _scale(wanted: np.ndarray) -> float:
    """Return the largest expected size, 1 where all that is expected is zero."""
    return float(np.abs(wanted).max(initial=0.0)) or 1.0


def _first(mask: np.ndarray) -> str:
    """Return the index of the first true entry as it is written in Python."""
    return str([int(place) for place in np.argwhere(mask)[0]])


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
