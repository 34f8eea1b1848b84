r"""TICA: the slowest motions of a run, as linear combinations of distances.

Time-lagged independent component analysis solves

    C(tau) v = lambda C(0) v

with the covariances of C-alpha distances at the same time and a lag time tau apart. The process
along v forgets itself in t = -tau / ln(lambda). Source: G. Perez-Hernandez et al., Journal of
Chemical Physics 139, 015102 (2013). deeptime does the algebra (the optional extra `analysis`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flashschnet_lab.analysis.blocks import Watch, choose_frames, count_frames
from flashschnet_lab.analysis.run_folder import Run, open_run
from flashschnet_lab.analysis.structure import c_alpha_indices, distances
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.store import Trajectory

MOST_RESIDUES = 40
"""Of larger proteins, so many residues are measured, evenly spaced: at most 780 distances."""
SEPARATION = 2
"""Residues closer along the chain are left out: their distance hardly changes."""
FRAMES_AT_ONCE = 2048
FEWEST_LAGS = 10
"""A replica shorter than so many lag times says nothing of slow motions."""


@dataclass(frozen=True)
class SlowModes:
    """The slowest motions of a run.

    Attributes:
        projections: [frames, replicas, modes] each with mean 0 and variance 1 over the run; not a
            number where a conformation is none.
        timescales_ps: [modes] in which each forgets itself, picoseconds; falling.
        lag_ps: lag time.
        pairs: [features, 2] beads whose distances were used.
        columns: what each replica is.
    """

    projections: np.ndarray
    timescales_ps: np.ndarray
    lag_ps: float
    pairs: np.ndarray
    columns: tuple[str, ...]


def slow_modes(
    source: str | Path | Trajectory | Run,
    lag_ps: float,
    *,
    modes: int = 2,
    skip_ps: float = 0.0,
    every: int = 1,
    watch: Watch | None = None,
) -> SlowModes:
    """Return the slowest modes of a run; the trajectory is read twice, in pieces.

    In a tempering run each replica is followed through the temperatures: the modes are still good
    coordinates, but their time scales belong to no single temperature.

    Args:
        source: a run folder, a trajectory store, or an open one.
        lag_ps: lag time in picoseconds, a few frames or more.
        modes: how many.
        skip_ps: time at the start to leave out.
        every: take every so many frames.
        watch: called with the conformations done and their number.

    Raises:
        UserError: deeptime is missing, or the run is too short for the lag time.
    """
    trajectory = open_run(source).trajectory
    frames = choose_frames(trajectory, skip_ps, every)
    count = count_frames(trajectory, frames)
    times = trajectory.times_ps[frames]
    apart = float(times[1] - times[0]) if count > 1 else np.inf
    lag = round(lag_ps / apart)
    if lag < 1 or count < FEWEST_LAGS * lag:
        raise UserError(
            f"a lag time of {lag_ps:g} ps does not fit {count} frames {apart:g} ps apart; take one "
            f"between {apart:g} ps and a tenth of the run"
        )
    pairs = _pairs(trajectory)
    steps, total = 0, 2 * count * trajectory.replicas

    def told(pieces: Iterable[tuple[int, int, np.ndarray]], new: int) -> Iterator[Any]:
        nonlocal steps
        for replica, start, features in pieces:
            yield replica, start, features
            steps += len(features) - (new if start else 0)
            if watch is not None:
                watch(steps, total)

    lagged = told(_features(trajectory, frames, pairs, lag), lag)
    model = fit_tica((features for _, _, features in lagged), lag, modes)
    projections = np.full((count, trajectory.replicas, model.output_dimension), np.nan)
    for replica, start, features in told(_features(trajectory, frames, pairs, 0), 0):
        finite = np.isfinite(features).all(axis=1)
        place = projections[start : start + len(features), replica]
        place[finite] = model.transform(features[finite])
    values = np.clip(np.abs(model.singular_values[: projections.shape[2]]), 1e-300, 1.0 - 1e-12)
    return SlowModes(
        projections=(projections - np.nanmean(projections, axis=(0, 1)))
        / np.nanstd(projections, axis=(0, 1)),
        timescales_ps=-lag * apart / np.log(values),
        lag_ps=lag * apart,
        pairs=pairs,
        columns=tuple(f"replica {number}" for number in range(trajectory.replicas)),
    )


def fit_tica(pieces: Iterable[np.ndarray], lag: int, modes: int) -> Any:
    """Return deeptime's TICA model of continuous pieces of a time series.

    Args:
        pieces: each [frames, features], without gaps; rows that are no numbers end a piece. Pairs
            of rows `lag` apart are taken within a piece.
        lag: frames.
        modes: how many.

    Raises:
        UserError: deeptime is missing, or no piece is longer than the lag.
    """
    try:
        from deeptime.covariance import Covariance
        from deeptime.decomposition import TICA
    except ImportError as error:
        raise UserError(
            "TICA needs deeptime; install it with: pip install 'flashschnet-lab[analysis]'"
        ) from error
    covariance = Covariance(
        lagtime=lag, compute_c00=True, compute_c0t=True, compute_ctt=False, reversible=True,
        bessels_correction=False, remove_data_mean=True,
    )  # fmt: skip
    added = 0
    for features in pieces:
        now, later = features[:-lag], features[lag:]
        there = np.isfinite(now).all(axis=1) & np.isfinite(later).all(axis=1)
        if there.any():
            covariance.partial_fit((now[there], later[there]))
            added += int(there.sum())
    if not added:
        raise UserError(f"no two conformations lie {lag} frames apart; take a shorter lag time")
    return TICA(lagtime=lag, dim=modes, scaling=None).fit_from_covariances(covariance).fetch_model()


def _pairs(trajectory: Trajectory) -> np.ndarray:
    """Return the pairs of C-alpha beads whose distances are the features, [features, 2]."""
    alphas = c_alpha_indices(trajectory.protein)
    shown = np.unique(np.linspace(0, len(alphas) - 1, min(len(alphas), MOST_RESIDUES)).round())
    kept = shown.astype(np.int64)
    first, second = np.triu_indices(len(kept), k=1)
    far = kept[second] - kept[first] > SEPARATION
    if not far.any():
        raise UserError(f"{trajectory.protein.name} is too short for TICA: no residues far apart")
    return np.stack([alphas[kept[first]], alphas[kept[second]]], axis=-1)[far]


def _features(
    trajectory: Trajectory, frames: slice, pairs: np.ndarray, overlap: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (replica, first row, distances [rows, features]); pieces overlap by so many rows."""
    count = count_frames(trajectory, frames)
    at_once = max(FRAMES_AT_ONCE, 4 * overlap)
    for replica in range(trajectory.replicas):
        for start in range(0, count, at_once):
            first = max(0, start - overlap)
            stop = min(start + at_once, count)
            piece = slice(
                frames.start + first * frames.step,
                min(frames.start + stop * frames.step, frames.stop),
                frames.step,
            )
            positions = trajectory.positions(piece, replica).astype(np.float64)
            yield replica, first, distances(positions, pairs)
