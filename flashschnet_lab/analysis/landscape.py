"""Free-energy surfaces: how likely each value of a coordinate is, as an energy.

    F(x) = -kT ln p(x)

with p(x) the share of conformations in a bin. Frames of one replica are correlated, replicas are
not: errors come from drawing whole replicas anew with replacement, again and again (the bootstrap:
B. Efron, Annals of Statistics 7, 1 (1979)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flashschnet_lab.analysis.pictures import CHAIN_COLORS, INK
from flashschnet_lab.errors import UserError
from flashschnet_lab.units import thermal_energy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CENTRAL = (0.16, 0.84)
"""Quantiles of the resampled values: one standard error to each side, if they are normal."""
ERROR_CEILING = 1.0
"""kcal/mol; larger errors have one colour in a picture."""


@dataclass(frozen=True)
class Landscape:
    """A free-energy surface over one or two coordinates.

    Attributes:
        edges: [bins + 1] of each coordinate, in its own unit.
        free_energy: [bins] or [bins of x, bins of y], kcal/mol, 0 at the lowest; not a number where
            nothing was seen.
        error: the same shape, kcal/mol: half the width of the central 68 % of the resampled values
            of -kT ln p. Infinite where so few replicas came that some resamples have none; not a
            number where nothing was seen, and everywhere with a single replica.
        temperature: kelvin.
    """

    edges: tuple[np.ndarray, ...]
    free_energy: np.ndarray
    error: np.ndarray
    temperature: float

    @property
    def centres(self) -> tuple[np.ndarray, ...]:
        """The middle of the bins of each coordinate, [bins] each."""
        return tuple(0.5 * (edges[1:] + edges[:-1]) for edges in self.edges)

    @property
    def minimum(self) -> tuple[float, ...]:
        """Where the surface is lowest, in the units of the coordinates."""
        lowest = np.unravel_index(np.nanargmin(self.free_energy), self.free_energy.shape)
        return tuple(float(c[place]) for c, place in zip(self.centres, lowest, strict=True))


def landscape(
    x: Any,
    y: Any = None,
    *,
    temperature: float,
    bins: int = 40,
    ranges: Sequence[tuple[float, float]] | None = None,
    weights: Any = None,
    resamples: int = 200,
    seed: int = 1,
) -> Landscape:
    """Return the free-energy surface of one or two coordinates.

    Args:
        x: [frames, replicas] any coordinate; frames that are not finite are left out.
        y: [frames, replicas] a second one.
        temperature: at which the frames count as drawn, kelvin.
        bins: per coordinate.
        ranges: (low, high) of each coordinate; default what was seen.
        weights: [frames, replicas] of frames that were drawn at other temperatures; default equal.
        resamples: of the bootstrap over replicas.
        seed: of the bootstrap.

    Raises:
        UserError: shapes that do not fit together, or nothing to count.
    """
    axes = [np.asarray(c, dtype=np.float64) for c in ((x,) if y is None else (x, y))]
    mass = np.ones(axes[0].shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if axes[0].ndim != 2 or any(a.shape != axes[0].shape for a in (*axes, mass)):
        raise UserError(
            f"coordinates and weights must be [frames, replicas] alike, not "
            f"{', '.join(str(a.shape) for a in (*axes, mass))}"
        )
    finite = np.isfinite(mass) & np.all([np.isfinite(a) for a in axes], axis=0)
    if not (finite & (mass > 0.0)).any() or temperature <= 0.0 or bins < 1:
        raise UserError(
            f"no landscape of {int(finite.sum())} finite frames in {bins} bins at {temperature:g} K"
        )
    ranges = ranges or [(a[finite].min(), a[finite].max()) for a in axes]
    edges = tuple(
        np.linspace(low, high if high > low else low + 1e-9, bins + 1) for low, high in ranges
    )
    counts = np.stack(
        [
            np.histogramdd([a[here, r] for a in axes], edges, weights=mass[here, r])[0]
            for r, here in enumerate(finite.T)
        ]
    )  # [replicas, bins, ...]
    total = _free_energy(counts.sum(0), temperature)
    return Landscape(
        edges=edges,
        free_energy=np.where(np.isfinite(total), total - total[np.isfinite(total)].min(), np.nan),
        error=_errors(counts, temperature, resamples, seed),
        temperature=temperature,
    )


def resampled(replicas: int, resamples: int, seed: int) -> np.ndarray:
    """Return how often each replica is drawn in each resample, [resamples, replicas] int64."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(replicas, np.full(replicas, 1.0 / replicas), size=resamples)


