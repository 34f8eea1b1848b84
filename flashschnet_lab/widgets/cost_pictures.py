"""Still pictures of where time, bytes and arithmetic go: by operation as measured, by stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flashschnet_lab.analysis.pictures import CHAIN_COLORS, INK
from flashschnet_lab.measure.bytes import StageCost, merged
from flashschnet_lab.measure.profile import Share
from flashschnet_lab.widgets.comparison import BLUE, GREY, three_digits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRODUCTS, ELEMENTWISE, ROWS, REST = (
    "matrix products",
    "number by number",
    "moving rows",
    "all the rest",
)
KINDS = (PRODUCTS, ELEMENTWISE, ROWS, REST)
"""What an operation does: multiply matrices, take numbers one by one, gather or scatter rows."""

_COLORS = dict(zip(KINDS, (CHAIN_COLORS[4], BLUE, CHAIN_COLORS[2], GREY), strict=True))
_WORDS = {
    PRODUCTS: ("mm", "gemm", "addmm", "bmm", "cutlass", "cublas"),
    ROWS: ("index", "gather", "scatter", "embedding", "nonzero", "sort", "_select", "cat"),
    ELEMENTWISE: (
        *("mul", "add", "sub", "div", "tanh", "exp", "cos", "sin", "neg", "sqrt", "pow", "where"),
        *("elementwise", "reduce", "sum", "norm", "clamp", "copy", "fill", "acos", "rsub"),
    ),
}
"""Parts of the names of operations, and of a GPU's kernels; asked in this order."""


def kind_of(name: str) -> str:
    """Return which of `KINDS` an operation is of, by its name."""
    found = (kind for kind, words in _WORDS.items() if any(word in name for word in words))
    return next(found, REST)


def time_by_kind(shares: Sequence[Share]) -> dict[str, float]:
    """Return the milliseconds of every one of `KINDS`.

    Args:
        shares: of `measure.profile.profile`.
    """
    times = dict.fromkeys(KINDS, 0.0)
    for share in shares:
        times[kind_of(share.name)] += share.milliseconds
    return times


def profile_picture(shares: Sequence[Share], title: str = "", most: int = 12) -> Figure:
    """Draw the longest operations of a call, and the time of every kind.

    Args:
        shares: of `measure.profile.profile`, the longest first.
        title: heading.
        most: operations.
    """
    from matplotlib.figure import Figure

    shown, whole = shares[:most], sum(share.milliseconds for share in shares)
    figure = Figure(figsize=(9.0, 1.3 + 0.26 * len(shown)), dpi=92, layout="constrained")
    figure.suptitle(title, color=INK, fontsize=11)
    left, right = figure.subplots(1, 2, width_ratios=(2.0, 1.0))
    names = [f"{_short(share.name)}  × {share.launches:.0f}" for share in shown]
    colors = [_COLORS[kind_of(share.name)] for share in shown]
    _bars(left, names, [100.0 * share.milliseconds / whole for share in shown], colors)
    left.set_title("operation × calls", fontsize=9, loc="left", color=INK)
    times = time_by_kind(shares)
    parts = [100.0 * time / whole for time in times.values()]
    _bars(right, list(times), parts, [_COLORS[kind] for kind in times])
    right.set_title("kind", fontsize=9, loc="left", color=INK)
    for axes in (left, right):
        axes.set_xlabel("% of the time", fontsize=9, color=INK)
    return figure


def stages_picture(costs: Sequence[StageCost], title: str = "", most: int = 12) -> Figure:
    """Draw the bytes and the arithmetic of every kind of stage, as the IO model has them.

    Args:
        costs: of one evaluation; the blocks of the network are added up.
        title: heading.
        most: stages: those that move most.
    """
    from matplotlib.figure import Figure

    stages = sorted(merged(tuple(costs)), key=lambda cost: -cost.bytes_moved)[:most]
    figure = Figure(figsize=(9.0, 1.3 + 0.26 * len(stages)), dpi=92, layout="constrained")
    figure.suptitle(title, color=INK, fontsize=11)
    left, right = figure.subplots(1, 2, sharey=True)
    names = [cost.name for cost in stages]
    read = [cost.bytes_read / 1e6 for cost in stages]
    written = [cost.bytes_written / 1e6 for cost in stages]
    left.barh(names, read, color=BLUE, label="read")
    left.barh(names, written, left=read, color=CHAIN_COLORS[4], label="written")
    left.legend(fontsize=8, frameon=False, loc="lower right")
    _finish(left)
    left.set_xlabel("MB moved", fontsize=9, color=INK)
    flops = sum(cost.flops for cost in costs)
    _bars(right, names, [100.0 * cost.flops / flops for cost in stages], [GREY] * len(stages))
    right.set_xlabel("% of the arithmetic", fontsize=9, color=INK)
    left.invert_yaxis()
    return figure


def _bars(axes: Any, names: Sequence[str], values: Sequence[float], colors: Sequence[str]) -> None:
    axes.barh(range(len(names)), values, color=colors)
    axes.set_yticks(range(len(names)), names)
    for place, value in enumerate(values):
        axes.text(value, place, f" {three_digits(value)}", va="center", fontsize=7.5, color=INK)
    axes.set_xlim(0.0, 1.2 * max(values))
    if not axes.get_shared_y_axes().get_siblings(axes)[1:]:
        axes.invert_yaxis()
    _finish(axes)


def _finish(axes: Any) -> None:
    axes.tick_params(labelsize=8, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)


def _short(name: str, longest: int = 34) -> str:
    """Return an operation's name without the space of names that it lives in."""
    name = name.removeprefix("aten::").removeprefix("void ").replace("at::native::", "")
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
