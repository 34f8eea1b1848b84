"""Folding statistics: who is folded, how often that changes, and what it costs.

Whether a conformation is folded is decided by a coordinate, [frames, replicas]: the share of native
contacts Q (`structure.native_contacts`), or one that is small in the folded state, as the RMSD is.
An open chain as short as ten residues is often within 4 angstrom of its fold; Q tells them apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from flashschnet_lab.analysis.landscape import half_width, resampled
from flashschnet_lab.errors import UserError
from flashschnet_lab.units import thermal_energy

FOLDED, UNFOLDED, UNKNOWN = 1, 0, -1


@dataclass(frozen=True)
class Folding:
    """What replicas did at one temperature.

    Attributes:
        share: of the frames that are folded, 0 to 1.
        share_error: its standard error over replicas; not a number with a single one.
        free_energy: of folding, -kT ln(share / (1 - share)), kcal/mol: below 0 the fold wins.
        free_energy_error: half the central 68 % over resampled replicas, kcal/mol; infinite where a
            resample may be folded, or unfolded, all the time.
        foldings: from unfolded to folded, all replicas together.
        unfoldings: the other way.
        first_times_ps: [replicas] when each was folded first; not a number where it never was.
    """

    share: float
    share_error: float
    free_energy: float
    free_energy_error: float
    foldings: int
    unfoldings: int
    first_times_ps: np.ndarray


def fold_states(series: Any, folded_below: float, unfolded_above: float) -> np.ndarray:
    """Return the state of every replica at every frame, with a gap between the two.

    A replica that trembles at one border would fold and unfold at every frame. With two borders it
    keeps its state until it has crossed to the far one.

    Args:
        series: [frames, replicas], small when folded.
        folded_below: a value below it is folded.
        unfolded_above: a value above it is unfolded; at least `folded_below`.

    Returns:
        [frames, replicas] int64: FOLDED, UNFOLDED, or UNKNOWN before the first of them.

    Raises:
        UserError: borders in the wrong order.
    """
    values = np.asarray(series, dtype=np.float64)
    if unfolded_above < folded_below:
        raise UserError(
            f"unfolded_above ({unfolded_above:g}) must not lie below folded_below "
            f"({folded_below:g})"
        )
    states = np.full(values.shape, UNKNOWN)
    states[values < folded_below] = FOLDED
    states[values > unfolded_above] = UNFOLDED
    # Every frame takes the state of the last frame that had one.
    frame = np.arange(len(states))[:, None]
    last = np.maximum.accumulate(np.where(states != UNKNOWN, frame, 0), axis=0)
    return np.take_along_axis(states, last, axis=0)


def contact_states(
    contacts: Any, folded_above: float = 0.8, unfolded_below: float = 0.2
) -> np.ndarray:
    """Return the states of `fold_states` by the share of native contacts.

    Args:
        contacts: [frames, replicas] Q, 0 to 1.
        folded_above: a share above it is folded.
        unfolded_below: a share below it is unfolded.

    Raises:
        UserError: borders in the wrong order.
    """
    if unfolded_below > folded_above:
        raise UserError(
            f"unfolded_below ({unfolded_below:g}) must not lie above folded_above "
            f"({folded_above:g})"
        )
    return fold_states(-np.asarray(contacts, dtype=np.float64), -folded_above, -unfolded_below)


def transitions(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how often each replica folded and unfolded, [replicas] each.

    Args:
        states: [frames, replicas], each column one molecule over time (not sorted
            by temperature).
    """
    before, after = states[:-1], states[1:]
    foldings = ((before == UNFOLDED) & (after == FOLDED)).sum(0)
    unfoldings = ((before == FOLDED) & (after == UNFOLDED)).sum(0)
    return foldings, unfoldings


def first_times(states: np.ndarray, times_ps: np.ndarray) -> np.ndarray:
    """Return when each replica was folded first, [replicas] ps; not a number where it never was."""
    folded = states == FOLDED
    return np.where(folded.any(0), np.asarray(times_ps, dtype=np.float64)[folded.argmax(0)], np.nan)


def folding(
    states: np.ndarray,
    times_ps: np.ndarray,
    temperature: float,
    *,
    skip: int = 0,
    resamples: int = 200,
    seed: int = 1,
) -> Folding:
    """Return the folding statistics of replicas at one temperature.

    Args:
        states: [frames, replicas] of `contact_states` or `fold_states`.
        times_ps: [frames].
        temperature: kelvin.
        skip: frames at the start that shares leave out.
        resamples: of the bootstrap over replicas.
        seed: of the bootstrap.

    Raises:
        UserError: nothing is left to count.
    """
    per_replica, error = _shares(states[skip:], resamples, seed)
    share = float(np.nanmean(per_replica))
    foldings, unfoldings = transitions(states)
    return Folding(
        share=share,
        share_error=float(np.std(error)) if len(per_replica) > 1 else math.nan,
        free_energy=float(folding_free_energy(share, temperature)),
        free_energy_error=float(half_width(folding_free_energy(error, temperature)))
        if len(per_replica) > 1
        else math.nan,
        foldings=int(foldings.sum()),
        unfoldings=int(unfoldings.sum()),
        first_times_ps=first_times(states, times_ps),
    )


def folding_free_energy(share: Any, temperature: float) -> np.ndarray:
    """Return -kT ln(p / (1 - p)) of shares of folded frames, kcal/mol; infinite at 0 and 1."""
    p = np.asarray(share, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return thermal_energy(temperature) * (np.log(1.0 - p) - np.log(p))


def melting_curve(
    states: np.ndarray, *, skip: int = 0, resamples: int = 200, seed: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of folded frames at every temperature and its standard error.

    Args:
        states: [frames, rungs, ladders], sorted by temperature.
        skip: frames at the start to leave out.
        resamples: of the bootstrap over ladders.
        seed: of the bootstrap.

    Returns:
        [rungs] shares and [rungs] errors; errors are not a number with a single ladder.
    """
    shares, errors = [], []
    for rung in range(states.shape[1]):
        per_ladder, drawn = _shares(states[skip:, rung], resamples, seed)
        shares.append(np.nanmean(per_ladder))
        errors.append(np.std(drawn) if len(per_ladder) > 1 else math.nan)
    return np.array(shares), np.array(errors)


def _shares(states: np.ndarray, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the folded share of each replica, and the mean share of each resample of them."""
    known = (states != UNKNOWN).sum(0)
    if not known.any():
        raise UserError("no frame is clearly folded or unfolded; move the borders or run longer")
    with np.errstate(invalid="ignore"):
        per_replica = (states == FOLDED).sum(0) / known  # not a number where nothing is known
    drawn = resampled(states.shape[1], resamples, seed)
    there = np.isfinite(per_replica)
    drawn = drawn[drawn[:, there].sum(1) > 0][:, there]
    return per_replica, drawn @ per_replica[there] / drawn.sum(1)
