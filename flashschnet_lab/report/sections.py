"""The sections of a report, each from what `material.gather` found."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flashschnet_lab.analysis.contact_map import contact_map_picture
from flashschnet_lab.analysis.ensembles import comparison_picture
from flashschnet_lab.analysis.folding import FOLDED, UNKNOWN, contact_states, folding, melting_curve
from flashschnet_lab.analysis.landscape import landscape, landscape_picture
from flashschnet_lab.analysis.secondary import secondary_picture
from flashschnet_lab.errors import UserError
from flashschnet_lab.report.html import Section, note, picture, table, tiles
from flashschnet_lab.report.material import Material
from flashschnet_lab.report.movie import movie_card
from flashschnet_lab.report.numbers import (
    parted,
    weighted_mean,
    weighted_quantiles,
    with_error,
)
from flashschnet_lab.report.tempering_pictures import acceptance_picture, ladder_picture
from flashschnet_lab.simulation.exchange_record import acceptance, round_trips

SURFACE_BINS, LINE_BINS = 30, 40
CEILING = 5.0
"""kcal/mol; higher parts of a surface are left white: a run of usual length knows little there."""
MOST_ROWS = 16
"""Of a table with a line per replica."""


def headline(found: Material) -> str:
    """Return the large numbers at the top."""
    facts: list[tuple[str, str, str]] = []
    for name in ("rmsd", "q", "rg"):
        if name in found.table.values:
            mean, error = weighted_mean(found.table[name], found.weights)
            title = found.table.observables[name].title
            facts.append((title, *parted(mean, error, found.table.unit(name))))
    states = _states(found)
    if states is not None:
        known = np.where(states == UNKNOWN, 0.0, found.weights)
        share, error = weighted_mean((states == FOLDED).astype(float), known)
        facts.append(("folded", *parted(100 * share, 100 * error, "%")))
    frames, replicas = found.table.energies.shape
    copies = "1 replica" if replicas == 1 else f"{replicas} replicas"
    number = f"{frames * replicas:,}".replace(",", " ")
    facts.append(("conformations", number, f"{copies} × {frames} frames"))
    length = float(found.table.times_ps[-1])
    facts.append(("simulated", f"{length:.4g} ps", "each replica"))
    return tiles(facts)


def movie_section(found: Material) -> Section:
    """The molecule."""
    return Section("film", "The molecule", (movie_card(found.movie, found.table),))


def time_section(found: Material) -> Section:
    """Observables over time, and their distributions in numbers."""
    shown = [n for n in ("rmsd", "q", "rg", "end_to_end") if n in found.table.values]
    about = {n: found.table.observables[n] for n in found.table.values}
    rows = []
    for name, observable in about.items():
        mean, error = weighted_mean(found.table[name], found.weights)
        spread = [f"{v:.2f}" for v in weighted_quantiles(found.table[name], found.weights)]
        unit = observable.unit
        rows.append((observable.title, with_error(mean, error, unit), *spread, observable.meaning))
    names = ", ".join(about[n].title for n in shown)
    stride = found.table.drawn_every
    caption = f"One of every {stride} frames is drawn; the table counts all." if stride > 1 else ""
    return Section(
        "time",
        "Over time",
        (
            picture(
                found.table.picture(shown),
                f"{names} of {found.run.protein.name} over time, a line for each replica",
                caption,
                wide=True,
            ),
            table(
                ("observable", "mean", "5 %", "median", "95 %", "what it is"),
                rows,
                f"Observables{_at(found)}",
                wide=True,
            ),
        ),
        "Means are given with their standard error over replicas: frames of one replica are "
        "correlated, replicas are not.",
    )


def landscape_section(found: Material) -> Section | None:
    """Free-energy surfaces."""
    if not math.isfinite(found.temperature):
        return None
    two = ("rmsd", "q") if "q" in found.table.values else ("rg", "end_to_end")
    labels = [found.table.observables[name].label for name in two]
    cards = []
    common: dict[str, Any] = {"temperature": found.temperature, "weights": found.weights}
    surface = landscape(found.table[two[0]], found.table[two[1]], bins=SURFACE_BINS, **common)
    figure = landscape_picture(surface, labels, ceiling=CEILING)
    cards.append(
        picture(
            figure,
            f"Free energy over {labels[0]} and {labels[1]}, and its bootstrap error",
            f"Left: −kT ln p, 0 at the lowest place ({labels[0]} {surface.minimum[0]:.2f}, "
            f"{labels[1]} {surface.minimum[1]:.2f}); above {CEILING:g} kcal/mol left blank. "
            "Right: half the central 68 % over resampled replicas.",
            wide=True,
        )
    )
    for name, label in zip(two, labels, strict=True):
        line = landscape(found.table[name], bins=LINE_BINS, **common)
        alt = f"Free energy over {label} with its error"
        cards.append(picture(landscape_picture(line, [label]), alt))
    lead = f"At {found.temperature:g} K."
    if (found.weights > 0.0)[~found.table.at(found.temperature)].any():
        lead += " Frames of all temperatures count, weighted to this one (MBAR)."
    return Section("energy", "Free energy", tuple(cards), lead)


def folding_section(found: Material) -> Section | None:
    """Who is folded, and how often that changes."""
    states = _states(found)
    if states is None:
        return None
    times = found.table.times_ps
    lead = (
        "A replica is folded from the moment that Q rises above 0.8 until it falls below 0.2, and "
        "unfolded from there on; in between it keeps its state."
    )
    cards: list[str] = []
    rows: list[tuple[str, ...]] = []
    ladder, exchanges = found.table.ladder, found.run.exchanges
    if exchanges is not None:
        sorted_states = exchanges.demultiplex(states, found.table.steps)
        with np.errstate(invalid="ignore"):
            try:
                shares, errors = melting_curve(sorted_states)
            except UserError as error:
                return Section("folding", "Folding", (note(f"{error}."),), lead)
        rows = [
            (f"{t:.4g} K", with_error(100 * s, 100 * e, "%"))
            for t, s, e in zip(exchanges.ladder, shares, errors, strict=True)
        ]
        cards.append(table(("temperature", "folded"), rows, "Melting, rung by rung"))
    else:
        for temperature in ladder if len(ladder) else [math.nan]:
            mine = found.table.at(temperature)[0] if len(ladder) else np.ones(states.shape[1], bool)
            try:
                f = folding(states[:, mine], times, temperature if len(ladder) else 300.0)
            except UserError as error:
                cards.append(note(f"At {temperature:g} K {error}."))
                continue
            rows.append(
                (
                    f"{temperature:.4g} K" if len(ladder) else "unknown",
                    with_error(100 * f.share, 100 * f.share_error, "%"),
                    with_error(f.free_energy, f.free_energy_error, "kcal/mol")
                    if len(ladder)
                    else "–",
                    str(f.foldings),
                    str(f.unfoldings),
                )
            )
        if rows:
            columns = ("temperature", "folded", "free energy of folding", "foldings", "unfoldings")
            cards.append(table(columns, rows, "Folding"))
    cards.append(_replica_table(states, times))
    return Section("folding", "Folding", tuple(cards), lead)


def structure_section(found: Material) -> Section:
    """Contacts and secondary structure."""
    kept = _at(found, " at {:g} K")
    overlay = "" if found.contacts.native is None else "; orange dots are native contacts"
    return Section(
        "structure",
        "Structure",
        (
            picture(
                contact_map_picture(found.contacts),
                "Contact map: how often each pair of residues touches",
                f"{found.contacts.conformations} conformations{kept}{overlay}.",
            ),
            picture(
                secondary_picture(found.secondary, found.run.protein),
                "Share of conformations in which each residue is part of a helix or a strand",
                ("DSSP" if found.run.protein.mapping == "five_bead" else "P-SEA, from Cα distances")
                + f"; conformations{kept}.",
            ),
        ),
    )


def slow_section(found: Material) -> Section | None:
    """The slowest modes."""
    slow = found.slow
    if slow is None:
        return None
    cards = []
    if slow.projections.shape[2] > 1 and math.isfinite(found.temperature):
        surface = landscape(
            slow.projections[..., 0],
            slow.projections[..., 1],
            temperature=found.temperature,
            weights=found.weights,
            bins=SURFACE_BINS,
        )
        figure = landscape_picture(surface, ("slowest mode", "second slowest mode"),
                                   ceiling=CEILING)  # fmt: skip
        alt = "Free energy over the two slowest modes, and its bootstrap error"
        cards.append(picture(figure, alt, wide=True))
    rows = [
        (f"mode {k + 1}", f"{t:.3g} ps" + (" (shorter than the lag)" if t < slow.lag_ps else ""))
        for k, t in enumerate(slow.timescales_ps)
    ]
    cards.append(table(("", "forgets itself in"), rows, "Time scales"))
    lead = (
        f"Time-lagged independent components of {len(slow.pairs)} Cα distances, lag time "
        f"{slow.lag_ps:.3g} ps. Times much longer than a tenth of the run are guesses."
    )
    if found.run.exchanges is not None:
        lead += " Replicas changed their temperature on the way: the times belong to none."
    return Section("slow", "Slow modes", tuple(cards), lead)


def tempering_section(found: Material) -> Section | None:
    """What parallel tempering did."""
    exchanges = found.run.exchanges
    if exchanges is None:
        return None
    shares, trips = acceptance(exchanges), round_trips(exchanges)
    lead = (
        f"{exchanges.ladders} ladder{'s' if exchanges.ladders > 1 else ''} of "
        f"{len(exchanges.ladder)} temperatures, {exchanges.attempts} attempts, one every "
        f"{exchanges.every} steps; {trips.sum()} round trips from the coldest to the hottest and "
        "back."
    )
    return Section(
        "tempering",
        "Tempering",
        (
            picture(
                acceptance_picture(exchanges.ladder, shares),
                "Share of accepted exchanges between neighbouring temperatures",
            ),
            picture(
                ladder_picture(found.table),
                "Temperature of every replica over time",
                "Replicas that stay in one colour do not carry anything from the heat to the cold.",
            ),
        ),
        lead,
    )


def comparison_section(found: Material) -> Section | None:
    """How far a second run is."""
    if found.other is None:
        return None
    own = found.run.trajectory.path.parent.name
    rows = []
    for d in found.distances:
        chance = ["–" if math.isnan(w) else f"{w:.2f}" for w in d.within]
        rows.append((found.table.observables[d.name].title, f"{d.distance:.2f}", *chance))
    columns = ("observable", "distance", f"within {own}", f"within {found.other_name}")
    return Section(
        "comparison",
        f"Compared with {found.other_name}",
        (
            picture(
                comparison_picture(found.table, found.other, found.distances,
                                   (own, found.other_name), found.compared_at),
                "Distributions of the observables of both runs",
                wide=True,
            ),
            table(columns, rows, "Jensen-Shannon distance", wide=True),
        ),
        "0 is alike, 1 is apart. Beside it stands the distance between the two halves of the "
        "replicas of one run, which is what chance alone makes.",
    )  # fmt: skip


def facts_section(found: Material) -> Section:
    """Where all this comes from."""
    from flashschnet_lab.simulation.receipt import receipt_rows

    run, trajectory = found.run, found.run.trajectory
    frames = f"{len(found.table.steps)} of {trajectory.frames}"
    frames += f", every {found.every}" if found.every > 1 else ""
    frames += f", without the first {found.skip_ps:g} ps" if found.skip_ps else ""
    rows = [
        ("trajectory", str(trajectory.path)),
        ("molecule", f"{run.protein.name}, {len(run.protein.residues)} residues, "
                     f"{run.protein.beads} beads ({run.protein.mapping})"),
        ("native structure", run.native_name or "none"),
        ("frames read", frames),
        ("model", str(trajectory.attributes.get("model", "not noted"))),
    ]  # fmt: skip
    cards = [table(("", ""), rows, "What was analysed", wide=not run.receipt)]
    if run.receipt:
        cards.append(table(("", ""), list(receipt_rows(run.receipt).items()), "Receipt of the run"))
    cards.extend(note(remark) for remark in found.remarks)
    return Section("facts", "Facts", tuple(cards))


def _states(found: Material) -> np.ndarray | None:
    """Return who is folded, [frames, replicas]; None without native contacts."""
    return contact_states(found.table["q"]) if "q" in found.table.values else None


def _at(found: Material, text: str = " at {:g} K") -> str:
    return text.format(found.temperature) if math.isfinite(found.temperature) else ""


def _replica_table(states: np.ndarray, times: np.ndarray) -> str:
    """Return a table with the first folding and the end of every replica."""
    from flashschnet_lab.analysis.folding import first_times, transitions

    first = first_times(states, times)
    up, down = transitions(states)
    names = {FOLDED: "folded", 0: "unfolded", -1: "neither yet"}
    rows = [
        (
            str(replica),
            "never" if math.isnan(first[replica]) else f"{first[replica]:.4g} ps",
            str(up[replica]),
            str(down[replica]),
            names[int(states[-1, replica])],
        )
        for replica in range(min(states.shape[1], MOST_ROWS))
    ]
    caption = "Each replica"
    if states.shape[1] > MOST_ROWS:
        caption = f"The first {MOST_ROWS} of {states.shape[1]} replicas"
    return table(("replica", "first folded", "foldings", "unfoldings", "at the end"), rows, caption)
