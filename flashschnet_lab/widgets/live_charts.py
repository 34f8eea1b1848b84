"""Energy, temperature and RMSD of a run while it goes on, as a small picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from flashschnet_lab.analysis.pictures import CHAIN_COLORS, INK, run_picture
from flashschnet_lab.widgets.recording import Recording

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from flashschnet_lab.proteins.protein import Protein

QUANTITIES = {
    "rmsd": "Cα RMSD (Å)",
    "potential_energy": "energy\n(kcal/mol)",
    "temperature": "temperature\n(K)",
}
OTHERS = "#c9d2dc"
MOST_OTHERS = 8
"""Replicas that are drawn besides the one that is shown."""
PICTURE_DPI = 100
"""A notebook may hold several of these pages."""
TEXTS_PER_MARK = 3
"""Of what was done at one time, the latest."""


class LiveCharts:
    """Three curves over time: the replica that is shown in blue, some others in grey.

    The figure is made once and its lines are moved: that takes a third of the time of a new one,
    and no memory.
    """

    def __init__(self) -> None:
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(5.4, 4.4), dpi=80)
        rows = self.figure.subplots(len(QUANTITIES), 1, sharex=True)
        self.figure.subplots_adjust(left=0.16, right=0.97, top=0.97, bottom=0.11, hspace=0.14)
        self._lines = {}
        for axes, (name, label) in zip(rows, QUANTITIES.items(), strict=True):
            (others,) = axes.plot([], [], color=OTHERS, linewidth=0.8)
            (shown,) = axes.plot([], [], color=CHAIN_COLORS[0], linewidth=1.4)
            self._lines[name] = (others, shown)
            axes.set_ylabel(label, color=INK, fontsize=9)
            axes.tick_params(colors=INK, labelsize=8)
            axes.grid(color="#e6eaee", linewidth=0.7)
            axes.spines[["top", "right"]].set_visible(False)
        self._here = [axes.axvline(0.0, color=CHAIN_COLORS[4], linewidth=1.0) for axes in rows]
        rows[-1].set_xlabel("time (ps)", color=INK, fontsize=9)

    def png(self, recording: Recording, shown: int, here_ps: float | None = None) -> bytes:
        """Return the curves as a PNG.

        Args:
            recording: of the run.
            shown: the replica in blue.
            here_ps: where a person looks back to; a line is drawn there.
        """
        times = recording.times()
        for name, (others, line) in self._lines.items():
            values = recording.series(name)  # [samples, replicas]
            picked = [r for r in range(values.shape[1]) if r != shown][:MOST_OTHERS]
            others.set_data(*_one_curve(times, values[:, picked]))
            line.set_data(times, values[:, shown])
            line.axes.relim(visible_only=True)
            line.axes.autoscale_view()
        for mark in self._here:
            mark.set_visible(here_ps is not None)
            mark.set_xdata([here_ps or 0.0] * 2)
        page = io.BytesIO()
        self.figure.savefig(page, format="png")
        return page.getvalue()


def recording_picture(recording: Recording, protein: Protein, title: str) -> Figure:
    """Return a recording on one page: curves, what was done when, and the last conformations."""
    distance = recording.series("rmsd")
    figure = run_picture(
        recording.times(),
        recording.series("potential_energy"),
        recording.series("temperature"),
        None if np.isnan(distance).all() else distance,
        protein,
        recording.samples[-1].positions,
        title,
    )
    figure.set_dpi(PICTURE_DPI)
    _draw_marks(figure.axes[: 2 if np.isnan(distance).all() else 3], recording)
    return figure


def _draw_marks(rows: list[Axes], recording: Recording) -> None:
    """Draw a dotted line at everything that was done, with its text in the lowest panel."""
    from matplotlib.patheffects import withStroke

    together: dict[float, list[str]] = {}
    for time_ps, text in recording.marks:
        together.setdefault(round(time_ps, 3), []).append(text)
    for time_ps, texts in together.items():
        for axes in rows:
            axes.axvline(time_ps, color=INK, linewidth=0.8, linestyle=":")
        note = rows[-1].annotate(
            ", ".join(dict.fromkeys(texts[-TEXTS_PER_MARK:])),
            (time_ps, 0.05),
            (2.0, 0.0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            rotation=90,
            fontsize=7,
            color=INK,
            va="bottom",
        )
        note.set_in_layout(False)  # a long text must not push the panels apart
        note.set_path_effects([withStroke(linewidth=2.0, foreground="w")])


def _one_curve(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return several curves [samples, curves] as one with gaps, so that one line draws them all."""
    gap = np.full((1, values.shape[1]), np.nan)
    heights = np.concatenate([values, gap]).T.ravel()
    return np.tile(np.append(times, np.nan), values.shape[1]), heights
