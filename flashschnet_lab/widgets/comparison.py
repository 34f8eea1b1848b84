"""Measurements beside their baseline: as a table in HTML and as bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from flashschnet_lab.analysis.pictures import CHAIN_COLORS, INK
from flashschnet_lab.measure.recorded import source

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE = CHAIN_COLORS[0]
GREY = "#8c959f"

_HEADINGS = (
    "plan",
    "force error",
    "ms per {call}",
    "faster",
    "ns/day",
    "peak MB",
    "less",
    "MB moved*",
    "fewer",
)
_CALLS = {"step": "step", "force": "evaluation"}
_NOTE = (
    "force error: of the network alone, against float64. * by the IO model, which counts every "
    "operand and result of every operation once."
)
_QUANTITIES = ("ms", "peak_bytes", "predicted_bytes", "error")
_TITLES = ("time (ms per {call})", "peak memory (MB)", "MB moved, by the IO model", "force error")


@dataclass(frozen=True)
class Row:
    """One plan beside the baseline on the same work.

    Attributes:
        record: of the plan, as `measure.bench.measure` returns it.
        baseline: record of the baseline; it may have failed.
        recorded: whether it was measured elsewhere and comes with the package.
    """

    record: dict
    baseline: dict
    recorded: bool = False

    @property
    def work(self) -> tuple[Any, ...]:
        """What must agree for two rows to share a picture."""
        work = self.record["work"]
        return (work["protein"], work["replicas"], self.record["precision"], self.where)

    @property
    def where(self) -> str:
        """Device; of a recorded row with date and version."""
        if self.recorded:
            return f"recorded: {source(self.record)}"
        return str(self.record.get("gpu") or self.record.get("cpu"))

    @property
    def title(self) -> str:
        """Work and device in words."""
        protein, replicas, precision, where = self.work
        return f"{_replicas(replicas)} of {protein}, {precision} · {where}"

    def ratio(self, quantity: str) -> float | None:
        """Return how many times more the baseline takes, or None where either has no number."""
        own, other = number(self.record, quantity), number(self.baseline, quantity)
        return other / own if own and other else None


def number(record: dict, quantity: str) -> float | None:
    """Return "ms", "peak_bytes", "predicted_bytes" or "error" of a record, or None without it."""
    if quantity == "error":
        found = record.get("network_force_error", record.get("force_error"))
    else:
        found = None if "failed" in record else record.get(quantity)
    if isinstance(found, dict):
        found = found["median"]
    return None if found is None else float(found)


def table_html(rows: Sequence[Row]) -> str:
    """Return the rows as an HTML table, newest last; recorded ones are pale and say so."""
    if not rows:
        return ""
    headings = (h.format(call=_CALLS[rows[0].record["stage"]]) for h in _HEADINGS)
    head = "".join(f"<th style='text-align:left;padding:2px 8px'>{h}</th>" for h in headings)
    body, work = [], None
    for row in rows:
        shown = (row.work[:3], row.recorded)
        if shown != work:  # one line says what the next rows are about
            title = escape(row.title)
            body.append(f"<tr><td colspan={len(_HEADINGS)} style='padding:8px 8px 2px'>")
            body.append(f"<b>{title}</b></td></tr>")
            work = shown
        style = " style='color:#667;font-style:italic'" if row.recorded else ""
        cells = "".join(
            f"<td style='padding:2px 8px;white-space:nowrap'>{escape(c)}</td>" for c in _cells(row)
        )
        body.append(f"<tr{style}>{cells}</tr>")
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f"<div style='line-height:1.5'>{table}<small>{_NOTE}</small></div>"


def comparison_picture(rows: Sequence[Row], stage: str = "step") -> Figure:
    """Draw time, memory, bytes and error as bars: a line of panels for each work and device.

    Args:
        rows: plans; each appears once, with its newest record, below its baseline.
        stage: "force" or "step", for the axis.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    groups: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in rows:
        groups.setdefault(row.work, {})[row.record["plan"]] = row
    heights = [0.75 + 0.3 * (1 + len(group)) for group in groups.values()]
    size = (11.0, max(1.2, sum(heights) + 0.2))
    figure = Figure(figsize=size, dpi=92, layout=ConstrainedLayoutEngine(w_pad=0.08))
    if not groups:
        figure.text(0.5, 0.5, "nothing was measured yet: press Run", ha="center", color=INK)
        return figure
    parts: Any = figure.subfigures(len(groups), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, group in zip(parts, groups.values(), strict=True):
        _draw_group(part, list(group.values()), stage)
    return figure


def _draw_group(part: Any, group: Sequence[Row], stage: str) -> None:
    first = group[0]
    records = [first.baseline, *(r.record for r in group if r.record["plan"] != "baseline")]
    names = [record["plan"] for record in records]
    colors = [GREY] + [BLUE] * (len(records) - 1)
    alpha = 0.5 if first.recorded else 1.0  # what was measured elsewhere is pale
    part.suptitle(first.title, color=INK, fontsize=10, fontweight="bold", ha="left", x=0.01)
    panels = part.subplots(1, len(_QUANTITIES), sharey=True)
    for axes, quantity, title in zip(panels, _QUANTITIES, _TITLES, strict=True):
        scale = 1e6 if quantity.endswith("bytes") else 1.0
        values = [number(record, quantity) for record in records]
        lengths = [0.0 if value is None else value / scale for value in values]
        axes.barh(names, lengths, color=colors, alpha=alpha)
        known = [length for length in lengths if length > 0.0]
        if quantity == "error" and known:
            axes.set(xscale="log", xlim=(min(known) / 5, max(known) * 100))
        else:
            axes.set_xlim(0.0, 1.5 * max(known, default=1.0))
            axes.locator_params(axis="x", nbins=4)
            axes.xaxis.set_major_formatter("{x:,g}")
        for place, (value, length) in enumerate(zip(values, lengths, strict=True)):
            text = _beside_bar(records[place], records[0], quantity, value)
            axes.text(length, place, f" {text}", va="center", fontsize=7.5, color=INK)
        axes.set_title(title.format(call=_CALLS[stage]), fontsize=9, color=INK)
        axes.tick_params(labelsize=8, colors=INK)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()


def _beside_bar(record: dict, baseline: dict, quantity: str, value: float | None) -> str:
    """Return the value, and for all but the error how much less than the baseline's it is."""
    if value is None:
        return "failed" if "failed" in record else "not predicted"
    if quantity == "error":
        return f"{value:.0e}"
    shown = three_digits(value / (1e6 if quantity.endswith("bytes") else 1.0))
    ratio = Row(record, baseline).ratio(quantity)
    if record is baseline or ratio is None:
        return shown
    return f"{shown}  ({times(ratio)})"


def _cells(row: Row) -> tuple[str, ...]:
    record = row.record
    error = number(record, "error")
    shown_error = "" if error is None else f"{error:.1e}"
    if "failed" in record:
        return (record["plan"], shown_error, record["failed"], *[""] * 6)
    cells = [record["plan"], shown_error]
    for quantity in _QUANTITIES[:3]:
        value, ratio = number(record, quantity), row.ratio(quantity)
        scale = 1e6 if quantity.endswith("bytes") else 1.0
        cells.append("" if value is None else three_digits(value / scale))
        cells.append("" if ratio is None else times(ratio))
        if quantity == "ms":
            days = record.get("ns_per_day")
            cells.append("" if days is None else three_digits(days))
    return tuple(cells)


def times(ratio: float) -> str:
    """Return a ratio as people say it, "33 x"."""
    return f"{ratio:.1f} x" if ratio < 10.0 else f"{ratio:.0f} x"


def three_digits(value: float) -> str:
    """Return a number with three digits at least, and commas between thousands."""
    return f"{value:,.0f}" if value >= 100.0 else f"{value:.3g}"


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"
