"""The command line, `flashschnet ...`. A mistake of the user is one clear line and exit code 2."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from flashschnet_lab import cli_options as options
from flashschnet_lab.cli_analyse import analyse
from flashschnet_lab.cli_bench import bench
from flashschnet_lab.cli_choices import (
    Dtype,
    Integrator,
    Mapping,
    Shape,
    TableClass,
    plan_named,
    renames,
)
from flashschnet_lab.cli_fetch import fetch
from flashschnet_lab.cli_models import export_model, import_
from flashschnet_lab.cli_temper import temper
from flashschnet_lab.cli_umbrella import umbrella
from flashschnet_lab.errors import UserError

app = typer.Typer(
    help="Simulate proteins with coarse-grained SchNet potentials, and see why it is fast.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def simulate(
    protein: options.Protein = "chignolin",
    pdb: options.Pdb = None,
    sequence: options.Sequence = None,
    shape: Annotated[Shape, typer.Option(help="Shape of the chain of --sequence.")] = (
        Shape.extended
    ),
    model: options.Model = None,
    mapping: options.Mapping = None,
    rename: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Treat a residue as another, LRT=LYS; may be repeated."),
    ] = None,
    drop_incomplete: Annotated[
        bool, typer.Option("--drop-incomplete", help="Leave out residues that lack an atom.")
    ] = False,
    restrain: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="Hold a coordinate by a spring, NAME=CENTRE:STRENGTH: end_to_end=20:1 (angstrom, "
            "kcal/mol per square of it), or NAME=CENTRE:STRENGTH:SLACK, free within SLACK. Names: "
            "end_to_end, rg, rmsd, q, or beads, 3-17. May be repeated."
        ),
    ] = None,
    replicas: Annotated[int, typer.Option(help="Copies that move independently.", min=1)] = 4,
    steps: Annotated[int, typer.Option(help="Time steps.", min=1)] = 1000,
    temperature: options.Temperature = 300.0,
    timestep: options.Timestep = 4.0,
    friction: options.Friction = 1.0,
    integrator: Annotated[Integrator, typer.Option(help="How to move.")] = Integrator.langevin,
    seed: Annotated[int, typer.Option(help="Key of the random streams.", min=0)] = 1,
    dtype: Annotated[Dtype, typer.Option(help="Precision of the state.")] = Dtype.float32,
    plan: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Kernel plan: reference, baseline, flash (16-bit weights), flash-float32, exact, "
            "balanced or fast (tables of filters; force error 1e-5, 1e-4, 3e-3), or a list of "
            "switches: radial_basis,message_passing,aggregation,quantization. Default: "
            "exact, or the reference where its kernels cannot run; a restart goes on with the plan "
            "of its run."
        ),
    ] = None,
    device: options.Device = None,
    deterministic: Annotated[
        bool, typer.Option(help="Repeat to the bit on a GPU too, at some cost in speed.")
    ] = True,
    minimise: Annotated[
        bool, typer.Option("--minimise", help="Remove clashes before the first step.")
    ] = False,
    keep_going: options.KeepGoing = False,
    save_every: options.SaveEvery = 20,
    quantise: options.Quantise = None,
    out: options.Out = None,
    restart: Annotated[
        Optional[Path], typer.Option(help="Run folder to go on in, for --steps more.")  # noqa: UP045
    ] = None,
) -> None:
    """Simulate a protein: a run folder with trajectory, checkpoint, receipt and picture."""
    from flashschnet_lab.command import run_command, simulation_command

    kernel_plan = None if plan is None else plan_named(plan, device)
    if restart is not None:
        if restrain:
            raise UserError("a restart keeps the restraints of its run; leave --restrain out")
        run_command(restart, steps, plan=kernel_plan, device=device)
        return
    simulation_command(
        protein=protein,
        pdb=pdb,
        sequence=sequence,
        shape=shape.value,
        model=model,
        mapping=None if mapping is None else mapping.value,
        rename=renames(rename or []),
        incomplete="drop" if drop_incomplete else "error",
        restrain=restrain or [],
        replicas=replicas,
        steps=steps,
        temperature=temperature,
        plan=kernel_plan,
        device=device,
        minimise=minimise or pdb is not None or sequence is not None,
        save_every=save_every,
        quantise=quantise,
        out=out,
        settings={
            "timestep_fs": timestep,
            "friction": friction,
            "integrator": integrator.value,
            "seed": seed,
            "dtype": dtype.value,
            "keep_going": keep_going,
            "deterministic": deterministic,
        },
    )


@app.command()
def proteins() -> None:
    """List the proteins that come with the package."""
    from flashschnet_lab.command import list_proteins

    list_proteins()


@app.command()
def doctor() -> None:
    """Say what is installed, what can run here, and what to install."""
    from rich.console import Console

    from flashschnet_lab.doctor import diagnose, render

    Console().print(render(diagnose()))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run folder or trajectory store.")],
    out: Annotated[Path, typer.Argument(help="File to write: .xtc, .dcd or .pdb.")],
    replica: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Which replica, from 0. Default: 0.", min=0),
    ] = None,
    temperature: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Of a tempered run: what was seen at this temperature, kelvin."),
    ] = None,
    ladder: Annotated[
        int, typer.Option(help="With --temperature: which ladder, from 0.", min=0)
    ] = 0,
    every: Annotated[int, typer.Option(help="Take every so many frames.", min=1)] = 1,
    align: Annotated[bool, typer.Option("--align", help="Superpose on the first frame.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
) -> None:
    """Write a replica's trajectory as XTC, DCD or PDB, for any molecular viewer."""
    from flashschnet_lab.simulation.export import export_replica, export_temperature

    if replica is not None and temperature is not None:
        raise UserError("give either --replica or --temperature, not both")
    frames = slice(None, None, every)
    if temperature is None:
        written = export_replica(run, replica or 0, out, frames=frames, align=align, force=force)
    else:
        written = export_temperature(
            run, temperature, out, ladder=ladder, frames=frames, align=align, force=force
        )
    for path in written:
        typer.echo(f"wrote {path}")


