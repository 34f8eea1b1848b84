"""Weights that make frames of many temperatures count as frames of one.

The multistate Bennett acceptance ratio: among all estimates that use every frame, the one of least
variance. Source: M. R. Shirts and J. D. Chodera, Journal of Chemical Physics 129, 124105 (2008).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.units import BOLTZMANN

TOLERANCE = 1e-9
"""Largest change of a dimensionless free energy in the last round."""
MOST_ROUNDS = 5000
GENTLE_ROUNDS = 20
"""Rounds of plain iteration before Newton's method may leap."""


def tempering_weights(energies: Any, temperatures: Any, target: float) -> np.ndarray:
    """Return the weight of every frame at one temperature.

    Args:
        energies: [...] potential energies in kcal/mol, any shape.
        temperatures: [...] at which each frame was drawn, kelvin, the same shape.
        target: kelvin, within the range of the temperatures or close to it.

    Returns:
        [...] float64, the same shape, sum 1.

    Raises:
        UserError: shapes that differ, or values that cannot be.
    """
    u, drawn = np.asarray(energies, dtype=np.float64), np.asarray(temperatures, dtype=np.float64)
    if u.shape != drawn.shape or u.size == 0:
        raise UserError(f"energies {u.shape} and temperatures {drawn.shape} must have one shape")
    if not np.isfinite(u).all() or drawn.min() <= 0.0 or target <= 0.0:
        raise UserError("energies must be finite and temperatures above 0 K")
    reduced, counts = _reduced(u.ravel(), drawn.ravel())
    denominator = _log_mixture(reduced, counts, solve(reduced, counts))
    log_weight = -u.ravel() / (BOLTZMANN * target) - denominator
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
    f = np.zeros(len(counts))
    for number in range(MOST_ROUNDS):
        shares = np.exp(
            np.log(counts)[:, None] + f[:, None] - reduced - _log_mixture(reduced, counts, f)
        )  # [states, frames]: the chance that a frame was drawn in a state; columns sum to 1
        expected = shares.sum(1)
        change = -np.log(expected / counts)
        if number >= GENTLE_ROUNDS:
            change = _newton(shares, expected, counts, change)
        f = f + change
        f -= f[0]
        if np.abs(change - change[0]).max() < TOLERANCE:
            return f
    raise UserError("the temperatures overlap too little to be joined; run longer or add rungs")


def _newton(
    shares: np.ndarray, expected: np.ndarray, counts: np.ndarray, plain: np.ndarray
) -> np.ndarray:
    """Return Newton's step of the convex problem, or the plain one where it leaps too far."""
    hessian = np.diag(expected) - shares @ shares.T
    step = np.linalg.lstsq(hessian, counts - expected, rcond=None)[0]
    step = step - step[0]
    return step if np.abs(step).max() < 1.0 else plain


def _reduced(energies: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return beta U [states, frames] and the frames per state [states]."""
    states, counts = np.unique(drawn, return_counts=True)
    # A common energy changes no weight, and keeps exponents small.
    return (energies - energies.min())[None] / (BOLTZMANN * states[:, None]), counts


def _log_mixture(reduced: np.ndarray, counts: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Return ln sum_k N_k exp(f_k - beta_k U) of every frame, [frames]."""
    terms = np.log(counts)[:, None] + f[:, None] - reduced  # [states, frames]
    largest = terms.max(0)
    return largest + np.log(np.exp(terms - largest).sum(0))
