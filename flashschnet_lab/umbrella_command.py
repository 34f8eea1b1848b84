"""What `flashschnet umbrella` does: make windows, pull, sample, and show the profile."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.analysis.coordinates import Coordinate
from flashschnet_lab.analysis.named_coordinates import coordinate_named, usual_span
from flashschnet_lab.analysis.umbrella_run import (
    UmbrellaRun,
    is_in_windows,
    read_umbrella,
    umbrella_picture,
)
from flashschnet_lab.command import (
    conclude,
    introduce,
    progress,
    system_asked_for,
    tell_table,
)
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.guards import SimulationStopped
from flashschnet_lab.simulation.run import TRAJECTORY, continue_run, new_folder, start_run
from flashschnet_lab.simulation.store import open_trajectory
from flashschnet_lab.simulation.umbrella import pull_into_windows, settle, windows
from flashschnet_lab.system import System
from flashschnet_lab.units import FEMTOSECONDS_PER_PICOSECOND, thermal_energy

PROFILE, PICTURE = "profile.json", "profile.png"
APART = 1.6
"""Distance of neighbouring centres over the standard deviation that heat gives a free spring: two
normal distributions so far apart share 42 %."""
WINDOWS, SOFTEST = 16, 1.0
"""Fewest windows that are taken unasked, and the softest spring along a length, kcal/mol/A^2."""
PULL_PS, PULL_SPEED = 5.0, 4.0
"""Shortest way into the windows, ps, and how fast an end may go there, A/ps (as `pull.SPEED`)."""


def umbrella_command(
    *,
    protein: str,
    pdb: Path | None,
    sequence: str | None,
    model: Path | None,
    mapping: str | None,
    coordinate: str,
    span: tuple[float | None, float | None],
    windows: int | None,
    strength: float | None,
    replicas: int,
    time_ps: float,
    pull_ps: float | None,
    settle_ps: float,
    temperature: float,
    plan: KernelPlan | None,
    device: str | None,
    bins: int,
    save_every: int,
    quantise: float | None,
    out: Path | None,
    settings: dict[str, Any],
) -> None:
    """Sample windows into a new run folder, and write and show the profile.

    Args are the command line's, with `span` the first and the last centre, None where not given.

    Raises:
        UserError: what cannot be simulated, or windows that share nothing (the run is kept).
        SimulationStopped: a replica left physics.
    """
    console = Console()
    if out is not None and out.exists():
        raise UserError(f"{out} exists; name a new folder, or go on in it: --restart {out}")
    system = system_asked_for(protein, pdb, sequence, model, mapping)
    introduce(system, console)
    along = coordinate_named(coordinate, system.protein, system.reference)
    low, high = ends(coordinate, system, span)
    count = usual_count(along, high - low, temperature) if windows is None else windows
    centres = np.linspace(low, high, count)
    k = spring_for(centres, temperature) if strength is None else strength
    simulation = in_windows(
        system, along, centres, k, replicas, temperature,
        plan=plan, device=device, report_every=save_every,
        minimise=pdb is not None or sequence is not None, **settings,
    )  # fmt: skip
    tell_table(simulation, console)
    unit = "" if along.unit == "1" else f" {along.unit}"
    console.print(
        f"  {count} windows of the {along.name}, {centres[0]:.4g} to {centres[-1]:.4g}{unit}, "
        f"springs of {k:.4g} kcal/mol per square of it",
        highlight=False,
    )
    timestep = simulation.settings.timestep_ps
    way = way_ps(simulation) if pull_ps is None else pull_ps
    pulling = _steps(way, timestep, "--pull-ps")
    settling = _steps(settle_ps, timestep, "--settle-ps", least=0)
    sampling = _steps(time_ps, timestep, "--time-ps", 2 * save_every)
    try:
        with progress(console, pulling + settling, "into the windows") as watch:
            pull_into_windows(simulation, pulling, watch)
            settle(simulation, settling, lambda held, done: watch(held, pulling + done))
    except SimulationStopped as stopped:
        raise SimulationStopped(
            f"{stopped}. This was on the way into the windows: pull more slowly, --pull-ps "
            f"{2 * pulling * timestep:.3g}, or with softer springs, --strength {0.5 * k:.3g}"
        ) from stopped
    folder = out or new_folder(f"{system.name}-umbrella")
    with progress(console, sampling, "sampling") as watch:
        receipt = start_run(simulation, folder, sampling, quantise=quantise, watch=watch)
    _conclude(receipt, folder, bins, console)


def go_on_in_windows(
    folder: Path, time_ps: float, *, bins: int, plan: KernelPlan | None, device: str | None
) -> None:
    """Sample on in the windows of a run folder, and make its profile anew.

    Raises:
        UserError: no run folder, or one whose replicas are in no windows.
    """
    if not (folder / TRAJECTORY).is_dir():
        raise UserError(f"{folder} is not a run folder: it has no {TRAJECTORY}")
    trajectory = open_trajectory(folder)
    if not is_in_windows(trajectory):
        raise UserError(
            f"the replicas of {folder} are in no windows; go on with: flashschnet simulate "
            f"--restart {folder}"
        )
    timestep = trajectory.attributes["settings"]["timestep_fs"] / FEMTOSECONDS_PER_PICOSECOND
    console, steps = Console(), _steps(time_ps, timestep, "--time-ps")
    with progress(console, steps, "sampling") as watch:
        receipt = continue_run(folder, steps, plan=plan, device=device, watch=watch)
    _conclude(receipt, folder, bins, console)


def ends(name: str, system: System, span: tuple[float | None, float | None]) -> tuple[float, float]:
    """Return the first and the last centre, rising.

    Args:
        name: of the coordinate.
        system: whose usual span is taken where an end is None.
        span: first and last centre, in any order.

    Raises:
        UserError: ends that are one, or of which nothing is known.
    """
    low, high = span
    if low is None or high is None:
        usual = usual_span(name, system.protein, system.reference)
        low, high = usual[0] if low is None else low, usual[1] if high is None else high
    if not abs(high - low) > 0.0:
        raise UserError(f"windows from {low:g} to {high:g} are all one; let --from and --to differ")
    return min(low, high), max(low, high)


def usual_count(coordinate: Coordinate, span: float, temperature: float) -> int:
    """Return how many windows to take along a span, with springs as `spring_for` has them.

    Along a length, springs softer than `SOFTEST` would not hold a protein on a slope.
    """
    if coordinate.unit != "angstrom":
        return WINDOWS
    farthest = APART * math.sqrt(thermal_energy(temperature) / SOFTEST)
    return max(WINDOWS, 1 + math.ceil(span / farthest))


def spring_for(centres: np.ndarray, temperature: float) -> float:
    """Return the strength at which neighbouring windows overlap well, to three digits.

    A free spring of strength k spreads by sqrt(kT / k); centres shall be `APART` times that apart.

    Args:
        centres: [windows] evenly apart.
        temperature: kelvin.
    """
    spacing = float(centres[1] - centres[0])
    return float(f"{thermal_energy(temperature) * (APART / spacing) ** 2:.3g}")


def in_windows(
    system: System,
    coordinate: Coordinate,
    centres: np.ndarray,
    strength: float,
    copies: int,
    temperature: float,
    **options: Any,
) -> Simulation:
    """Return a simulation that is to be pulled into windows, from the reference if there is one.

    Args:
        system: what moves.
        coordinate: along which.
        centres: [windows].
        strength: of their springs.
        copies: replicas in every window.
        temperature: kelvin.
        **options: of `Simulation`.
    """
    restraint = windows(coordinate, centres, strength, copies)
    return Simulation(
        system,
        restraint.replicas,
        temperature,
        positions=system.reference,
        restraints=[restraint],
        **options,
    )


def way_ps(simulation: Simulation) -> float:
    """Return how long to pull, ps: slowly enough for the longest way, if that is a length."""
    restraint = simulation.restraints[0]
    if restraint.coordinate.unit != "angstrom":
        return PULL_PS
    with torch.no_grad():
        way = restraint.centres - restraint.coordinate(simulation.state.positions)
    return max(PULL_PS, float(way.abs().max()) / PULL_SPEED)


def _steps(time_ps: float, timestep_ps: float, option: str, least: int = 1) -> int:
    steps = round(time_ps / timestep_ps)
    if steps < least:
        raise UserError(
            f"{option} {time_ps:g} is too short: give {least * timestep_ps:.3g} or more"
        )
    return steps


def _conclude(receipt: dict, folder: Path, bins: int, console: Console) -> None:
    """Write the profile of a run folder, show it, and say what is wrong with its windows."""
    found = read_umbrella(folder, bins)
    _write(found, folder)
    console.print(_table(found))
    conclude(receipt, folder, console, command="umbrella")
    profile = folder / PROFILE
    if found.profile is not None:
        console.print(f"profile: [bold]{profile}[/bold] and {PICTURE}", highlight=False)
        error = found.profile.error[np.isfinite(found.profile.error)]
        console.print(f"         largest error {error.max():.2g} kcal/mol", highlight=False)
    if found.astray:
        named = ", ".join(map(str, found.astray))
        console.print(
            f"[bold]windows {named} are far from their centres[/bold]: pull for longer "
            "(--pull-ps), or by stronger springs (--strength), in a new run",
            highlight=False,
        )
    if not found.weak:
        return
    weak = found.gaps or found.weak
    told, remedy = "; ".join(found.tell(window) for window in weak), _remedy(found, folder)
    if found.gaps:
        raise UserError(
            f"{told}, so that there is no profile. {remedy}. {folder / PICTURE} shows them"
        )
    console.print(f"[bold]{told}[/bold], so that errors there are larger than they say. {remedy}.",
                  highlight=False)  # fmt: skip


def _remedy(found: UmbrellaRun, folder: Path) -> str:
    windows = 2 * found.windows.replicas - 1
    strength = float(found.windows.strengths.max())
    times = found.trajectory.times_ps
    return (
        f"Take more windows of the same strength, --windows {windows} --strength {strength:.4g}, "
        f"or let these see more, --restart {folder} --time-ps {3 * (times[-1] - times[0]):.3g}"
    )


def _write(found: UmbrellaRun, folder: Path) -> None:
    lines = [f' "{key}": {json.dumps(value)}' for key, value in found.to_dict().items()]
    try:
        (folder / PROFILE).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        umbrella_picture(found).savefig(folder / PICTURE)
    except OSError as error:
        raise UserError(
            f"cannot write the profile into {folder}: {(error.strerror or str(error)).lower()}; "
            "the run itself is safe"
        ) from error


def _table(found: UmbrellaRun) -> Table:
    table = Table(title="Windows", title_justify="left")
    for column in ("window", found.windows.coordinate.label, "mean", "shared with the next"):
        table.add_column(column, justify="right")
    shares = [f"{100 * share:.0f} %" for share in found.shared] + [""]
    for window, (values, share) in enumerate(zip(found.samples, shares, strict=True)):
        centre = float(found.windows.centres[window])
        table.add_row(str(window), f"{centre:.4g}", f"{values.mean():.4g}", share)
    return table
