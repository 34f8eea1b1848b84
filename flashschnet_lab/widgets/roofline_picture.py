"""Where the stages of a measurement lie below the roof of its machine, and a picture of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flashschnet_lab.analysis.pictures import CHAIN_COLORS, INK
from flashschnet_lab.measure.bench import STATE_DTYPE, Work, predict
from flashschnet_lab.measure.bytes import merged
from flashschnet_lab.measure.recorded import source
from flashschnet_lab.measure.roofline import Ceilings
from flashschnet_lab.system import System, as_plan
from flashschnet_lab.widgets.comparison import BLUE, GREY, three_digits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORANGE = CHAIN_COLORS[4]
PALE = "#c3c9d0"
NAMED = 4
"""Stages with their name beside the dot: those that take longest at best."""
LOWEST_INTENSITY = 1e-2


@dataclass(frozen=True)
class Dot:
    """A stage, or the whole, below the roof.

    Attributes:
        name: of the stage; the blocks of the network are one.
        intensity: FLOPs per byte of global memory.
        rate: FLOP/s: of a stage what the roof allows, of the whole what was measured.
        seconds: of a stage the least that the roof allows, of the whole as measured.
        by_bytes: whether the bytes limit it, not the arithmetic.
    """

    name: str
    intensity: float
    rate: float
    seconds: float
    by_bytes: bool


def stage_dots(record: dict, system: System) -> list[Dot]:
    """Return the stages of a measurement at the throughput that the roof allows them.

    Stages of all blocks are one, and stages without arithmetic have no place in the picture.

    Args:
        record: of the measurement, with its ceilings.
        system: its protein and model.
    """
    work = record["work"]
    plan = as_plan(record["plan"], "cuda" if "gpu" in record else "cpu")
    precision = record["precision"]
    assert precision in STATE_DTYPE
    costs = predict(
        Work(system, work["replicas"], plan, precision, record["stage"]), work["directed_edges"]
    )
    roof = Ceilings(**record["ceilings"])
    dots = []
    for cost in merged(costs):
        if not cost.flops or not cost.bytes_moved:
            continue
        seconds = roof.seconds(cost)
        by_bytes = cost.bytes_moved / roof.bytes_per_second >= cost.flops / roof.flops_per_second
        place = cost.flops / cost.bytes_moved
        dots.append(Dot(cost.name, place, cost.flops / seconds, seconds, by_bytes))
    return dots


def whole_dot(record: dict) -> Dot:
    """Return the whole evaluation or step, where it was measured."""
    flops, moved, seconds = _totals(record)
    roof = Ceilings(**record["ceilings"])
    by_bytes = moved / roof.bytes_per_second >= flops / roof.flops_per_second
    return Dot("the whole, measured", flops / moved, flops / seconds, seconds, by_bytes)


def roofline_picture(
    record: dict,
    dots: Sequence[Dot],
    title: str,
    shadow: tuple[dict, Sequence[Dot]] | None = None,
) -> Figure:
    """Draw one measurement below the roof of its machine.

    Args:
        record: of the measurement.
        dots: its stages.
        title: heading.
        shadow: another measurement with its stages, in pale; stages of one name are joined.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 5.4), dpi=92, layout="constrained")
    axes = figure.subplots()
    whole, roof = whole_dot(record), Ceilings(**record["ceilings"])
    everything = [whole, *dots, *(shadow[1] if shadow else ())]
    left = max(LOWEST_INTENSITY, min(0.1, *(dot.intensity for dot in everything)) / 2)
    right = max(100.0, *(dot.intensity for dot in everything)) * 4
    if shadow:
        _draw_shadow(axes, dots, whole, shadow, left, right)
    _draw_roof(axes, record, left, right, INK)
    longest = max(dot.seconds for dot in dots)
    for dot in dots:
        size = 14 + 180 * dot.seconds / longest
        color = BLUE if dot.by_bytes else ORANGE
        axes.scatter([dot.intensity], [dot.rate], s=size, color=color, alpha=0.75, zorder=3)
    _name_dots(axes, dots)
    axes.plot([whole.intensity], [whole.rate], "*", ms=17, color=CHAIN_COLORS[-1], zorder=4)
    _draw_gap(axes, record, whole, right)
    axes.scatter([], [], color=BLUE, label="stage, limited by bytes: what it could reach")
    axes.scatter([], [], color=ORANGE, label="stage, limited by arithmetic: what it could reach")
    axes.plot([], [], "*", ms=10, color=CHAIN_COLORS[-1], ls="", label="the whole, as measured")
    if shadow:
        axes.scatter([], [], color=PALE, label=f"before: {name_of(shadow[0])}")
    figure.legend(loc="outside lower center", fontsize=8, frameon=False, ncols=2)
    axes.set(xscale="log", yscale="log", xlim=(left, right))
    low = min(dot.rate for dot in everything) / 3
    axes.set_ylim(low, roof.flops_per_second * (roof.flops_per_second / low) ** 0.35)
    axes.set_xlabel("FLOP per byte of memory; area of a dot: the least time of its stage")
    axes.set_ylabel("FLOP/s")
    ceilings = f"{three_digits(roof.bytes_per_second / 1e9)} GB/s, "
    ceilings += f"{three_digits(roof.flops_per_second / 1e9)} GFLOP/s in {roof.arithmetic}"
    axes.set_title(f"{title}\n{source(record)}: {ceilings}", fontsize=9, color=INK)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _name_dots(axes: Any, dots: Sequence[Dot]) -> None:
    """Write the names of the stages that take longest above the roof, one above the other."""
    longest = sorted(dots, key=lambda dot: -dot.seconds)[:NAMED]
    for place, dot in enumerate(sorted(longest, key=lambda dot: dot.intensity)):
        axes.annotate(
            dot.name,
            (dot.intensity, dot.rate),
            (0, 16 + 13 * place),
            textcoords="offset points",
            fontsize=8,
            ha="center",
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.6},
        )


