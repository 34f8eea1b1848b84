"""What `flashschnet simulate`, `proteins` and `compile` do: load, run, show."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.checkpoints.hub import is_on_hub
from flashschnet_lab.checkpoints.native import STRUCTURE, load_model
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_sequence, load_system, trained_model
from flashschnet_lab.proteins.embedded import embedded_like, embedded_names, embedded_protein
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.receipt import receipt_table
from flashschnet_lab.simulation.restraint_text import restraint_of
from flashschnet_lab.simulation.run import Watch, continue_run, new_folder, start_run
from flashschnet_lab.system import System
from flashschnet_lab.units import nanoseconds_per_day


def simulation_command(
    *,
    protein: str,
    pdb: Path | None,
    sequence: str | None,
    shape: str,
    model: Path | None,
    mapping: str | None,
    rename: dict[str, str],
    incomplete: str,
    restrain: Sequence[str],
    replicas: int,
    steps: int,
    temperature: float,
    plan: KernelPlan | None,
    device: str | None,
    minimise: bool,
    save_every: int,
    quantise: float | None,
    out: Path | None,
    settings: dict[str, Any],
) -> None:
    """Start a run into a new folder and show what came of it; arguments as the command line's."""
    console = Console()
    system = system_asked_for(
        protein, pdb, sequence, model, mapping, shape=shape, rename=rename, incomplete=incomplete
    )
    introduce(system, console)
    simulation = Simulation(
        system,
        replicas,
        temperature,
        plan=plan,
        device=device,
        report_every=min(save_every, steps),
        minimise=minimise,
        restraints=[restraint_of(text, system, replicas) for text in restrain],
        **settings,
    )
    tell_table(simulation, console)
    folder = out or new_folder(system.name)
    with progress(console, steps) as watch:
        receipt = start_run(simulation, folder, steps, quantise=quantise, watch=watch)
    conclude(receipt, folder, console)


def system_asked_for(
    protein: str,
    pdb: Path | None,
    sequence: str | None,
    model: Path | None,
    mapping: str | None,
    *,
    shape: str = "extended",
    rename: dict[str, str] | None = None,
    incomplete: str = "error",
) -> System:
    """Return the system of --protein, --pdb or --sequence; the others as `load_system` has them.

    Raises:
        UserError: both a file and a sequence, or nothing that can be loaded.
    """
    if pdb is not None and sequence is not None:
        raise UserError("give either --pdb or --sequence, not both")
    if sequence is not None:
        return load_sequence(sequence, model, shape=shape, mapping=mapping)
    which = protein if pdb is None else pdb
    return load_system(which, model, mapping=mapping, rename=rename, incomplete=incomplete)


def run_command(folder: Path, steps: int, *, plan: KernelPlan | None, device: str | None) -> None:
    """Go on with the run of a folder for so many steps and show what came of it."""
    console = Console()
    with progress(console, steps) as watch:
        receipt = continue_run(folder, steps, plan=plan, device=device, watch=watch)
    conclude(receipt, folder, console)


def list_proteins() -> None:
    """Print the proteins of the library with their sizes and models."""
    from rich.table import Table

    table = Table(title="Proteins", title_justify="left")
    for column in ("name", "residues", "beads", "model", "what it is"):
        table.add_column(column, justify="right" if column in ("residues", "beads") else "left")
    for name in embedded_names():
        embedded = embedded_protein(name)
        has_model = "trained" if trained_model(embedded.protein) else "structure-based"
        residues, beads = len(embedded.protein.residues), embedded.protein.beads
        table.add_row(name, str(residues), str(beads), has_model, embedded.title)
    Console().print(table)


