"""What `flashschnet temper` does: make a ladder, run, and show who traded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.command import (
    conclude,
    introduce,
    progress,
    system_asked_for,
    tell_table,
)
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.exchange import RECORD, Tempering
from flashschnet_lab.simulation.exchange_record import (
    Exchanges,
    acceptance,
    read_exchanges,
    round_trips,
)
from flashschnet_lab.simulation.run import continue_run, new_folder, start_run
from flashschnet_lab.simulation.temperature_ladder import (
    check_ladder,
    ladder_for_degrees,
    ladder_from_pilot,
)
from flashschnet_lab.training.distil import extended_start

FRAMES_OF_PILOT = 200
"""Energies that are taken of a trial run, of its second half."""


def temper_command(
    *,
    protein: str,
    pdb: Path | None,
    sequence: str | None,
    model: Path | None,
    mapping: str | None,
    ladder: tuple[float, ...] | None,
    span: tuple[float, float],
    acceptance: float,
    pilot: int,
    ladders: int,
    steps: int,
    every: int,
    extended: bool,
    plan: KernelPlan | None,
    device: str | None,
    save_every: int,
    quantise: float | None,
    out: Path | None,
    settings: dict[str, Any],
) -> None:
    """Start a tempered run in a new folder and show what came of it.

    Args are the command line's, with `span` the lowest and hottest temperature of a ladder that is
    made, and `ladder` one that is given.
    """
    console = Console()
    system = system_asked_for(protein, pdb, sequence, model, mapping)
    introduce(system, console)
    common: dict[str, Any] = {
        "positions": extended_start(system) if extended else None,
        "plan": plan,
        "device": device,
        "minimise": extended or pdb is not None or sequence is not None,
        **settings,
    }
    if ladder is None:
        degrees = 3 * system.protein.beads - 6
        ladder = ladder_for_degrees(*span, degrees, acceptance)
        if pilot:
            with console.status(f"a trial run of {pilot} steps, to place the rungs"):
                trial = Simulation(system, len(ladder), ladder, **common)
                ladder = ladder_from_trial(trial, pilot, acceptance)
    kelvin = ", ".join(f"{t:.4g}" for t in ladder)
    console.print(f"  {len(ladder)} rungs: {kelvin} K; {ladders} replicas each", highlight=False)
    simulation = Simulation(
        system,
        len(ladder) * ladders,
        list(ladder) * ladders,
        report_every=min(save_every, steps),
        **common,
    )
    tell_table(simulation, console)
    tempering = Tempering(simulation, ladder, every)
    folder = out or new_folder(f"{system.name}-tempered")
    with progress(console, steps) as watch:
        receipt = start_run(tempering, folder, steps, quantise=quantise, watch=watch)
    _show(receipt, folder, console)


def go_on_tempering(
    folder: Path, steps: int, *, plan: KernelPlan | None, device: str | None
) -> None:
    """Go on with the tempered run of a folder for so many steps and show what came of it.

    Raises:
        UserError: no run folder, or one whose replicas kept their temperatures.
    """
    if folder.is_dir() and not (folder / RECORD).is_file():
        raise UserError(
            f"the replicas of {folder} kept their temperatures; go on with: flashschnet simulate "
            f"--restart {folder}"
        )
    console = Console()
    with progress(console, steps) as watch:
        receipt = continue_run(folder, steps, plan=plan, device=device, watch=watch)
    _show(receipt, folder, console)


def ladder_of(text: str) -> tuple[float, ...]:
    """Return the ladder of "300,340,385".

    Raises:
        UserError: it reads otherwise.
    """
    try:
        return check_ladder([float(part) for part in text.split(",")])
    except ValueError as error:
        raise UserError(f"--temperatures {text!r} should read like 300,340,385") from error


def ladder_from_trial(simulation: Simulation, steps: int, acceptance: float) -> tuple[float, ...]:
    """Return a ladder from the energies of a simulation with one replica per first-guess rung.

    Args:
        simulation: it is run; its temperatures rise from replica to replica.
        steps: of which the first half is left out.
        acceptance: aimed at.

    Raises:
        UserError: a run too short to show a spread.
    """
    half = max(1, steps // 2)
    simulation.run(half)
    every = max(1, half // FRAMES_OF_PILOT)
    seen = [frame.potential_energy for frame in simulation.iterate(steps - half, every)]
    if len(seen) < 2:
        raise UserError(f"a trial run of {steps} steps shows no spread of energies; take 2000")
    return ladder_from_pilot(simulation.settings.temperatures, np.array(seen).T, acceptance)


def acceptance_table(exchanges: Exchanges) -> Table:
    """Return who traded with whom, as a table for the terminal."""
    table = Table(title="Trades", title_justify="left")
    for column in ("rung", "K", "accepted with the next"):
        table.add_column(column, justify="right")
    shares = [*acceptance(exchanges), np.nan]
    for rung, (temperature, share) in enumerate(zip(exchanges.ladder, shares, strict=True)):
        told = "" if rung + 1 == len(shares) else "not tried" if np.isnan(share) else f"{share:.2f}"
        table.add_row(str(rung), f"{temperature:.4g}", told)
    return table


def _show(receipt: dict, folder: Path, console: Console) -> None:
    exchanges = read_exchanges(folder / RECORD)
    console.print(acceptance_table(exchanges))
    trips = round_trips(exchanges)
    console.print(
        f"{trips.sum()} round trips by {len(trips)} replicas (coldest to hottest and back)",
        highlight=False,
    )
    conclude(receipt, folder, console, command="temper")
    coldest = exchanges.ladder[0]
    console.print(
        f"        flashschnet export {folder} cold.xtc --temperature {coldest:g}", highlight=False
    )
