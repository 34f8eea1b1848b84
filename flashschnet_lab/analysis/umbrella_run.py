"""A stored run of umbrella windows: its profile, how far windows overlap, and a picture of both.

found = read_umbrella("runs/chignolin-umbrella-001")
found.profile.free_energy      # [bins] kcal/mol
umbrella_picture(found)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flashschnet_lab.analysis.landscape import Landscape, plot_landscape
from flashschnet_lab.analysis.pictures import CHAIN_COLORS, INK
from flashschnet_lab.analysis.umbrella import overlap, umbrella_profile, windows_of
from flashschnet_lab.analysis.unrestrained import held_of
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.restraint import Restraint
from flashschnet_lab.simulation.store import Trajectory, open_trajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WEAK = 0.1
"""Neighbouring windows that share less than this are told: errors there are larger than they say.

Windows that share nothing are not joined at all.
"""
GAP_COLOR = "#c8354f"


@dataclass(frozen=True)
class UmbrellaRun:
    """What a run of windows says.

    Attributes:
        trajectory: on disk.
        windows: one row for every window, by rising centre.
        samples: by window, the coordinate in every frame of its replicas, [frames of the window].
        shared: [windows - 1] what neighbours share, 0 to 1; see `umbrella.overlap`.
        profile: free energy along the coordinate; None where neighbours share nothing.
        temperature: kelvin.
    """

    trajectory: Trajectory
    windows: Restraint
    samples: tuple[np.ndarray, ...]
    shared: np.ndarray
    profile: Landscape | None
    temperature: float

    @property
    def weak(self) -> list[int]:
        """The windows that share too little with the next."""
        return np.flatnonzero(self.shared < WEAK).tolist()

    @property
    def gaps(self) -> list[int]:
        """The windows that share nothing with the next."""
        return np.flatnonzero(self.shared == 0.0).tolist()

    @property
    def astray(self) -> list[int]:
        """The windows whose mean lies more than two windows from their centre."""
        centres = self.windows.centres.numpy()
        off = np.abs([values.mean() for values in self.samples] - centres)
        return np.flatnonzero(off > 2.0 * np.diff(centres).max()).tolist()

    def tell(self, window: int) -> str:
        """Say how little a window shares with the next, and which these are."""
        unit = "" if self.windows.coordinate.unit == "1" else f" {self.windows.coordinate.unit}"
        one, other = (f"{self.windows.centres[w]:.4g}{unit}" for w in (window, window + 1))
        share = self.shared[window]
        part = f"{100 * share:.0f} %" if share >= 0.01 else "less than 1 %" if share else "nothing"
        return (
            f"windows {window} (at {one}) and {window + 1} (at {other}) share {part} of what they "
            "saw"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values: profile and windows, energies in kcal/mol."""
        from flashschnet_lab.measure.recorded import plain

        coordinate, profile = self.windows.coordinate, self.profile
        attributes = self.trajectory.attributes
        return {
            "protein": self.trajectory.protein.name,
            "model": attributes.get("model"),
            "coordinate": {"name": coordinate.name, "unit": coordinate.unit},
            "temperature": self.temperature,
            "frames": self.trajectory.frames,
            "time_ps": [float(t) for t in self.trajectory.times_ps[[0, -1]]],
            "windows": {
                "centres": self.windows.centres.tolist(),
                "strengths": self.windows.strengths.tolist(),
                "means": plain([values.mean() for values in self.samples], 4),
                "overlap": plain(self.shared, 4),
            },
            "profile": None if profile is None else _entry(profile),
        }


def _entry(profile: Landscape) -> dict[str, list]:
    """Return a profile as plain JSON values, null where nothing was seen; kcal/mol."""
    from flashschnet_lab.measure.recorded import plain

    return {
        "edges": plain(profile.edges[0], 4),
        "free_energy": plain(profile.free_energy, 4),
        "error": plain(profile.error, 4),
    }


def is_in_windows(trajectory: Trajectory) -> bool:
    """Return whether the first restraint of a run holds replicas in several places."""
    restraints = trajectory.restraints
    return bool(restraints) and windows_of(restraints[0])[0].replicas > 1


