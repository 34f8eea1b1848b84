"""What `flashschnet bench` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.loading import load_system
from flashschnet_lab.measure.bench import Work, measure
from flashschnet_lab.measure.report import draw_records, records_tables, write_records
from flashschnet_lab.simulation.engine import resolve_device


def bench_command(
    proteins: Sequence[str],
    replicas: Sequence[int],
    plans: Sequence[KernelPlan],
    precisions: Sequence[str],
    stages: Sequence[str],
    *,
    device: str | None,
    seconds: float,
    out: Path | None,
) -> None:
    """Measure every combination, show the table, and keep the records if a file is named."""
    console, where = Console(), resolve_device(device)
    works = [
        Work(system, copies, plan, precision, stage)
        for system in map(load_system, proteins)
        for copies in replicas
        for precision in precisions
        for stage in stages
        for plan in plans
    ]
    records = []
    for number, work in enumerate(works, start=1):
        with console.status(
            f"{number}/{len(works)}: {work.replicas} x {work.system.name}, {work.plan.name}"
        ):
            records.append(measure(work, where, seconds))
    for table in records_tables(records):
        console.print(table)
    if out is not None:
        write_records(records, out)
        draw_records(records, out.with_suffix(".png"))
        console.print(f"added to {out}; picture {out.with_suffix('.png')}")
