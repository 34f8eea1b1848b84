"""How far two ensembles are apart: one number between 0 and 1 for every coordinate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flashschnet_lab.analysis.pictures import CHAIN_COLORS, INK
from flashschnet_lab.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flashschnet_lab.analysis.observables import Observations

BINS = 60


@dataclass(frozen=True)
class Distance:
    """The distance of two runs in one observable.

    Attributes:
        name: of the observable.
        distance: Jensen-Shannon, 0 (alike) to 1 (apart).
        within: the same between the two halves of the replicas of each run: what chance alone
            makes. Not a number for a run with one replica.
    """

    name: str
    distance: float
    within: tuple[float, float]


def jensen_shannon(
    a: Any, b: Any, bins: int = BINS, weights_a: Any = None, weights_b: Any = None
) -> float:
    """Return the Jensen-Shannon distance of two samples, 0 (alike) to 1 (apart).

    The square root of the divergence in bits between their histograms over the common range.
    Source: J. Lin, IEEE Trans. Inf. Theory 37, 145 (1991).

    Args:
        a, b: samples of any shape; those that are no numbers are left out.
        bins: of the histograms.
        weights_a, weights_b: what each sample counts, the same shapes; default all alike.

    Raises:
        UserError: a sample with nothing in it.
    """
    left, right = _sample(a, weights_a), _sample(b, weights_b)
    low = min(left[0].min(), right[0].min())
    high = max(left[0].max(), right[0].max())
    edges = np.linspace(low, high + 1e-12 * max(1.0, abs(high)), bins + 1)
    p, q = (np.histogram(x, edges, weights=w)[0] / w.sum() for x, w in (left, right))
    middle = 0.5 * (p + q)

    def divergence(x: np.ndarray) -> float:
        there = x > 0
        return float((x[there] * np.log2(x[there] / middle[there])).sum())

    return float(np.sqrt(max(0.0, 0.5 * divergence(p) + 0.5 * divergence(q))))


def jensen_shannon_of_energies(difference: Any) -> float:
    """Return the Jensen-Shannon distance of two canonical ensembles from their energies.

    With p of one and q proportional to p exp(-difference), the divergence is a mean over samples of
    p alone. No coordinate tells the two further apart than this: whatever is computed from a
    conformation can only lose what distinguishes them (the data-processing inequality). Nothing is
    histogrammed, so there is no noise of bins; but what q visits and the samples miss is not seen.
    Source: J. Lin, IEEE Trans. Inf. Theory 37, 145 (1991), with q/p from perturbation theory.

    Args:
        difference: of energies at samples of p, over kT, any shape; a constant does not count.

    Raises:
        UserError: no samples, or energies that are no numbers.
    """
    x = np.asarray(difference, dtype=np.float64).ravel()
    if not x.size or not np.isfinite(x).all():
        raise UserError("ensembles are told apart by energies, and these are none or no numbers")
    w = np.exp(x.min() - x)
    w /= w.mean()  # q/p at every sample
    known = w > 0.0
    divergence = 0.5 * np.log2(2.0 / (1.0 + w))
    divergence[known] += 0.5 * w[known] * np.log2(2.0 * w[known] / (1.0 + w[known]))
    return float(np.sqrt(max(0.0, divergence.mean())))


def compare(
    a: Observations, b: Observations, temperature: float | None = None, bins: int = BINS
) -> list[Distance]:
    """Return the distances of two runs, for every observable that both have.

    Args:
        a, b: from `observables.observe`.
        temperature: kelvin; frames of other temperatures are weighted to it. Default: all frames
            of both count alike.
        bins: of the histograms.

    Raises:
        UserError: no common observable.
    """
    names = [name for name in a.values if name in b.values]
    if not names:
        raise UserError(
            f"the runs share no observable: {', '.join(a.values)} and {', '.join(b.values)}"
        )
    weights = [_weights(table, temperature) for table in (a, b)]
    return [
        Distance(
            name,
            jensen_shannon(a[name], b[name], bins, *weights),
            (_within(a[name], weights[0], bins), _within(b[name], weights[1], bins)),
        )
        for name in names
    ]


def comparison_picture(
    a: Observations,
    b: Observations,
    found: Sequence[Distance],
    names: tuple[str, str],
    temperature: float | None = None,
) -> Figure:
    """Draw the distributions of two runs, one panel for every observable.

    Args:
        a, b: what was compared.
        found: from `compare`.
        names: of the two.
        temperature: as for `compare`.
    """
    from matplotlib.figure import Figure

    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.4 * rows + 0.3), dpi=110, layout="constrained")
    grid: Any = figure.subplots(rows, columns, squeeze=False).ravel()
    weights = [_weights(table, temperature) for table in (a, b)]
    for axes, distance in zip(grid, found, strict=False):
        name = distance.name
        samples = [_sample(t[name], w) for t, w in zip((a, b), weights, strict=True)]
        both = np.concatenate([values for values, _ in samples])
        edges = np.linspace(both.min(), both.max() + 1e-9, BINS + 1)
        colors = (CHAIN_COLORS[0], CHAIN_COLORS[4])
        for (values, weight), color, label in zip(samples, colors, names, strict=True):
            common: Any = {"weights": weight, "density": True, "color": color}
            axes.hist(values, edges, histtype="stepfilled", alpha=0.3, **common)
            axes.hist(values, edges, histtype="step", label=label, **common)
        axes.set_xlabel(a.observables[name].label, color=INK)
        axes.set_title(f"distance {distance.distance:.2f}", color=INK, fontsize=9)
        axes.set_yticks([])
        axes.tick_params(colors=INK, labelsize=9)
        axes.spines[["top", "right", "left"]].set_visible(False)
    for axes in grid[len(found) :]:
        axes.remove()
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=9, labelcolor=INK, ncols=2,
                  loc="outside upper right")  # fmt: skip
    return figure


def _weights(table: Observations, temperature: float | None) -> np.ndarray:
    """Return what each conformation counts, [frames, columns]."""
    if temperature is None:
        return np.ones(table.temperatures.shape)
    return table.weights(temperature)


def _within(values: np.ndarray, weights: np.ndarray, bins: int) -> float:
    """Return the distance between the two halves of the replicas of a run."""
    half = values.shape[1] // 2
    if half == 0:
        return float("nan")
    return jensen_shannon(
        values[:, :half], values[:, half:], bins, weights[:, :half], weights[:, half:]
    )


def _sample(values: Any, weights: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the finite values that count and their weights, both flat."""
    x = np.asarray(values, dtype=np.float64)
    w = np.ones(x.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    there = np.isfinite(x) & np.isfinite(w) & (w > 0.0)
    if not there.any():
        raise UserError("a distance needs two samples, and one of them is empty")
    return x[there], w[there]
