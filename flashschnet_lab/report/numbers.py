"""Means and quantiles of observables with their errors, and how they are written."""

from __future__ import annotations

import math

import numpy as np

from flashschnet_lab.analysis.landscape import resampled

RESAMPLES = 200
QUANTILES = (0.05, 0.5, 0.95)


def weighted_mean(
    values: np.ndarray, weights: np.ndarray, resamples: int = RESAMPLES, seed: int = 1
) -> tuple[float, float]:
    """Return the weighted mean and its standard error over resampled columns.

    Frames of one replica are correlated, replicas are not: whole columns are drawn anew.

    Args:
        values: [frames, columns].
        weights: [frames, columns].
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Both not a number without a value; the error also with a single column.
    """
    there = np.isfinite(values) & (weights > 0.0)
    mass = np.where(there, weights, 0.0).sum(axis=0)  # [columns]
    sums = np.where(there, weights * np.where(there, values, 0.0), 0.0).sum(axis=0)
    if mass.sum() == 0.0:
        return math.nan, math.nan
    mean = float(sums.sum() / mass.sum())
    if values.shape[1] < 2:
        return mean, math.nan
    drawn = resampled(values.shape[1], resamples, seed)
    drawn = drawn[drawn @ mass > 0.0]
    return mean, float(np.std(drawn @ sums / (drawn @ mass)))


def weighted_quantiles(values: np.ndarray, weights: np.ndarray) -> tuple[float, ...]:
    """Return the values below which 5, 50 and 95 % of the weight lie."""
    there = np.isfinite(values) & (weights > 0.0)
    if not there.any():
        return (math.nan,) * len(QUANTILES)
    order = np.argsort(values[there])
    below = np.cumsum(weights[there][order])
    place = np.searchsorted(below, np.array(QUANTILES) * below[-1])
    return tuple(float(v) for v in values[there][order][np.minimum(place, len(order) - 1)])


def parted(value: float, error: float, unit: str = "") -> tuple[str, str]:
    """Return "0.54 Å" and "± 0.02 Å"; one digit of the error counts. The second may be empty."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("−∞" if value < 0 else "∞"), ""
    digits = 2
    if math.isfinite(error) and error > 0.0:
        digits = min(4, max(0, -math.floor(math.log10(error))))
    text = f"{value:.{digits}f} {unit}".replace("-", "−").rstrip()
    if math.isnan(error):
        return text, ""
    return text, f"± {error:.{digits}f} {unit}".replace("inf", "∞").rstrip()


def with_error(value: float, error: float, unit: str = "") -> str:
    """Return "0.54 ± 0.02 Å"."""
    alone, beside = parted(value, error)
    return " ".join(part for part in (alone, beside, unit) if part)
