"""`flashschnet temper`: replicas that trade temperatures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from flashschnet_lab import cli_options as options
from flashschnet_lab.cli_choices import plan_named
from flashschnet_lab.errors import UserError


def temper(
    protein: options.Protein = "chignolin",
    pdb: options.Pdb = None,
    sequence: options.Sequence = None,
    model: options.Model = None,
    mapping: options.Mapping = None,
    temperatures: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The ladder in kelvin, rising: 300,340,385."),
    ] = None,
    lowest: Annotated[float, typer.Option(help="Coldest rung of a ladder that is made.")] = 300.0,
    hottest: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Hottest rung of a ladder that is made. Default: 600."),
    ] = None,
    acceptance: Annotated[
        float, typer.Option(help="Share of accepted trades that a made ladder aims at.")
    ] = 0.3,
    pilot: Annotated[
        int,
        typer.Option(
            help="Steps of a trial run that measures how energies spread, from which the ladder is "
            "made. 0 takes the molecule for a set of springs.",
            min=0,
        ),
    ] = 0,
    replicas: Annotated[
        int, typer.Option(help="Replicas per rung: so many ladders run side by side.", min=1)
    ] = 1,
    steps: Annotated[int, typer.Option(help="Time steps.", min=1)] = 10_000,
    every: Annotated[int, typer.Option(help="Steps between attempts to trade.", min=1)] = 100,
    extended: Annotated[
        bool, typer.Option("--extended", help="Start from extended chains.")
    ] = False,
    timestep: options.Timestep = 4.0,
    friction: options.Friction = 1.0,
    seed: Annotated[int, typer.Option(help="Of the random streams and the trades.", min=0)] = 1,
    plan: options.Plan = None,
    device: options.Device = None,
    keep_going: options.KeepGoing = False,
    save_every: options.SaveEvery = 100,
    quantise: options.Quantise = None,
    out: options.Out = None,
    restart: Annotated[
        Optional[Path], typer.Option(help="Run folder to go on in, for --steps more.")  # noqa: UP045
    ] = None,
) -> None:
    """Let replicas at a ladder of temperatures trade them, so that none stays caught.

    Makes a run folder as `simulate` does, with the record of the trades beside it, and shows how
    many were accepted and how often replicas went up and down the ladder.
    """
    from flashschnet_lab.tempering_command import go_on_tempering, ladder_of, temper_command

    kernel_plan = None if plan is None else plan_named(plan, device)
    if restart is not None:
        go_on_tempering(restart, steps, plan=kernel_plan, device=device)
        return
    if temperatures is not None and hottest is not None:
        raise UserError("give either --temperatures or --hottest, not both")
    temper_command(
        protein=protein,
        pdb=pdb,
        sequence=sequence,
        model=model,
        mapping=None if mapping is None else mapping.value,
        ladder=None if temperatures is None else ladder_of(temperatures),
        span=(lowest, 600.0 if hottest is None else hottest),
        acceptance=acceptance,
        pilot=pilot,
        ladders=replicas,
        steps=steps,
        every=every,
        extended=extended,
        plan=kernel_plan,
        device=device,
        save_every=save_every,
        quantise=quantise,
        out=out,
        settings={
            "timestep_fs": timestep,
            "friction": friction,
            "seed": seed,
            "keep_going": keep_going,
        },
    )