def _draw_roof(axes: Any, record: dict, left: float, right: float, color: str) -> None:
    roof = Ceilings(**record["ceilings"])
    ridge = roof.flops_per_second / roof.bytes_per_second
    levels = [left * roof.bytes_per_second, roof.flops_per_second, roof.flops_per_second]
    axes.plot([left, ridge, right], levels, color=color, linewidth=1.4, zorder=2)


def _draw_gap(axes: Any, record: dict, whole: Dot, right: float) -> None:
    """Say beside the whole what part of its least time, stage by stage, it reaches."""
    part = record["roofline_fraction"]
    text = f"{three_digits(1e3 * whole.seconds)} ms: {part:.0%} of the speed\nthat its stages allow"
    if part > 1.0:
        text += "\n(caches help, or it was busy then)"
    near_the_edge = whole.intensity > right / 12
    offset, side = ((-12, -8), "right") if near_the_edge else ((12, -8), "left")
    axes.annotate(
        text,
        (whole.intensity, whole.rate),
        offset,
        textcoords="offset points",
        fontsize=8,
        ha=side,
        va="top",
        color=INK,
    )


def _draw_shadow(
    axes: Any,
    dots: Sequence[Dot],
    whole: Dot,
    shadow: tuple[dict, Sequence[Dot]],
    left: float,
    right: float,
) -> None:
    """Draw where the dots come from."""
    record, before = shadow
    _draw_roof(axes, record, left, right, PALE)
    old = {dot.name: dot for dot in before}
    old[whole.name] = whole_dot(record)
    for dot in old.values():
        marker = "*" if dot.name == whole.name else "o"
        axes.plot([dot.intensity], [dot.rate], marker, ms=6, color=PALE, zorder=1)
    for dot in [*dots, whole]:
        if dot.name in old:
            x = (old[dot.name].intensity, dot.intensity)
            axes.plot(x, (old[dot.name].rate, dot.rate), color=PALE, lw=0.8, zorder=1)


def _totals(record: dict) -> tuple[float, float, float]:
    moved = max(1, record["predicted_bytes"])
    return record["predicted_flops"], moved, 1e-3 * record["ms"]["median"]


def name_of(record: dict) -> str:
    """Return what the switch calls a measurement."""
    work = record["work"]
    where = "GPU" if "gpu" in record else "CPU"
    precision = "" if record["precision"] == "float32" else f", {record['precision']}"
    return f"{record['plan']}{precision}, {work['replicas']} x {work['protein']}, {where}"
