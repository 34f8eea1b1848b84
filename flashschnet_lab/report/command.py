"""What `flashschnet analyse` does: read, show numbers, write the report."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import Console

from flashschnet_lab.analysis.blocks import Watch
from flashschnet_lab.analysis.progress import bar
from flashschnet_lab.analysis.run_folder import open_run
from flashschnet_lab.errors import UserError
from flashschnet_lab.report.material import Material, gather
from flashschnet_lab.report.numbers import weighted_mean, with_error
from flashschnet_lab.report.write import write_report


def analyse_command(
    folder: Path,
    *,
    compare: Path | None,
    native: Path | None,
    skip_ps: float,
    every: int,
    out: Path | None,
) -> None:
    """Write the report of a run; arguments as the command line's.

    Raises:
        UserError: no run, or one that cannot be analysed as asked.
    """
    console = Console()
    run = open_run(folder, native)
    path = out or _place(run.trajectory.path.parent, folder)
    if not path.parent.is_dir():
        raise UserError(f"the folder {path.parent} does not exist; create it first")
    other = None if compare is None else open_run(compare)

    def bars(what: str) -> AbstractContextManager[Watch | None]:
        return bar(what, console)

    found = gather(run, other=other, skip_ps=skip_ps, every=every, bars=bars)
    write_report(found, path)
    _show(found, console)
    size = path.stat().st_size / 1e6
    console.print(f"report: [bold]{path}[/bold] ({size:.1f} MB, open it in any browser)")


def _place(parent: Path, asked: Path) -> Path:
    """Return where the report goes: into the run folder, or beside a lone trajectory."""
    if (asked / "trajectory.zarr").is_dir():
        return asked / "report.html"
    return parent / f"{asked.stem}-report.html"


def _show(found: Material, console: Console) -> None:
    from rich.table import Table

    title = found.run.protein.name
    if len(found.table.ladder):
        title += f" at {found.temperature:g} K"
    shown = Table(title=title, title_justify="left")
    shown.add_column("observable")
    shown.add_column("mean ± standard error", justify="right")
    if found.distances:
        shown.add_column(f"distance to {found.other_name}", justify="right")
    distance = {d.name: f"{d.distance:.2f}" for d in found.distances}
    for name, observable in found.table.observables.items():
        mean, error = weighted_mean(found.table[name], found.weights)
        row = [observable.title, with_error(mean, error, observable.unit)]
        shown.add_row(*row, *([distance.get(name, "")] if found.distances else []))
    console.print(shown)
    for remark in found.remarks:
        console.print(remark, highlight=False)
