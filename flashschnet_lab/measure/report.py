"""Records as a table, a file and a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.bytes import StageCost, merged
from flashschnet_lab.measure.roofline import Ceilings

if TYPE_CHECKING:
    from rich.table import Table


COLUMNS = (
    "plan",
    "force error",
    "ms (min..max)",
    "faster",
    "replica-steps/s",
    "ns/day",
    "peak MB",
    "less",
    "predicted MB",
    "bandwidth",
    "roofline",
)
"""Of the table: "force error" is of the network alone, then of the total force in brackets;
"faster" and "less" compare with the first plan that has a speed; "predicted MB" are moved, not
held; "bandwidth" is the part of the machine's copy bandwidth that these bytes take in the measured
time, "roofline" the least time that the IO model allows over the measured one."""


def records_tables(records: Sequence[dict]) -> list[Table]:
    """Return a table per work, precision and stage, every plan beside the first one."""
    from rich.table import Table

    tables = []
    for kind in dict.fromkeys(map(_kind, records)):
        alike = [record for record in records if _kind(record) == kind]
        work = alike[0]["work"]
        title = (
            f"{work['replicas']} x {work['protein']} ({work['beads']} beads, "
            f"{work['directed_edges']} directed edges), {alike[0]['precision']}, one "
            f"{alike[0]['stage']}"
        )
        failed = [f"{r['plan']} fails: {r['failed']}" for r in alike if "failed" in r]
        table = Table(
            title=title, title_justify="left", caption="\n".join(failed), caption_justify="left"
        )
        first = next((record for record in alike if "failed" not in record), None)
        rows = [_row(record, first) for record in alike]
        # Forces alone have no steps: their empty columns are left out.
        shown = [k for k, name in enumerate(COLUMNS) if k < 2 or any(row[k] for row in rows)]
        for k in shown:
            table.add_column(COLUMNS[k], justify="left" if k == 0 else "right")
        for row in rows:
            table.add_row(*(row[k] for k in shown))
        tables.append(table)
    return tables


def stages_table(costs: Sequence[StageCost], title: str, ceilings: Ceilings) -> Table:
    """Return the predicted cost of every kind of stage, the blocks of the network added up.

    Args:
        costs: of one evaluation.
        title: of the table.
        ceilings: of the machine; they give the least time of a stage.
    """
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("stage, predicted")
    for name in ("MB read", "MB written", "on chip", "GFLOP", "FLOP/byte", "alive MB", "least ms"):
        table.add_column(name, justify="right")
    for cost in merged(tuple(costs)):
        table.add_row(
            cost.name,
            f"{cost.bytes_read / 1e6:.4g}",
            f"{cost.bytes_written / 1e6:.4g}",
            f"{cost.on_chip_bytes / 1e6:.4g}",
            f"{cost.flops / 1e9:.4g}",
            f"{cost.flops / max(1, cost.bytes_moved):.3g}",
            f"{cost.live_bytes / 1e6:.4g}",
            f"{1e3 * ceilings.seconds(cost):.4g}",
        )
    return table


def _row(record: dict, first: dict | None) -> tuple[str, ...]:
    error = _error(record)
    if "failed" in record or first is None:
        return (record["plan"], error, "fails", *[""] * (len(COLUMNS) - 3))
    ms, peak = record["ms"], record["peak_bytes"]
    steps, days = record.get("replica_steps_per_second"), record.get("ns_per_day")
    predicted = "predicted_bytes" in record  # not in files of earlier versions
    return (
        record["plan"],
        error,
        f"{ms['median']:.4g} ({ms['min']:.4g}..{ms['max']:.4g})",
        f"{first['ms']['median'] / ms['median']:.2f} x",
        "" if steps is None else f"{steps:.5g}",
        "" if days is None else f"{days:.4g}",
        f"{peak / 1e6:.4g}",
        f"{first['peak_bytes'] / max(1, peak):.2f} x",
        f"{record['predicted_bytes'] / 1e6:.4g}" if predicted else "",
        f"{record['bandwidth_fraction']:.0%}" if predicted else "",
        f"{record['roofline_fraction']:.0%}" if predicted else "",
    )


def _error(record: dict) -> str:
    if "force_error" not in record:
        return ""
    total = f"{record['force_error']:.1e}"
    network = record.get("network_force_error")
    return total if network is None else f"{network:.1e} ({total})"


def write_records(records: Sequence[dict], path: Path) -> None:
    """Add records to a measurement file, {"records": [...]}; it is made if it is not there.

    Raises:
        UserError: the file holds something else, or cannot be written.
    """
    earlier: list[dict] = []
    try:
        if path.is_file():
            earlier = json.loads(path.read_text(encoding="utf-8"))["records"]
        lines = ",\n  ".join(json.dumps(record) for record in [*earlier, *records])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{\n "records": [\n  {lines}\n ]\n}}\n', encoding="utf-8")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a measurement file; name another one") from error
    except OSError as error:
        raise UserError(f"cannot write {path}: {(error.strerror or '').lower()}") from error


def draw_records(records: Sequence[dict], path: Path) -> None:
    """Draw time and peak memory of every record as bars, and a mark where they were predicted."""
    from matplotlib.figure import Figure

    shown = [record for record in records if "failed" not in record]
    names = [
        f"{r['work']['replicas']} x {r['work']['protein']}\n{r['plan']}, {r['precision']}, "
        f"{r['stage']}"
        for r in shown
    ]
    figure = Figure(figsize=(9.0, 1.4 + 0.55 * len(shown)), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _bars(left, [r["ms"]["median"] for r in shown], [r.get("predicted_ms") for r in shown])
    left.set_xlabel("ms per evaluation or step; mark: least time by the IO model")
    left.set_yticks(range(len(shown)), names, fontsize=8)
    left.invert_yaxis()
    _bars(
        right,
        [r["peak_bytes"] / 1e6 for r in shown],
        [r["predicted_peak_bytes"] / 1e6 if "predicted_peak_bytes" in r else None for r in shown],
        color="#e07b39",
    )
    right.set_xlabel("peak memory (MB); mark: predicted")
    figure.savefig(path)


def _bars(
    axes: Any, values: Sequence[float], marks: Sequence[float | None], color: str = "#2f5fb3"
) -> None:
    rows = range(len(values))
    axes.barh(rows, values, color=color)
    marked = [(mark, row) for row, mark in enumerate(marks) if mark is not None]
    axes.plot(*zip(*marked, strict=True) if marked else ([], []), "k|", ms=14, mew=2)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_size(8)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _kind(record: dict) -> tuple:
    """Return what must agree for two records to be compared."""
    work = record["work"]
    return (work["protein"], work["replicas"], record["precision"], record["stage"])
