"""Weights that make frames of many temperatures count as frames of one.

The multistate Bennett acceptance ratio (MBAR): among all estimates that use every frame, the one of
least variance. Source: M. R. Shirts and J. D. Chodera, Journal of Chemical Physics 129, 124105
(2008). Its equations are solved by their authors' own pymbar.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.units import BOLTZMANN

ROBUST: dict[str, Any] = {"solver_protocol": "robust", "maximum_iterations": 1000}
"""How pymbar solves. Its robust protocol means to go over to another solver after 1,000 iterations,
but pymbar's own default of 10,000 for all protocols overrules that, for the rest of the process."""

CONSISTENT = 1e-3
"""Largest relative error of the frames that each state should hold; a solution has far less."""


def tempering_weights(energies: Any, temperatures: Any, target: float) -> np.ndarray:
    """Return the weight of every frame at one temperature.

    Args:
        energies: [...] potential energies in kcal/mol, any shape.
        temperatures: [...] at which each frame was drawn, kelvin, the same shape.
        target: kelvin, within the range of the temperatures or close to it.

    Returns:
        [...] float64, the same shape, sum 1.

    Raises:
        UserError: shapes that differ, values that cannot be, or temperatures that do not overlap.
    """
    u, drawn = np.asarray(energies, dtype=np.float64), np.asarray(temperatures, dtype=np.float64)
    if u.shape != drawn.shape or u.size == 0:
        raise UserError(f"energies {u.shape} and temperatures {drawn.shape} must have one shape")
    if not np.isfinite(u).all() or drawn.min() <= 0.0 or target <= 0.0:
        raise UserError("energies must be finite and temperatures above 0 K")
    reduced, counts = _reduced(u.ravel(), drawn.ravel())
    denominator = log_mixture(reduced, counts, solve(reduced, counts))
    # A common energy changes no weight, and keeps exponents small.
    log_weight = -(u.ravel() - u.min()) / (BOLTZMANN * target) - denominator
    weight = np.exp(log_weight - log_weight.max())
    return (weight / weight.sum()).reshape(u.shape)


def effective_frames(weights: Any) -> float:
    """Return how many equal frames weights are worth: (sum w)^2 / sum w^2 (L. Kish, 1965)."""
    w = np.asarray(weights, dtype=np.float64)
    return float(w.sum() ** 2 / (w**2).sum())


def solve(reduced: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the dimensionless free energy of every state, the first one 0.

    Args:
        reduced: [states, frames] beta U of every frame in every state.
        counts: [states] frames that were drawn in each state.

    Raises:
        UserError: the states overlap so little that no answer is found.
    """
    with quiet_pymbar() as pymbar:
        try:
            f = pymbar.MBAR(reduced, counts, **ROBUST).f_k
        except (pymbar.utils.ParameterError, np.linalg.LinAlgError) as error:
            raise UserError(_NO_OVERLAP) from error
    own = np.log(counts)[:, None] + f[:, None] - reduced  # [states, frames]
    shares = np.exp(own - log_mixture(reduced, counts, f))
    # In each state the chances that a frame was drawn there add up to the frames that were.
    if not np.allclose(shares.sum(1), counts, rtol=CONSISTENT):
        raise UserError(_NO_OVERLAP)
    return np.asarray(f - f[0])


@contextmanager
def quiet_pymbar() -> Iterator[Any]:
    """Import pymbar and yield it, keeping its advertisements from the user's terminal.

    Raises:
        UserError: it is not installed.
    """
    logger = logging.getLogger("pymbar")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                import pymbar
            except ImportError as error:
                raise UserError(
                    'pymbar joins the frames and is not installed: pip install "pymbar>=4.0.2"'
                ) from error
            yield pymbar
    finally:
        logger.setLevel(before)


_NO_OVERLAP = "the states overlap too little to be joined; run longer, or add rungs or windows"


def _reduced(energies: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return beta U [states, frames] and the frames per state [states]."""
    states, counts = np.unique(drawn, return_counts=True)
    return (energies - energies.min())[None] / (BOLTZMANN * states[:, None]), counts


def log_mixture(reduced: np.ndarray, counts: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Return ln sum_k N_k exp(f_k - u_k) of every frame, [frames].

    Args:
        reduced: [states, frames] beta U of every frame in every state.
        counts: [states] frames that were drawn in each state.
        f: [states], from `solve`.
    """
    terms = np.log(counts)[:, None] + f[:, None] - reduced  # [states, frames]
    largest = terms.max(0)
    return largest + np.log(np.exp(terms - largest).sum(0))
