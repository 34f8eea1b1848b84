"""Everything that a report says, computed from a run; nothing here knows HTML."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np

from flashschnet_lab.analysis.blocks import Watch, choose_frames
from flashschnet_lab.analysis.contact_map import ContactMap, contact_map
from flashschnet_lab.analysis.ensembles import Distance, compare
from flashschnet_lab.analysis.kinetics import FEWEST_LAGS, SlowModes, slow_modes
from flashschnet_lab.analysis.observables import OBSERVABLES, Observations, observe
from flashschnet_lab.analysis.run_folder import Run
from flashschnet_lab.analysis.secondary import SecondaryStructure, secondary_structure
from flashschnet_lab.analysis.structure import native_pairs
from flashschnet_lab.errors import UserError
from flashschnet_lab.report.movie import Movie, make_movie

ALONE = ("rg", "end_to_end")
"""Observables that need no native structure."""
WITH_NATIVE = ("rmsd", "q", "gdt_ts")
LAGS_IN_A_RUN = 50
"""The lag time of TICA is this part of the run."""

Bars = Callable[[str], AbstractContextManager[Watch | None]]
"""Gives a progress bar for a piece of work, by its name."""


@dataclass(frozen=True)
class Material:
    """What a report is made of.

    Attributes:
        run: what was analysed.
        table: observables of the chosen frames.
        temperature: at which means and surfaces are, kelvin; not a number where unknown.
        weights: [frames, replicas] what each conformation counts there.
        secondary: helices and strands.
        contacts: mean contact map at that temperature.
        slow: slowest modes, or None.
        movie: the film.
        other: observables of a second run, or None.
        distances: from that run.
        compared_at: temperature to which both are weighted, kelvin; None where all frames count.
        other_name: of that run.
        remarks: what could not be done and why, one sentence each.
        skip_ps: time left out at the start.
        every: stride of the frames.
    """

    run: Run
    table: Observations
    temperature: float
    weights: np.ndarray
    secondary: SecondaryStructure
    contacts: ContactMap
    slow: SlowModes | None
    movie: Movie
    other: Observations | None
    distances: tuple[Distance, ...]
    compared_at: float | None
    other_name: str
    remarks: tuple[str, ...]
    skip_ps: float
    every: int


def _no_bar(_: str) -> AbstractContextManager[Watch | None]:
    return nullcontext(None)


def gather(
    run: Run,
    *,
    other: Run | None = None,
    skip_ps: float = 0.0,
    every: int = 1,
    bars: Bars = _no_bar,
) -> Material:
    """Compute all that a report says; the trajectory is read in blocks, some times over.

    Args:
        run: to analyse.
        other: a second run of the same molecule to compare with, or None.
        skip_ps: time at the start to leave out, picoseconds.
        every: take every so many frames.
        bars: gives a progress bar for each piece of work.

    Raises:
        UserError: as `observe`, or a second run of another molecule.
    """
    trajectory, remarks = run.trajectory, list[str]()
    names: tuple[str, ...] = ALONE if run.native is None else (*WITH_NATIVE, *ALONE)
    if run.native is None:
        remarks.append(
            "There is no native structure to compare with, so RMSD, native contacts, GDT-TS and "
            "folding are left out; name one with --native FILE."
        )
    elif len(native_pairs(run.protein, run.native)) == 0:
        names = ("rmsd", "gdt_ts", *ALONE)
        remarks.append(
            f"The native structure ({run.native_name}) has no contacts, so native contacts and "
            "folding are left out; name a folded one with --native FILE."
        )
    if other is not None:
        _check_same(run, other)
    with bars("observables") as watch:
        table = observe(run, names, skip_ps=skip_ps, every=every, watch=watch)
    temperature, weights = _weights(table, remarks)
    counted = weights > 0.0
    if len(table.ladder) > 1:  # weights are no choice of frames: count those made there
        counted = table.at(temperature)
    frames = choose_frames(trajectory, skip_ps, every)
    with bars("helices, strands") as watch:
        secondary = secondary_structure(
            trajectory, frames, native=run.native, counted=counted, watch=watch
        )
    with bars("contacts") as watch:
        contacts = contact_map(trajectory, frames, native=run.native, counted=counted, watch=watch)
    with bars("slow modes") as watch:
        slow = _slow(run, table, skip_ps, every, remarks, watch)
    with bars("film") as watch:
        movie = make_movie(run, frames, len(table.steps), watch)
    compared, compared_at, distances = None, None, list[Distance]()
    if other is not None:
        with bars("the other run") as watch:
            compared = observe(
                other, names, native=run.native, skip_ps=skip_ps, every=every, watch=watch
            )
        held = table.held is not None or compared.held is not None
        if held or max(len(table.ladder), len(compared.ladder)) > 1:
            compared_at = temperature
        distances = compare(table, compared, compared_at)
    return Material(
        run=run,
        table=_with_secondary(table, secondary),
        temperature=temperature,
        weights=weights,
        secondary=secondary,
        contacts=contacts,
        slow=slow,
        movie=movie,
        other=compared,
        distances=tuple(distances),
        compared_at=compared_at,
        other_name="" if other is None else _name(other),
        remarks=tuple(remarks),
        skip_ps=skip_ps,
        every=every,
    )


def _name(run: Run) -> str:
    """Return the folder of a run."""
    return run.trajectory.path.parent.name or str(run.trajectory.path)


def _check_same(run: Run, other: Run) -> None:
    if run.protein.sequence != other.protein.sequence or run.protein.mapping != (
        other.protein.mapping
    ):
        raise UserError(
            f"{other.trajectory.path} cannot be compared with {run.trajectory.path}: it is "
            f"{other.protein.name} ({other.protein.mapping}), not {run.protein.name} "
            f"({run.protein.mapping})"
        )


def _weights(table: Observations, remarks: list[str]) -> tuple[float, np.ndarray]:
    """Return the temperature of the report and what each conformation counts there."""
    everything = np.isfinite(table.energies).astype(np.float64)
    if len(table.ladder) == 0:
        remarks.append(
            "The trajectory does not say at which temperature it was made, so there are no free "
            "energies."
        )
        return float("nan"), everything
    temperature = float(table.ladder[0])
    try:
        weights = table.weights(temperature)
    except UserError as error:
        remarks.append(
            f"Frames of other temperatures or under restraints could not be weighted ({error}); "
            f"means and surfaces count those made at {temperature:g} K, as they are."
        )
        return temperature, everything * table.at(temperature)
    if table.held is not None:
        held = " and ".join(r.coordinate.name for r in table.held.restraints)
        remarks.append(
            f"The replicas were held by restraints ({held}). Means and free energies count what "
            "they would without; contacts, helices, folding and slow modes are of the held ones."
        )
    return temperature, weights


def _slow(
    run: Run,
    table: Observations,
    skip_ps: float,
    every: int,
    remarks: list[str],
    watch: Watch | None,
) -> SlowModes | None:
    """Return the slowest modes, or None with a remark."""
    frames = len(table.steps)
    if frames < 2 * FEWEST_LAGS:
        remarks.append(f"{frames} frames are too few for TICA.")
        return None
    apart = float(table.times_ps[1] - table.times_ps[0])
    lag = max(1, frames // LAGS_IN_A_RUN) * apart
    try:
        return slow_modes(run, lag, skip_ps=skip_ps, every=every, watch=watch)
    except UserError as error:
        remarks.append(f"TICA is left out: {error}.")
        return None


def _with_secondary(table: Observations, secondary: SecondaryStructure) -> Observations:
    """Return the observables with the shares of helices and strands, which are there already."""
    names = ("helix", "strand")
    return replace(
        table,
        observables={**table.observables, **{name: OBSERVABLES[name] for name in names}},
        values={
            **table.values,
            **{name: secondary.shares[..., k] for k, name in enumerate(names)},
        },
    )
