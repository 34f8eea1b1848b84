"""Free energy along a coordinate from umbrella windows, joined by MBAR.

Each window held its replicas near a place where they would hardly go by themselves. Since what
held them is known, it can be taken out again: pymbar weighs the frames of all windows as if none
had been held, and counts them in bins. Source: M. R. Shirts and J. D. Chodera, Journal of Chemical
Physics 129, 124105 (2008).

Frames that follow each other are nearly copies. So of each replica only so many are taken as are
independent, by the statistical inefficiency of its series (J. D. Chodera et al., Journal of
Chemical Theory and Computation 3, 26 (2007)); errors are then those of MBAR's covariance. They know
nothing of motions that a window was too short to see: a slow coordinate beside the restrained one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from flashschnet_lab.analysis.landscape import Landscape
from flashschnet_lab.analysis.reweighting import ROBUST, quiet_pymbar
from flashschnet_lab.analysis.unrestrained import states
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.restraint import Restraint
from flashschnet_lab.units import thermal_energy


def umbrella_profile(
    values: Any,
    restraint: Restraint,
    temperature: float,
    *,
    bins: int = 30,
    span: tuple[float, float] | None = None,
) -> Landscape:
    """Return the free energy along the coordinate of a restraint, with errors.

    Args:
        values: [frames, replicas] of the coordinate, of every replica in its window; frames of the
            settling left out.
        restraint: of these replicas, with the centres that they were held at.
        temperature: of all of them, kelvin.
        bins: of the profile.
        span: (low, high) of the bins; default what was seen.

    Returns:
        A surface over one coordinate. Its error is one standard error of the difference from the
        lowest bin, whose own is 0; not a number in bins that no independent frame reached.

    Raises:
        UserError: shapes that do not fit, or windows that do not overlap.
    """
    seen = np.asarray(values, dtype=np.float64)
    if seen.ndim != 2 or seen.shape[1] != restraint.replicas or len(seen) < 2:
        raise UserError(
            f"values {seen.shape} must be [frames, replicas] with the {restraint.replicas} "
            "replicas of the restraint"
        )
    if not np.isfinite(seen).all() or temperature <= 0.0 or bins < 2:
        raise UserError("a profile needs finite values, a temperature above 0 K and 2 bins")
    states, state_of = windows_of(restraint)
    by_window = np.argsort(state_of, kind="stable")  # the order in which pymbar wants the frames
    kT = thermal_energy(temperature)
    with quiet_pymbar() as pymbar:
        kept = [_independent(pymbar, seen[:, replica]) for replica in by_window]
        x = np.concatenate(kept)
        counts = np.zeros(states.replicas, dtype=np.int64)
        np.add.at(counts, state_of[by_window], [len(series) for series in kept])
        held = states.energy_of(torch.from_numpy(x)[:, None]).numpy().T  # [windows, frames]
        low, high = span or (float(x.min()), float(np.nextafter(x.max(), np.inf)))
        edges = np.linspace(low, high, bins + 1)
        centres = 0.5 * (edges[1:] + edges[:-1])
        filled = np.histogram(x, edges)[0] > 0
        # Frames beyond the profile still tell about the windows: two more bins take them.
        around = np.array([min(x.min(), low) - 1.0, *edges, max(x.max(), high) + 1.0])
        try:
            estimate = pymbar.FES(held / kT, counts, mbar_options=dict(ROBUST))
            estimate.generate_fes(np.zeros(len(x)), x, histogram_parameters={"bin_edges": around})
            lowest = int(np.argmin(estimate.get_fes(centres[filled])["f_i"]))
            found = estimate.get_fes(
                centres[filled],
                reference_point="from-specified",
                fes_reference=float(centres[filled][lowest]),
                uncertainty_method="analytical",
            )
        except (pymbar.utils.ParameterError, np.linalg.LinAlgError, ValueError) as error:
            raise UserError(
                f"the windows overlap too little to be joined ({error}); run longer, or add windows"
            ) from error
    profile, errors = np.full(bins, np.nan), np.full(bins, np.nan)
    profile[filled], errors[filled] = kT * found["f_i"], kT * found["df_i"]
    return Landscape((edges,), profile, errors, temperature)


def overlap(values: Any, restraint: Restraint) -> np.ndarray:
    """Return how much neighbouring windows share, [windows - 1], 0 (nothing) to 1 (all).

    The share of the smaller histogram that lies within the other, of 30 bins over both. Below 0.1
    a window more between the two is worth its time.

    Args:
        values: [frames, replicas], as for `umbrella_profile`.
        restraint: likewise.
    """
    seen = np.asarray(values, dtype=np.float64)
    states, state_of = windows_of(restraint)
    shared = []
    for window in range(states.replicas - 1):
        pair = [seen[:, state_of == w].ravel() for w in (window, window + 1)]
        both = np.concatenate(pair)
        one, other = (np.histogram(p, 30, (both.min(), both.max()))[0] / len(p) for p in pair)
        shared.append(float(np.minimum(one, other).sum()))
    return np.array(shared)


def windows_of(restraint: Restraint) -> tuple[Restraint, np.ndarray]:
    """Return one row per window, by rising centre, and the window of every replica [replicas]."""
    first, state_of = states([restraint])
    return restraint.to("cpu").rows(first.tolist()), state_of


def _independent(pymbar: Any, series: np.ndarray) -> np.ndarray:
    """Return as many values of a series as are independent, evenly spread."""
    if np.ptp(series) == 0.0:
        return series[:1]
    inefficiency = pymbar.timeseries.statistical_inefficiency(series)
    return series[pymbar.timeseries.subsample_correlated_data(series, g=inefficiency)]
