"""Measurements that come with the package, for readers without the machine they were made on."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.paths import data_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASELINE = "baseline"
GPU_FILES = ("h200_step", "h200")
"""Files of data/measurements with records of a GPU, in the order in which they are asked."""

INK, BLUE = "#30363d", "#2f5fb3"
QUANTITIES = {
    "ms per step": lambda record: record["ms"]["median"],
    "peak memory (GB)": lambda record: record["peak_bytes"] / 1e9,
    "force error of the network": lambda record: record["network_force_error"],
}
"""What `draw_recorded` can show of a record."""

SPANS_DECADES = ("force error of the network",)


@dataclass(frozen=True)
class Recorded:
    """A recorded plan, and the baseline of the same series.

    Attributes:
        plan: the record of the plan.
        baseline: the record of the baseline: same file, protein, replicas, precision and stage.
    """

    plan: dict
    baseline: dict


@cache
def read_recorded(name: str) -> tuple[dict, ...]:
    """Return the records of a file of data/measurements, in their order; do not change them.

    Args:
        name: of the file, without ".json".

    Raises:
        UserError: no such file, or it is no measurement file.
    """
    path = data_folder() / "measurements" / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.json")))
        raise UserError(f"no measurements {name!r} come with the package; there are {known}")
    try:
        return tuple(json.loads(path.read_text(encoding="utf-8"))["records"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a measurement file; install the package again") from error


def source(record: dict) -> str:
    """Return where a record comes from: device, date and version."""
    device = record.get("gpu") or record.get("cpu")
    return f"{device}, {record['date']}, version {record['versions']['flashschnet_lab']}"


def select(
    records: Sequence[dict],
    *,
    protein: str,
    replicas: int,
    precision: str = "float32",
    stage: str = "step",
) -> list[dict]:
    """Return the records of one work that have a speed, in their order."""
    wanted = (protein, replicas, stage, precision)
    return [r for r in records if "failed" not in r and _work(r) == wanted]


def recorded_beside(
    plan: str,
    *,
    protein: str,
    replicas: int,
    precision: str = "float32",
    stage: str = "step",
    files: Sequence[str] = GPU_FILES,
) -> Recorded | None:
    """Return what was recorded of a plan on a protein, with the number of replicas that is nearest.

    Args:
        plan: short name of a `KernelPlan` for a GPU.
        protein: name.
        replicas: as many as are wanted; if there are none, the nearest by ratio.
        precision: "float32", "tf32" or "float64".
        stage: "force" or "step".
        files: of data/measurements.

    Returns:
        The record beside its baseline, or None if either is missing.
    """
    found: list[tuple[float, int, Recorded]] = []
    for place, name in enumerate(files):
        records = read_recorded(name)
        for copies in sorted({r["work"]["replicas"] for r in records}, reverse=True):
            alike = select(
                records, protein=protein, replicas=copies, precision=precision, stage=stage
            )
            by_plan = {r["plan"]: r for r in alike}
            if plan in by_plan and BASELINE in by_plan:
                distance = abs(math.log(copies / replicas))
                found.append((distance, place, Recorded(by_plan[plan], by_plan[BASELINE])))
    return min(found, key=lambda entry: entry[:2])[2] if found else None


def recorded(
    protein: str, replicas: int, plans: Sequence[str], file: str = "h200", stage: str = "step"
) -> list[dict[str, Any]]:
    """Return the stored records of some plans, in float32, in the order that is asked for.

    Args:
        protein: name, as in the records.
        replicas: copies.
        plans: names of kernel plans.
        file: "h200", "h200_step" or "cpu".
        stage: "force" or "step".

    Raises:
        UserError: no such file, or no such record, with the plans that there are.
    """
    work = (protein, replicas, stage, "float32")
    found = {record["plan"]: record for record in read_recorded(file) if _work(record) == work}
    missing = [plan for plan in plans if plan not in found]
    if missing:
        raise UserError(
            f"{file}.json has no {missing[0]!r} for {replicas} x {protein}, {stage}; it has "
            f"{', '.join(found) or 'no plan at all'}"
        )
    return [found[plan] for plan in plans]


def caption(records: Sequence[dict[str, Any]], note: str = "") -> str:
    """Return where, when and with which versions records were made, and of what (or the note)."""
    first = records[0]
    machine = first.get("gpu") or first.get("cpu")
    versions, work = first["versions"], first["work"]
    tools = ", ".join(
        f"{name} {versions[name]}" for name in ("torch", "triton") if name in versions
    )
    what = note or f"{work['replicas']} x {work['protein']}"
    version = versions["flashschnet_lab"]
    return f"recorded, {machine}, {first['date']}, version {version}, {tools}: {what}"


def draw_recorded(
    records: Sequence[dict[str, Any]],
    quantities: Sequence[str] = ("ms per step",),
    note: str = "",
) -> Figure:
    """Draw bars of stored records, a panel for each quantity, with the caption that they need.

    Args:
        records: of `recorded`.
        quantities: of `QUANTITIES`.
        note: what was simulated, where records are of different work.

    Raises:
        UserError: an unknown quantity.
    """
    from matplotlib.figure import Figure

    unknown = [name for name in quantities if name not in QUANTITIES]
    if unknown:
        raise UserError(f"there is no quantity {unknown[0]!r}; use {', '.join(QUANTITIES)}")
    size = (4.2 * len(quantities) + 1.0, 1.1 + 0.34 * len(records))
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    figure.suptitle(caption(records, note), color=INK, fontsize=9)
    panels: Any = figure.subplots(1, len(quantities), sharey=True, squeeze=False)[0]
    for axes, quantity in zip(panels, quantities, strict=True):
        values = [QUANTITIES[quantity](record) for record in records]
        bars = axes.barh([record["plan"] for record in records], values, color=BLUE)
        axes.bar_label(bars, fmt="{:.3g}", padding=3, color=INK, fontsize=9)
        axes.set_xlabel(quantity, color=INK)
        axes.margins(x=0.18)
        if quantity in SPANS_DECADES:
            axes.set(xscale="log", xlim=(0.1 * min(values), 30.0 * max(values)))
        axes.tick_params(colors=INK, labelsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    return figure


def plain(values: Sequence[float] | np.ndarray, digits: int) -> list:
    """Return nested lists; what is not finite becomes None, which JSON can hold."""
    rounded = np.round(np.asarray(values, dtype=np.float64), digits)
    plain = rounded.astype(object)
    plain[~np.isfinite(rounded)] = None
    return plain.tolist()


def _work(record: dict[str, Any]) -> tuple[str, int, str, str]:
    work = record["work"]
    return work["protein"], work["replicas"], record["stage"], record["precision"]
