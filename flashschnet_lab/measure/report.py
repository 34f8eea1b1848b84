"""Records as a table, a file and a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flashschnet_lab.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table


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
        table = Table(title=title, title_justify="left")
        table.add_column("plan")
        for name in ("force error", "ms (min..max)", "faster", "peak MB", "less", "ns/day"):
            table.add_column(name, justify="right")
        first = next((record for record in alike if "failed" not in record), None)
        for record in alike:
            table.add_row(*_row(record, first))
        tables.append(table)
    return tables


def _row(record: dict, first: dict | None) -> tuple[str, ...]:
    error = f"{record['force_error']:.1e}"
    if "failed" in record or first is None:
        return (record["plan"], error, record["failed"])
    ms, peak = record["ms"], record["peak_bytes"]
    return (
        record["plan"],
        error,
        f"{ms['median']:.4g} ({ms['min']:.4g}..{ms['max']:.4g})",
        f"{first['ms']['median'] / ms['median']:.2f} x",
        f"{peak / 1e6:.4g}",
        f"{first['peak_bytes'] / max(1, peak):.2f} x",
        f"{record['ns_per_day']:.4g}" if "ns_per_day" in record else "",
    )


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
    """Draw median time and peak memory of every record as bars."""
    from matplotlib.figure import Figure

    shown = [record for record in records if "failed" not in record]
    names = [
        f"{r['work']['replicas']} x {r['work']['protein']}\n{r['plan']}, {r['precision']}, "
        f"{r['stage']}"
        for r in shown
    ]
    figure = Figure(figsize=(9.0, 1.2 + 0.55 * len(shown)), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rows = range(len(shown))
    left.barh(rows, [r["ms"]["median"] for r in shown], color="#2f5fb3")
    left.set_xlabel("ms per evaluation or step")
    left.set_yticks(rows, names, fontsize=8)
    left.invert_yaxis()
    right.barh(rows, [r["peak_bytes"] / 1e6 for r in shown], color="#e07b39")
    right.set_xlabel("peak memory (MB)")
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def _kind(record: dict) -> tuple:
    """Return what must agree for two records to be compared."""
    work = record["work"]
    return (work["protein"], work["replicas"], record["precision"], record["stage"])
