"""`flashschnet umbrella`: a free-energy profile along a coordinate, from restrained replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from flashschnet_lab import cli_options as options
from flashschnet_lab.cli_choices import plan_named


def umbrella(
    protein: options.Protein = "chignolin",
    pdb: options.Pdb = None,
    sequence: options.Sequence = None,
    model: options.Model = None,
    mapping: options.Mapping = None,
    coordinate: Annotated[
        str,
        typer.Option(
            help="Along which: end_to_end, rg, rmsd, q, or beads: 3-17 (a distance), 3-8-17 (an "
            "angle), 3-8-12-17 (a dihedral; radians)."
        ),
    ] = "end_to_end",
    low: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--from", help="First centre, in the unit of the coordinate."),
    ] = None,
    high: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            "--to",
            help="Last centre. Default of both: from about the fold to a stretched chain.",
        ),
    ] = None,
    windows: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="Centres from the first to the last, evenly apart. Default: 16, or more where "
            "their springs would be too soft.",
            min=2,
        ),
    ] = None,
    strength: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="Of the springs, kcal/mol per square of the unit. Default: such that heat carries "
            "a replica well into the next window.",
        ),
    ] = None,
    replicas: Annotated[int, typer.Option(help="Replicas in every window.", min=1)] = 1,
    time_ps: Annotated[
        float, typer.Option("--time-ps", help="Picoseconds of sampling in every window.")
    ] = 15.0,
    pull_ps: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            "--pull-ps",
            help="Picoseconds of the way into the windows. Default: 5, or more for a long way.",
        ),
    ] = None,
    settle_ps: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            "--settle-ps",
            help="Picoseconds there that do not count. Default: a quarter of --time-ps.",
        ),
    ] = None,
    temperature: options.Temperature = 300.0,
    timestep: options.Timestep = 4.0,
    friction: options.Friction = 1.0,
    seed: Annotated[int, typer.Option(help="Key of the random streams.", min=0)] = 1,
    plan: options.Plan = None,
    device: options.Device = None,
    bins: Annotated[int, typer.Option(help="Of the profile.", min=2)] = 30,
    save_every: options.SaveEvery = 25,
    quantise: options.Quantise = None,
    out: options.Out = None,
    restart: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Run folder to go on in, for --time-ps more; its profile is made anew."),
    ] = None,
) -> None:
    """Measure the free energy along a coordinate by umbrella sampling.

    Pulls replicas into windows along the coordinate, holds them there by springs while they sample,
    and joins what they saw by MBAR. Makes a run folder as `simulate` does, with the profile in
    profile.json and profile.png, and says where neighbouring windows do not overlap.
    """
    from flashschnet_lab.umbrella_command import go_on_in_windows, umbrella_command

    kernel_plan = None if plan is None else plan_named(plan, device)
    if restart is not None:
        go_on_in_windows(restart, time_ps, bins=bins, plan=kernel_plan, device=device)
        return
    umbrella_command(
        protein=protein,
        pdb=pdb,
        sequence=sequence,
        model=model,
        mapping=None if mapping is None else mapping.value,
        coordinate=coordinate,
        span=(low, high),
        windows=windows,
        strength=strength,
        replicas=replicas,
        time_ps=time_ps,
        pull_ps=pull_ps,
        settle_ps=0.25 * time_ps if settle_ps is None else settle_ps,
        temperature=temperature,
        plan=kernel_plan,
        device=device,
        bins=bins,
        save_every=save_every,
        quantise=quantise,
        out=out,
        settings={"timestep_fs": timestep, "friction": friction, "seed": seed},
    )
