"""The command line, `flashschnet ...`. A mistake of the user is one clear line and exit code 2."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from flashschnet_lab.errors import UserError

if TYPE_CHECKING:
    from flashschnet_kernels.plan import KernelPlan

app = typer.Typer(
    help="Simulate proteins with coarse-grained SchNet potentials, and see why it is fast.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Integrator(str, Enum):
    """Names of the integrators, as the help lists them."""

    langevin = "langevin"
    verlet = "verlet"
    brownian = "brownian"


class Mapping(str, Enum):
    """Names of the mappings."""

    five_bead = "five_bead"
    ca = "ca"


class Shape(str, Enum):
    """Shapes of a chain that is built from its sequence."""

    extended = "extended"
    helix = "helix"


class Stage(str, Enum):
    """What a measurement times."""

    force = "force"
    step = "step"


class Precision(str, Enum):
    """What can be measured."""

    float32 = "float32"
    tf32 = "tf32"
    float64 = "float64"


class TableClass(str, Enum):
    """Precision classes of tables of filters."""

    exact = "exact"
    balanced = "balanced"
    fast = "fast"
    all = "all"


class Dtype(str, Enum):
    """Floating-point types of the state."""

    float32 = "float32"
    float64 = "float64"


@app.command()
def simulate(
    protein: Annotated[
        str, typer.Option(help="Protein that comes with the package; `flashschnet proteins`.")
    ] = "chignolin",
    pdb: Annotated[Optional[Path], typer.Option(help="PDB or mmCIF file to simulate.")] = None,  # noqa: UP045
    sequence: Annotated[
        Optional[str], typer.Option(help="One-letter sequence to build and simulate.")  # noqa: UP045
    ] = None,
    shape: Annotated[Shape, typer.Option(help="Shape of the chain of --sequence.")] = (
        Shape.extended
    ),
    model: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Model folder. Default: the trained one, else a structure-based one."),
    ] = None,
    mapping: Annotated[Mapping, typer.Option(help="Beads of --pdb and --sequence.")] = (
        Mapping.five_bead
    ),
    rename: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Treat a residue as another, LRT=LYS; may be repeated."),
    ] = None,
    drop_incomplete: Annotated[
        bool, typer.Option("--drop-incomplete", help="Leave out residues that lack an atom.")
    ] = False,
    replicas: Annotated[int, typer.Option(help="Copies that move independently.", min=1)] = 4,
    steps: Annotated[int, typer.Option(help="Time steps.", min=1)] = 1000,
    temperature: Annotated[float, typer.Option(help="Kelvin.")] = 300.0,
    timestep: Annotated[float, typer.Option(help="Femtoseconds.")] = 4.0,
    friction: Annotated[float, typer.Option(help="Per picosecond.")] = 1.0,
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
    device: Annotated[
        Optional[str], typer.Option(help="cpu or cuda. Default: the GPU if there is one.")  # noqa: UP045
    ] = None,
    deterministic: Annotated[
        bool, typer.Option(help="Repeat to the bit on a GPU too, at some cost in speed.")
    ] = True,
    minimise: Annotated[
        bool, typer.Option("--minimise", help="Remove clashes before the first step.")
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="When a replica fails, go on with the others.")
    ] = False,
    save_every: Annotated[int, typer.Option(help="Steps between stored frames.", min=1)] = 20,
    quantise: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Store positions at this resolution in angstrom, 0.001 say."),
    ] = None,
    out: Annotated[Optional[Path], typer.Option(help="Run folder to make.")] = None,  # noqa: UP045
    restart: Annotated[
        Optional[Path], typer.Option(help="Run folder to go on in, for --steps more.")  # noqa: UP045
    ] = None,
) -> None:
    """Simulate a protein: a run folder with trajectory, checkpoint, receipt and picture."""
    from flashschnet_lab.command import run_command, simulation_command

    kernel_plan = None if plan is None else _plan(plan, device)
    if restart is not None:
        run_command(restart, steps, plan=kernel_plan, device=device)
        return
    if pdb is not None and sequence is not None:
        raise UserError("give either --pdb or --sequence, not both")
    simulation_command(
        protein=protein,
        pdb=pdb,
        sequence=sequence,
        shape=shape.value,
        model=model,
        mapping=mapping.value,
        rename=_renames(rename or []),
        incomplete="drop" if drop_incomplete else "error",
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
    replica: Annotated[int, typer.Option(help="Which replica, from 0.", min=0)] = 0,
    every: Annotated[int, typer.Option(help="Take every so many frames.", min=1)] = 1,
    align: Annotated[bool, typer.Option("--align", help="Superpose on the first frame.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
) -> None:
    """Write a replica's trajectory as XTC, DCD or PDB, for any molecular viewer."""
    from flashschnet_lab.simulation.export import export_replica

    frames = slice(None, None, every)
    for path in export_replica(run, replica, out, frames=frames, align=align, force=force):
        typer.echo(f"wrote {path}")


