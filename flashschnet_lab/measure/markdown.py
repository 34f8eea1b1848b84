"""Measurement files as the tables of the README.

    python -m flashschnet_lab.measure.markdown data/measurements/h200.json

prints one table per work; a test compares them with the README.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

HEADER = (
    "| plan | ms | ns/day | peak MB | force error | faster | less memory |",
    "|---|---|---|---|---|---|---|",
)


def markdown_tables(records: Sequence[dict], stage: str = "step") -> list[str]:
    """Return a table per protein and number of replicas, as text, every plan beside the first.

    The force error is that of the network alone where it has one. A plan that failed says why.

    Args:
        records: of one measurement file.
        stage: "force" or "step".
    """
    chosen = [record for record in records if record["stage"] == stage]
    return ["\n".join(lines) for lines in map(_table, _groups(chosen).values())]


def titles(records: Sequence[dict], stage: str = "step") -> list[str]:
    """Return what each of `markdown_tables` is about."""
    chosen = [record for record in records if record["stage"] == stage]
    return [
        f"{replicas} x {protein} ({group[0]['work']['beads']} beads, "
        f"{group[0]['work']['directed_edges']:,} directed edges each)"
        for (protein, replicas), group in _groups(chosen).items()
    ]


def _groups(records: Sequence[dict]) -> dict[tuple[str, int], list[dict]]:
    groups: dict[tuple[str, int], list[dict]] = {}
    for record in records:
        work = record["work"]
        groups.setdefault((work["protein"], work["replicas"]), []).append(record)
    return groups


def _table(group: Sequence[dict]) -> list[str]:
    first = next((record for record in group if "failed" not in record), None)
    return [*HEADER, *(_line(record, first) for record in group)]


def _line(record: dict, first: dict | None) -> str:
    name = f"`{record['plan']}`"
    if record["precision"] != "float32":
        name += f" ({record['precision']})"
    error = f"{record.get('network_force_error', record.get('force_error', float('nan'))):.1e}"
    if "failed" in record or first is None:
        return f"| {name} | {record['failed']} | | | {error} | | |"
    cells = (
        name,
        f"{record['ms']['median']:.3g}",
        _number(record["ns_per_day"]) if "ns_per_day" in record else "",
        f"{record['peak_bytes'] / 1e6:,.0f}",
        error,
        f"{first['ms']['median'] / record['ms']['median']:.1f} x",
        f"{first['peak_bytes'] / record['peak_bytes']:.0f} x",
    )
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    """Return three digits at least."""
    return f"{value:,.0f}" if value >= 100.0 else f"{value:.3g}"


def main() -> None:
    """Print the tables of a file."""
    parser = argparse.ArgumentParser(description="Print the tables of a measurement file.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--stage", default="step", choices=["force", "step"])
    arguments = parser.parse_args()
    records = json.loads(arguments.file.read_text(encoding="utf-8"))["records"]
    stage = arguments.stage
    for title, table in zip(titles(records, stage), markdown_tables(records, stage), strict=True):
        print(f"{title}\n\n{table}\n")


if __name__ == "__main__":
    main()
