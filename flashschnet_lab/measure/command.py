"""What `flashschnet bench` does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.console import Console

from flashschnet_kernels.plan import BASELINE, KernelPlan
from flashschnet_lab.devices import resolve_device
from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.bench import Work, measure, predict, profile_work
from flashschnet_lab.measure.memory_plan import fit_table, parse_memory
from flashschnet_lab.measure.precision import DTYPES, precision_report
from flashschnet_lab.measure.precision_view import (
    layer_table,
    precision_picture,
    precision_table,
)
from flashschnet_lab.measure.report import (
    draw_records,
    records_tables,
    stages_table,
    write_records,
)
from flashschnet_lab.measure.roofline import arithmetic_of, draw_roofline, measure_ceilings
from flashschnet_lab.measure.table_precision import (
    table_errors_table,
    table_picture,
    table_report,
)
from flashschnet_lab.measure.work import benchmark_system, directed_edges, system_of_beads
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.system import System

if TYPE_CHECKING:
    from rich.table import Table

_WIDTH = 150
"""Columns of the output where it is no terminal."""
_PROFILED = 15


def find_systems(
    proteins: Sequence[str], files: Sequence[Path], beads: Sequence[int], model: Path | None
) -> list[System]:
    """Return what is to be measured: library proteins, structure files, and molecules of a size.

    Raises:
        UserError: something that is not there, or a model for molecules that have their own.
    """
    if model is not None and beads:
        raise UserError("--model goes with --protein or --pdb; --beads brings a network of its own")
    named: list[str | Path] = [*proteins, *files]
    systems = [benchmark_system(which, model) for which in named]
    return systems + [system_of_beads(number) for number in beads]


def bench_command(
    systems: Sequence[System],
    replicas: Sequence[int],
    plans: Sequence[KernelPlan],
    precisions: Sequence[str],
    stages: Sequence[str],
    *,
    device: str | None,
    seconds: float,
    by_stage: bool,
    profile: bool,
    out: Path | None,
    compiled: bool = False,
) -> None:
    """Measure every combination, show the tables, and keep the records if a file is named.

    With `compiled`, the baseline under torch.compile comes after the first plan.
    """
    console, where = _console(), resolve_device(device)
    named = [(plan, False) for plan in plans]
    if compiled:
        named.insert(1, (BASELINE, True))
    works = [
        Work(system, copies, plan, precision, stage, wrapped)
        for system in systems
        for copies in replicas
        for precision in precisions
        for stage in stages
        for plan, wrapped in named
    ]
    records = []
    for number, work in enumerate(works, start=1):
        with console.status(f"{number}/{len(works)}: {_label(work)}"):
            record = measure(work, where, seconds)
        records.append(record)
        if out is not None:  # at once: a long series that is stopped keeps what it has
            write_records([record], out)
    for table in records_tables(records):
        console.print(table)
    for work, record in zip(works, records, strict=True):
        if by_stage and not work.compiled:
            console.print(_predicted_table(work, where))
        if profile and "failed" not in record:
            console.print(_profile_table(work, where))
    if out is not None:
        pictures = [out.with_suffix(".png"), out.with_name(f"{out.stem}_roofline.png")]
        draw_records(records, pictures[0])
        draw_roofline(records, pictures[1])
        console.print(f"added to {out}; pictures {pictures[0]} and {pictures[1]}")


def fit_command(
    systems: Sequence[System], plans: Sequence[KernelPlan], precisions: Sequence[str], memory: str
) -> None:
    """Show how many replicas of each system fit in a memory, by prediction."""
    _console().print(fit_table(systems, plans, precisions, parse_memory(memory)))


def ensembles_command(
    systems: Sequence[System],
    replicas: Sequence[int],
    plans: Sequence[KernelPlan],
    time_ps: float,
    *,
    device: str | None,
    out: Path | None,
) -> None:
    """Compare the ensembles of plans with that of the first.

    Raises:
        UserError: a single plan.
    """
    from flashschnet_lab.measure.ensembles import compare_ensembles, write_comparison

    if len(plans) < 2:
        raise UserError("--ensembles compares plans: name two or more with --plan, the first exact")
    console = _console()
    for system, copies, plan in product(systems, replicas, plans[1:]):
        with console.status(f"{copies} x {system.name}, {plan.name}"):
            found = compare_ensembles(
                system, plans[0], plan, replicas=copies, time_ps=time_ps, device=device
            )
        console.print_json(json.dumps(found))
        if out is not None:
            command = f"flashschnet bench --protein {system.name} --replicas {copies} "
            command += f"--plan {plans[0].name} --plan {plan.name} --ensembles {time_ps:g}"
            write_comparison(found, out, command)


def drift_command(
    systems: Sequence[System],
    replicas: Sequence[int],
    plans: Sequence[KernelPlan],
    time_ps: float,
    *,
    device: str | None,
    out: Path | None,
) -> None:
    """Show how far the total energy drifts without a thermostat under each plan."""
    from flashschnet_lab.measure.drift import drifts_table, energy_drifts, write_drifts

    console = _console()
    for system, copies in product(systems, replicas):
        with console.status(f"{copies} x {system.name}, {time_ps:g} ps under each plan"):
            found = energy_drifts(system, plans, replicas=copies, time_ps=time_ps, device=device)
        console.print(drifts_table(found))
        if out is not None:
            command = f"flashschnet bench --protein {system.name} --replicas {copies} "
            command += "".join(f"--plan {plan.name} " for plan in plans) + f"--drift {time_ps:g}"
            write_drifts(found, out, command)


def precision_command(
    systems: Sequence[System], *, device: str | None, out: Path | None, steps: int = 200
) -> None:
    """Show what 16-bit weights and tabulated filters cost in exactness.

    On conformations of a short simulation.
    """
    console, where = _console(), resolve_device(device)
    for system in systems:
        simulation = Simulation(system, 4, device=where)
        simulation.run(steps)
        report = precision_report(system, simulation.state.positions)
        console.print(precision_table(report, title=system.name))
        for dtype in DTYPES:
            console.print(layer_table(report, dtype))
        tables = table_report(system, simulation.state.positions[-2:])
        console.print(table_errors_table(tables, title=f"{system.name}:"))
        if out is not None:
            picture = out.with_name(f"{out.stem}_{system.name}_tables.png")
            table_picture(tables, title=system.name).savefig(picture)
            console.print(f"picture {picture}")
            picture = out.with_name(f"{out.stem}_{system.name}.png")
            precision_picture(report, title=system.name).savefig(picture)
            console.print(f"picture {picture}")


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)


def _label(work: Work) -> str:
    return f"{work.replicas} x {work.system.name}, {work.label}, {work.precision}, one {work.stage}"


def _predicted_table(work: Work, device: torch.device) -> Table:
    ceilings = measure_ceilings(device, arithmetic_of(work.plan, work.precision, device))
    return stages_table(predict(work, directed_edges(work.system)), _label(work), ceilings)


def _profile_table(work: Work, device: torch.device) -> Table:
    from rich.table import Table

    shares = profile_work(work, device)
    whole = sum(share.milliseconds for share in shares)
    table = Table(title=f"{_label(work)}: {whole:.4g} ms in operations", title_justify="left")
    table.add_column("operation, measured", no_wrap=True, max_width=80)
    for name in ("ms", "part", "launches"):
        table.add_column(name, justify="right")
    for share in shares[:_PROFILED]:
        table.add_row(
            share.name,
            f"{share.milliseconds:.4g}",
            f"{share.milliseconds / whole:.0%}",
            f"{share.launches:.4g}",
        )
    return table