@app.command()
def bench(
    protein: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Library name or structure file; may be repeated. Default: chignolin."),
    ] = None,
    pdb: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="PDB or mmCIF file; may be repeated. Gets a network lent to it."),
    ] = None,
    beads: Annotated[
        Optional[list[int]],  # noqa: UP045
        typer.Option(help="A molecule of so many beads, packed like a protein; may be repeated."),
    ] = None,
    model: Annotated[
        Optional[Path], typer.Option(help="Model folder for --protein and --pdb.")  # noqa: UP045
    ] = None,
    replicas: Annotated[
        Optional[list[int]], typer.Option(help="Copies; may be repeated. Default: 4.")  # noqa: UP045
    ] = None,
    plan: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="Kernel plan, all others compared with the first; may be repeated. "
            "Default: baseline, reference, flash-float32, exact and fast. See simulate --help."
        ),
    ] = None,
    ladder: Annotated[
        bool,
        typer.Option(
            "--ladder", help="The baseline, each switch alone, together, and tables of filters."
        ),
    ] = False,
    dtype: Annotated[
        Optional[list[Precision]],  # noqa: UP045
        typer.Option(
            help="Precision; may be repeated. tf32: float32, with matrix products of PyTorch "
            "rounded on a GPU. Default: float32."
        ),
    ] = None,
    stage: Annotated[
        Optional[list[Stage]],  # noqa: UP045
        typer.Option(help="One force evaluation (default) or a whole step; may be repeated."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Timing of each, about.")] = 2.0,
    device: Annotated[
        Optional[str], typer.Option(help="cpu or cuda. Default: the GPU if there is one.")  # noqa: UP045
    ] = None,
    compile: Annotated[
        bool,
        typer.Option("--compile", help="Also measure the baseline's network under torch.compile."),
    ] = False,
    by_stage: Annotated[
        bool, typer.Option("--by-stage", help="Also show the predicted cost of every stage.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also show the operations that take longest.")
    ] = False,
    precision_report: Annotated[
        bool,
        typer.Option(
            "--precision-report",
            help="Measure no speed; show the force error of 16-bit weights, scale by scale and "
            "layer by layer, and that of tables of filters, by their size.",
        ),
    ] = False,
    fit: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Measure nothing; show how many replicas fit in this memory: 24GB, 80GiB, or "
            "device for that of the GPU here."
        ),
    ] = None,
    ensembles: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="Measure no speed; run so many picoseconds of every replica and compare the "
            "ensembles of all plans with that of the first, which runs twice.",
        ),
    ] = None,
    drift: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="Measure no speed; run so many picoseconds without a thermostat and show how far "
            "the total energy drifts under each plan."
        ),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="JSON file to add the records to; pictures go beside it."),
    ] = None,
) -> None:
    """Measure kernel plans: force error first, then time and memory beside the IO model.

    Forces are judged against float64 on the same positions, of the network alone and in total. A
    plan beyond the limit (1e-5 in float32, 1e-9 in float64, 1e-3 with fp16 and 1e-2 with bf16
    weights; 1e-5, 1e-4 and 3e-3 for the plans exact, balanced and fast) is shown as failing,
    without a speed.

    Times are medians of repeated calls with the least and the most. Peak memory is that of the
    tensors of one call. Predicted bytes are what the operations of the plan must read and write
    once; the roofline fraction is the least time that they and the FLOPs allow on this machine,
    whose copy and matrix rates are measured first, over the time measured.
    """
    from flashschnet_kernels.plan import LADDER
    from flashschnet_lab.measure.command import (
        bench_command,
        drift_command,
        ensembles_command,
        find_systems,
        fit_command,
        precision_command,
    )

    names = plan or (
        LADDER if ladder else ("baseline", "reference", "flash-float32", "exact", "fast")
    )
    plans = [_plan(name, device) for name in names]
    precisions = [d.value for d in dtype or [Precision.float32]]
    named = protein or ([] if pdb or beads else ["chignolin"])
    systems = find_systems(named, pdb or [], beads or [], model)
    if precision_report:
        precision_command(systems, device=device, out=out)
        return
    if fit is not None:
        fit_command(systems, plans, precisions, fit)
        return
    if ensembles is not None:
        ensembles_command(systems, replicas or [64], plans, ensembles, device=device, out=out)
        return
    if drift is not None:
        drift_command(systems, replicas or [8], plans, drift, device=device, out=out)
        return
    bench_command(
        systems,
        replicas or [4],
        plans,
        precisions,
        [s.value for s in stage or [Stage.force]],
        device=device,
        seconds=seconds,
        by_stage=by_stage,
        profile=profile,
        out=out,
        compiled=compile,
    )