def compile_command(
    folder: Path, classes: list[str], which: str | Path | None, mapping: str | None = None
) -> None:
    """Write the tables of a model's filters next to it and show what was chosen.

    Args:
        folder: of the model.
        classes: precision classes.
        which: library name or structure file to verify on; default the model's own protein, of the
            library or with the model.
        mapping: of a structure file; default the model's.

    Raises:
        UserError: see `compiling.compile_model`, or no protein is named and none is known.
    """
    from rich.table import Table

    from flashschnet_lab.compiling import compile_model
    from flashschnet_lab.potentials.tables import class_of, table_bytes

    if is_on_hub(folder):
        raise UserError(
            f"{folder} lies in the Hub's cache, where nothing is written; its tables are made when "
            "they are first needed, or copy the model folder here and compile that"
        )
    console, model = Console(), load_model(folder)
    if which is None and (folder / STRUCTURE).is_file():
        which = folder / STRUCTURE
    if which is None:
        own = embedded_like(model.only_for) if model.only_for else None
        if own is None:
            raise UserError(
                f"{folder} is a model of no protein of the library; name one to verify the table "
                "on: --pdb FILE or --protein NAME"
            )
        system = System(own.protein, model)
    else:
        system = load_system(which, model, mapping=mapping)
    with console.status(f"compiling the filters of {model.name}"):
        compiled = compile_model(system, classes)
    table = Table(title=f"Tables of filters in {folder}", title_justify="left")
    table.add_column("class")
    for name in ("promise", "pieces", "stretch per A", "MB", "force error"):
        table.add_column(name, justify="right")
    for made in compiled:
        table.add_row(
            f"{made.precision_class} ({made.table.form})",
            f"{class_of(made.precision_class).promise:g}",
            str(made.table.knots.pieces),
            f"{made.table.knots.stretch:.3f}",
            f"{table_bytes(made.table) / 1e6:.3g}",
            f"{made.achieved_error:.1e}",
        )
    console.print(table)
    names = "; ".join(compiled[0].verified_on)
    console.print(f"force error of the network alone, on the worst of: {names}", highlight=False)


def tell_table(simulation: Simulation, console: Console) -> None:
    """Say which table of filters moves the protein, if one does."""
    plan, system = simulation.plan, simulation.system
    if not plan.tabulated or system.model.network is None:
        return
    from flashschnet_lab.compiling import table_for

    made = table_for(system, plan.table_class)
    console.print(
        f"  filters from a table of {made.table.knots.pieces} pieces, force error "
        f"{made.achieved_error:.1e} (verified on {'; '.join(made.verified_on)})",
        highlight=False,
    )


def introduce(system: System, console: Console) -> None:
    """Say which protein is moved by what."""
    protein = system.protein
    console.print(
        f"[bold]{protein.name}[/bold]: {len(protein.residues)} residues, "
        f"{protein.beads} beads; moved by {system.model.name}",
        highlight=False,
    )
    for line in protein.report:
        console.print(f"  {line}", highlight=False)
    if system.model.network is None:
        console.print(
            "  no trained network is known for this molecule; train one with: "
            "flashschnet distil FILE", highlight=False,
        )  # fmt: skip


def conclude(receipt: dict, folder: Path, console: Console, command: str = "simulate") -> None:
    """Show a receipt, and how to go on."""
    console.print(receipt_table(receipt))
    console.print(f"trajectory, checkpoint, receipt and picture are in [bold]{folder}[/bold]")
    console.print(f"go on:  flashschnet {command} --restart {folder}", highlight=False)
    console.print(f"export: flashschnet export {folder} trajectory.xtc", highlight=False)


@contextmanager
def progress(console: Console, steps: int, what: str = "simulating") -> Iterator[Watch]:
    """Show a bar with ns/day and the time left; yields what to call with every frame."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=steps, rate="")
        yield _watcher(progress, task)


def _watcher(progress: Progress, task: Any) -> Watch:
    begun = time.perf_counter()

    def watch(simulation: Simulation, done: int) -> None:
        rate = ""
        if done:
            per_second = done / (time.perf_counter() - begun)
            timestep = simulation.settings.timestep_ps
            rate = f"{nanoseconds_per_day(per_second, timestep, simulation.replicas):.2f} ns/day"
        progress.update(task, completed=done, rate=rate)

    return watch
