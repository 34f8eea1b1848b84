"""`flashschnet bench`: everything that is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from flashschnet_lab.cli_choices import Precision, Stage, plan_named


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
        Optional[Path], typer.Option(help="Model folder, or hf:user/repo, for --protein and --pdb.")  # noqa: UP045
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
    plans = [plan_named(name, device) for name in names]
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