@app.command()
def lab(
    folder: Annotated[Path, typer.Argument(help="Where your copies of the notebooks go.")] = Path(
        "flashschnet-notebooks"
    ),
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address.")
    ] = False,
    port: Annotated[Optional[int], typer.Option(help="Port of the server.")] = None,  # noqa: UP045
) -> None:
    """Start JupyterLab on your own copy of the notebooks."""
    from flashschnet_lab.lab import start_lab

    start_lab(folder, open_browser=not no_browser, port=port)


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
    device: Annotated[
        Optional[str], typer.Option(help="cpu or cuda. Default: the GPU if there is one.")  # noqa: UP045
    ] = None,
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
    temperature: Annotated[float, typer.Option(help="Kelvin.")] = 300.0,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="Measure its teacher instead, for comparison.")
    ] = False,
    device: Annotated[
        Optional[str], typer.Option(help="cpu or cuda. Default: the GPU if there is one.")  # noqa: UP045
    ] = None,
    plan: Annotated[
        Optional[str], typer.Option(help="Kernel plan; see simulate --help.")  # noqa: UP045
    ] = None,
) -> None:
    """Measure whether a model holds its fold and finds it, and write its model card."""
    from flashschnet_lab.training.command import validate_command

    chosen = None if plan is None else _plan(plan, device)
    validate_command(
        model, structure, folded, extended, time_ps, temperature, device, teacher, chosen
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
    mapping: Annotated[Mapping, typer.Option(help="Beads of --pdb.")] = Mapping.five_bead,
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
    compile_command(model, classes, protein if pdb is None else pdb, mapping.value)


def _plan(name: str, device: str | None) -> KernelPlan:
    from flashschnet_kernels.plan import parse_plan
    from flashschnet_lab.simulation.engine import resolve_device

    try:
        return parse_plan(name, resolve_device(device).type)
    except ValueError as error:
        raise UserError(str(error)) from error


def _renames(pairs: list[str]) -> dict[str, str]:
    renames = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not (old and equals and new):
            raise UserError(f"--rename {pair!r} should read like LRT=LYS")
        renames[old.upper()] = new.upper()
    return renames


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 when all went well, 2 for a user's mistake."""
    try:
        app(arguments)  # exits by itself, also with 2 for unknown options
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