app.command()(analyse)
app.command()(bench)
app.command()(fetch)
app.command(name="import")(import_)
app.command(name="export-model")(export_model)
app.command()(temper)
app.command()(umbrella)


@app.command()
def lab(
    folder: Annotated[Path, typer.Argument(help="Where your copies of the notebooks go.")] = Path(
        "flashschnet-notebooks"
    ),
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address.")
    ] = False,
    port: Annotated[Optional[int], typer.Option(help="Port of the server.")] = None,  # noqa: UP045
    solutions: Annotated[
        bool, typer.Option("--solutions", help="Copy the puzzles' solutions too, for teachers.")
    ] = False,
) -> None:
    """Start JupyterLab on your own copy of the notebooks."""
    from flashschnet_lab.lab import start_lab

    start_lab(folder, open_browser=not no_browser, port=port, solutions=solutions)


@app.command()
def distil(
    structure: Annotated[str, typer.Argument(help="PDB or mmCIF file, or a library name.")],
    out: Annotated[
        Optional[Path], typer.Option(help="Model folder to make. Default: models/NAME.")  # noqa: UP045
    ] = None,
    small: Annotated[
        bool, typer.Option("--small", help="A small network in minutes on a CPU, for lessons.")
    ] = False,
    steps: Annotated[
        Optional[int], typer.Option(help="Optimiser steps.", min=1)  # noqa: UP045
    ] = None,
    depth: Annotated[
        float, typer.Option(help="Of a native contact, kcal/mol; a large fold needs 3.", min=0.1)
    ] = 2.0,
    seed: Annotated[int, typer.Option(help="Of sampling and weights.", min=0)] = 1,
    device: options.Device = None,
) -> None:
    """Train a SchNet on the structure-based potential of a protein. An interrupted run goes on."""
    from flashschnet_lab.training.command import distil_command

    distil_command(structure, out, small=small, steps=steps, seed=seed, device=device, depth=depth)


@app.command()
def validate(
    model: Annotated[Path, typer.Argument(help="Folder of a distilled model.")],
    structure: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Structure it was distilled from; not needed for the library."),
    ] = None,
    folded: Annotated[int, typer.Option(help="Replicas that start folded.", min=0)] = 64,
    extended: Annotated[int, typer.Option(help="Replicas that start extended.", min=0)] = 64,
    time_ps: Annotated[float, typer.Option("--time", help="Picoseconds of each replica.")] = 100.0,
    temperature: options.Temperature = 300.0,
    seed: Annotated[int, typer.Option(help="Of the random streams.", min=0)] = 1,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="Measure its teacher instead, for comparison.")
    ] = False,
    add: Annotated[
        bool, typer.Option("--add", help="Add the replicas to those measured before, with others.")
    ] = False,
    device: options.Device = None,
    plan: Annotated[
        Optional[str], typer.Option(help="Kernel plan; see simulate --help.")  # noqa: UP045
    ] = None,
) -> None:
    """Measure whether a model holds its fold and finds it, and write its model card.

    With --folded 0 the extended chains are measured apart: another --time does not touch what was
    measured of the folded ones.
    """
    from flashschnet_lab.training.command import validate_command

    chosen = None if plan is None else plan_named(plan, device)
    validate_command(
        model,
        structure,
        folded,
        extended,
        time_ps,
        temperature,
        device,
        teacher,
        chosen,
        seed=seed,
        add=add,
    )


@app.command(name="compile")
def compile_(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    class_: Annotated[
        TableClass,
        typer.Option(
            "--class", help="Force error of the network: exact 1e-5, balanced 1e-4, fast 3e-3."
        ),
    ] = TableClass.all,
    protein: Annotated[
        Optional[str], typer.Option(help="Protein of the library to verify on.")  # noqa: UP045
    ] = None,
    pdb: Annotated[Optional[Path], typer.Option(help="PDB or mmCIF file to verify on.")] = None,  # noqa: UP045
    mapping: Annotated[
        Optional[Mapping],  # noqa: UP045
        typer.Option(help="Beads of --pdb. Default: the model's, else five_bead."),
    ] = None,
) -> None:
    """Make tables of a model's filters, verify them, and write them next to the model.

    The plans exact, balanced and fast read filters from such a table. Without this command the
    table is made when it is first needed, in seconds, and kept in the user's cache folder.

    A table is verified on the protein's folded, displaced and extended conformations; for a model
    of a protein of the library that protein is taken if none is named.
    """
    from flashschnet_lab.command import compile_command
    from flashschnet_lab.potentials.tables import CLASSES

    if protein is not None and pdb is not None:
        raise UserError("give either --protein or --pdb, not both")
    classes = list(CLASSES) if class_ is TableClass.all else [class_.value]
    beads = None if mapping is None else mapping.value
    compile_command(model, classes, protein if pdb is None else pdb, beads)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 when all went well, 2 for a user's mistake."""
    try:
        app(arguments)  # exits by itself, also with 2 for unknown options
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