def half_width(values: np.ndarray) -> np.ndarray:
    """Return half the width of the central 68 % over the first axis; values may be infinite."""
    low = np.quantile(values, CENTRAL[0], axis=0, method="lower")
    high = np.quantile(values, CENTRAL[1], axis=0, method="higher")
    bounded = np.isfinite(low) & np.isfinite(high)
    return np.where(bounded, 0.5 * (np.where(bounded, high, 0) - np.where(bounded, low, 0)), np.inf)


def _free_energy(counts: np.ndarray, temperature: float) -> np.ndarray:
    """Return -kT ln p of counts over all axes; infinite where there are none."""
    with np.errstate(divide="ignore"):
        return -thermal_energy(temperature) * np.log(counts / counts.sum())


def _errors(counts: np.ndarray, temperature: float, resamples: int, seed: int) -> np.ndarray:
    """Return the bootstrap error of counts [replicas, bins, ...]."""
    seen = counts.sum(0) > 0.0
    if len(counts) == 1:
        return np.full(seen.shape, np.nan)
    drawn = resampled(len(counts), resamples, seed)
    drawn = drawn[
        drawn @ counts.reshape(len(counts), -1).sum(1) > 0.0
    ]  # an empty draw says nothing
    again = np.tensordot(drawn.astype(np.float64), counts, axes=1)  # [resamples, bins, ...]
    values = np.stack([_free_energy(c, temperature) for c in again])
    return np.where(seen, half_width(values), np.nan)


def landscape_picture(
    surface: Landscape, labels: Sequence[str], title: str = "", ceiling: float | None = None
) -> Figure:
    """Draw a surface: a line with its error over one coordinate, surface and error over two.

    Args:
        surface: from `landscape`.
        labels: name and unit of each coordinate.
        title: heading.
        ceiling: kcal/mol; what is higher is left white. Default the highest seen.

    Returns:
        A matplotlib Figure with one or two panels.
    """
    from matplotlib.figure import Figure

    flat = len(surface.edges) == 1
    figure = Figure(figsize=(6.0, 3.4) if flat else (10.0, 4.0), dpi=110, layout="constrained")
    panels = figure.subplots(1, 1 if flat else 2, squeeze=False)[0]
    plot_landscape(panels[0], surface, labels, ceiling=ceiling)
    if not flat:
        plot_landscape(panels[1], surface, labels, ceiling=ERROR_CEILING, error=True)
    if title:
        figure.suptitle(title, color=INK, fontsize=12)
    return figure


def plot_landscape(
    axes: Axes,
    surface: Landscape,
    labels: Sequence[str],
    *,
    ceiling: float | None = None,
    error: bool = False,
    name: str = "",
) -> None:
    """Draw a surface, or its error, on axes; arguments as `landscape_picture`.

    Args:
        axes: the matplotlib axes.
        surface: what is drawn.
        labels: name and unit of each coordinate.
        ceiling: kcal/mol; a higher free energy is left white, a higher error has the brightest
            colour. Default the highest seen.
        error: the error instead of the free energy (over two coordinates).
        name: of a line in a legend (over one coordinate).
    """
    drawn = surface.error if error else surface.free_energy
    if ceiling is None:
        ceiling = max(float(np.max(drawn[np.isfinite(drawn)], initial=0.0)), 0.1)
    if len(surface.edges) == 1:
        _plot_line(axes, surface, name)
        axes.set_ylim(-0.05 * ceiling, 1.05 * ceiling)
        axes.set_ylabel("free energy (kcal/mol)", color=INK)
    else:
        what = "error" if error else "free energy"
        above = 2.0 * ceiling if error else np.nan
        shown = np.ma.masked_invalid(np.where(drawn > ceiling, above, drawn)).T
        mesh = axes.pcolormesh(
            *surface.edges, shown, cmap="magma" if error else "viridis", vmin=0.0, vmax=ceiling
        )
        bar = axes.figure.colorbar(mesh, ax=axes, extend="max" if error else "neither")
        bar.set_label(f"{what} (kcal/mol)", color=INK)
        axes.set_ylabel(labels[1], color=INK)
    axes.set_xlabel(labels[0], color=INK)
    axes.tick_params(colors=INK, labelsize=9)


def _plot_line(axes: Axes, surface: Landscape, name: str) -> None:
    centres, values = surface.centres[0], surface.free_energy
    color = CHAIN_COLORS[0] if not axes.lines else CHAIN_COLORS[-2]
    error = np.where(np.isfinite(surface.error), surface.error, 0.0)
    axes.fill_between(centres, values - error, values + error, color=color, alpha=0.25, linewidth=0)
    axes.plot(centres, values, color=color, linewidth=1.5, label=name or None)
    axes.grid(color="#e6eaee", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