def read_umbrella(source: str | Path | Trajectory, bins: int = 30) -> UmbrellaRun:
    """Return what a stored run of windows says; its first restraint is that of the windows.

    Args:
        source: a run folder, a trajectory store, or an open one.
        bins: of the profile.

    Raises:
        UserError: replicas that are in no windows or at several temperatures, fewer than two
            frames, windows that moved, or that cannot be joined although neighbours overlap.
    """
    trajectory = source if isinstance(source, Trajectory) else open_trajectory(source)
    temperatures = set(trajectory.attributes.get("settings", {}).get("temperatures", ()))
    held = held_of(trajectory)
    if held is None or not is_in_windows(trajectory):
        raise UserError(
            f"the replicas of {trajectory.path} are in no windows; flashschnet umbrella makes such "
            "a run"
        )
    if len(temperatures) != 1 or len(held.restraints) != 1:
        raise UserError(
            f"{trajectory.path} has {len(temperatures)} temperatures and {len(held.restraints)} "
            "restraints; a profile is of one of each"
        )
    if trajectory.frames < 2:
        raise UserError(f"{trajectory.frames} frames in {trajectory.path} give no profile")
    held.check_still()
    temperature, restraint = float(temperatures.pop()), held.restraints[0]
    values = held.values[..., 0]
    rows, window = windows_of(restraint)
    shared = overlap(values, restraint)
    whole = bool((shared > 0.0).all())
    return UmbrellaRun(
        trajectory=trajectory,
        windows=rows,
        samples=tuple(values[:, window == w].ravel() for w in range(rows.replicas)),
        shared=shared,
        profile=umbrella_profile(values, restraint, temperature, bins=bins) if whole else None,
        temperature=temperature,
    )


def umbrella_picture(found: UmbrellaRun) -> Figure:
    """Draw the profile with its error, and below it what every window saw.

    Where neighbours share too little, the place between their means is marked.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 5.6), dpi=144, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.4, 1.0))
    label = found.windows.coordinate.label
    if found.profile is None:
        text = "no profile: neighbouring windows share nothing"
        above.text(0.5, 0.5, text, transform=above.transAxes, ha="center", color=GAP_COLOR)
        above.set_ylabel("free energy (kcal/mol)", color=INK)
    else:
        highest = found.profile.free_energy + np.nan_to_num(found.profile.error)
        plot_landscape(above, found.profile, [label], ceiling=float(np.nanmax(highest)))
    above.set_xlabel("")
    colors = LinearSegmentedColormap.from_list("windows", CHAIN_COLORS)
    everything = np.concatenate(found.samples)
    edges = np.linspace(everything.min(), np.nextafter(everything.max(), np.inf), 121)
    for window, values in enumerate(found.samples):
        color = colors(window / (len(found.samples) - 1))
        common: Any = {"density": True, "color": color}
        below.hist(values, edges, histtype="stepfilled", alpha=0.35, **common)
        below.hist(values, edges, histtype="step", linewidth=0.8, **common)
    for window in found.weak:
        low, high = (found.samples[w].mean() for w in (window, window + 1))
        for axes in (above, below):
            axes.axvspan(low, high, color=GAP_COLOR, alpha=0.12, linewidth=0)
    seen = f"{len(found.samples)} windows"
    if found.weak:
        seen += f"; red: neighbours share less than {100 * WEAK:.0f} %"
    below.set_title(seen, color=INK, fontsize=9, loc="left")
    below.set_ylabel("what they saw", color=INK)
    below.set_xlabel(label, color=INK)
    below.set_yticks([])
    for axes in (above, below):
        axes.tick_params(colors=INK, labelsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    protein = found.trajectory.protein.name
    times = found.trajectory.times_ps
    figure.suptitle(
        f"{protein} at {found.temperature:g} K, {times[-1] - times[0]:.3g} ps in every window",
        color=INK,
        fontsize=12,
    )
    return figure
