"""Numbers that a run is described by, for every frame of every replica.

    from flashschnet_lab.analysis.observables import observe
    table = observe("runs/chignolin-001", ["rmsd", "q", "rg"])
    table["rmsd"]          # [frames, replicas], angstrom
    table.picture()

A trajectory is read in blocks; only the numbers stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flashschnet_lab.analysis.blocks import Watch, blocks, choose_frames, count_frames
from flashschnet_lab.analysis.global_distance import gdt_ts
from flashschnet_lab.analysis.pictures import INK, plot_series
from flashschnet_lab.analysis.reweighting import tempering_weights
from flashschnet_lab.analysis.run_folder import Run, open_run
from flashschnet_lab.analysis.secondary import HELIX, STRAND, assign
from flashschnet_lab.analysis.structure import (
    c_alpha_indices,
    end_to_end,
    native_contacts,
    native_pairs,
    radius_of_gyration,
    rmsd,
)
from flashschnet_lab.analysis.unrestrained import Held, held_of
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.exchange_record import Exchanges

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flashschnet_lab.proteins.protein import Protein
    from flashschnet_lab.simulation.store import Trajectory

MOST_DRAWN = 2000
"""Frames of one line in a picture: more would lie on one another."""


@dataclass(frozen=True)
class Target:
    """What conformations are measured against, made once for a run.

    Attributes:
        protein: the molecule.
        native: [beads, 3], angstrom; None without a native structure.
        alphas: [residues] C-alpha beads.
        pairs: [pairs, 2] native contacts; empty without a native structure.
    """

    protein: Protein
    native: np.ndarray | None
    alphas: np.ndarray
    pairs: np.ndarray


@dataclass(frozen=True)
class Observable:
    """A number of a conformation.

    Attributes:
        name: what it is called in code.
        title: what it is called in pictures.
        unit: "Å", or nothing for a share.
        measure: takes positions [conformations, beads, 3] in angstrom and a `Target`, returns
            [conformations].
        needs_native: whether it compares with the native structure.
        meaning: one sentence.
    """

    name: str
    title: str
    unit: str
    measure: Callable[[np.ndarray, Target], np.ndarray]
    needs_native: bool = False
    meaning: str = ""

    @property
    def label(self) -> str:
        """Title and unit, for an axis."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


OBSERVABLES = {
    observable.name: observable
    for observable in (
        Observable(
            "rmsd", "Cα RMSD", "Å", lambda x, t: rmsd(x, t.native, t.alphas), True,
            "root mean square distance of the Cα beads from the native ones, after superposition",
        ),
        Observable(
            "q", "native contacts Q", "", lambda x, t: native_contacts(x, t.native, t.pairs), True,
            "mean over native Cα pairs (within 8 Å, more than 3 residues apart) of "
            "1 / (1 + exp[β (r − λ r₀)]), β = 5 / Å, λ = 1.2 (Best, Hummer and Eaton 2013)",
        ),
        Observable(
            "gdt_ts", "GDT-TS", "", lambda x, t: gdt_ts(x, t.native, t.alphas), True,
            "mean of the largest shares of Cα beads that can be laid within 1, 2, 4 and 8 Å of "
            "the native ones",
        ),
        Observable(
            "rg", "radius of gyration", "Å", lambda x, t: radius_of_gyration(x), False,
            "root mean square distance of all beads from their centre",
        ),
        Observable(
            "end_to_end", "end-to-end distance", "Å", lambda x, t: end_to_end(x, t.protein), False,
            "between the Cα beads of the first and the last residue",
        ),
        Observable(
            "helix", "share in helices", "",
            lambda x, t: (assign(t.protein, x) == HELIX).mean(-1), False,
            "share of residues that DSSP (for Cα models P-SEA) gives to helices",
        ),
        Observable(
            "strand", "share in strands", "",
            lambda x, t: (assign(t.protein, x) == STRAND).mean(-1), False,
            "share of residues that DSSP (for Cα models P-SEA) gives to strands",
        ),
    )
}  # fmt: skip
"""What can be asked for by name."""


@dataclass(frozen=True)
class Observations:
    """Observables of the chosen frames of a run.

    Attributes:
        name: of the molecule.
        observables: by name, in the order they were asked for.
        values: by name, [frames, columns]; not a number where a conformation is none.
        steps: [frames] int64.
        times_ps: [frames] picoseconds.
        temperatures: [frames, columns] of the thermostat, kelvin; not a number where unknown.
        energies: [frames, columns] potential energy, kcal/mol.
        exchanges: the record of parallel tempering, or None.
        columns: what each column is, "replica 0" or "300 K".
        held: the restraints of the columns and what they held, or None without any.
    """

    name: str
    observables: Mapping[str, Observable]
    values: Mapping[str, np.ndarray]
    steps: np.ndarray
    times_ps: np.ndarray
    temperatures: np.ndarray
    energies: np.ndarray
    exchanges: Exchanges | None
    columns: tuple[str, ...]
    held: Held | None = None

    def __getitem__(self, name: str) -> np.ndarray:
        """Return the values of an observable, [frames, columns].

        Raises:
            UserError: it was not asked for.
        """
        if name not in self.values:
            raise UserError(f"{name!r} was not observed; there is {', '.join(self.values)}")
        return self.values[name]

    def unit(self, name: str) -> str:
        """Return the unit of an observable, empty for a share."""
        return self.observables[name].unit

    @property
    def drawn_every(self) -> int:
        """The stride of the frames that `picture` draws."""
        return -(-len(self.steps) // MOST_DRAWN)

    @property
    def ladder(self) -> np.ndarray:
        """The temperatures that occur, rising, kelvin."""
        known = self.temperatures[np.isfinite(self.temperatures)]
        return np.unique(known)

    def at(self, temperature: float) -> np.ndarray:
        """Return which conformations were made at a temperature, [frames, columns] bool."""
        return np.isclose(self.temperatures, temperature)

    def weights(self, temperature: float) -> np.ndarray:
        """Return what each conformation counts at a temperature, [frames, columns].

        With one temperature all count alike, or what they count without their restraints; with
        several, those of the others help (MBAR).

        Raises:
            UserError: temperatures that are unknown, or overlap too little; windows of restraints
                likewise.
        """
        if len(self.ladder) == 0:
            raise UserError("the trajectory does not say at which temperature it was made")
        there = np.isfinite(self.energies) & np.isfinite(self.temperatures)
        if self.held is not None and len(self.ladder) > 1:
            raise UserError("replicas have restraints and several temperatures at once")
        if self.held is not None:
            return self.held.weights(float(self.ladder[0]))
        if len(self.ladder) == 1:
            return there / there.sum()
        found = np.zeros(self.energies.shape)
        found[there] = tempering_weights(
            self.energies[there], self.temperatures[there], temperature
        )
        return found

    def by_temperature(self) -> Observations:
        """Return the same with a column per temperature instead of one per replica.

        Of a tempering run, frames are sorted by the rung that their replica was on: a column is
        then no continuous course of one molecule. Otherwise whole replicas are sorted.
        """
        if self.exchanges is None:
            order = np.argsort(self.temperatures[0], kind="stable")
            columns = tuple(f"{self.temperatures[0, c]:g} K" for c in order)
            held = None if self.held is None else self.held.replicas(order.tolist())
            return replace(self._with_columns(lambda values: values[:, order], columns), held=held)
        exchanges = self.exchanges

        def sort(values: np.ndarray) -> np.ndarray:
            return exchanges.demultiplex(values, self.steps).reshape(values.shape)

        names = [f"{t:g} K" for t in exchanges.ladder for _ in range(exchanges.ladders)]
        return self._with_columns(sort, tuple(names))

    def picture(self, names: Sequence[str] | None = None, title: str = "") -> Figure:
        """Draw observables over time, one panel each; of a long run at most `MOST_DRAWN` frames.

        Args:
            names: which; default all.
            title: heading.
        """
        from matplotlib.figure import Figure

        chosen = list(self.values) if names is None else list(names)
        figure = Figure(figsize=(9.5, 0.6 + 1.6 * len(chosen)), dpi=110, layout="constrained")
        panels: Any = figure.subplots(len(chosen), 1, sharex=True, squeeze=False)[:, 0]
        shown = slice(None, None, self.drawn_every)
        for axes, name in zip(panels, chosen, strict=True):
            label = _broken(self.observables[name].label)
            plot_series(axes, self.times_ps[shown], self[name][shown], label, self.columns)
        panels[-1].set_xlabel("time (ps)", color=INK)
        panels[0].legend(
            loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=6, frameon=False, fontsize=8,
            labelcolor=INK, handlelength=1.2, columnspacing=1.2,
        )  # fmt: skip
        if title:
            figure.suptitle(title, color=INK, fontsize=12)
        return figure

    def _with_columns(
        self, sort: Callable[[np.ndarray], np.ndarray], columns: tuple[str, ...]
    ) -> Observations:
        return replace(
            self,
            values={name: sort(values) for name, values in self.values.items()},
            temperatures=sort(self.temperatures),
            energies=sort(self.energies),
            columns=columns,
        )


def observe(
    source: str | Path | Trajectory | Run,
    names: Sequence[str | Observable] = ("rmsd", "q", "rg"),
    *,
    native: Any = None,
    skip_ps: float = 0.0,
    every: int = 1,
    watch: Watch | None = None,
) -> Observations:
    """Return observables of a run, read in blocks.

    Args:
        source: a run folder, a trajectory store, or an open one.
        names: of `OBSERVABLES`, or an `Observable` of your own.
        native: [beads, 3] in angstrom or a structure file; default the run's own reference.
        skip_ps: time at the start to leave out, picoseconds.
        every: take every so many frames.
        watch: called with the conformations done and their number; `progress.bar` makes one.

    Raises:
        UserError: an unknown name, no native structure where one is needed, nothing to read.
    """
    run = open_run(source, native)
    chosen = [_named(name) for name in names]
    target = _target(run, chosen)
    trajectory = run.trajectory
    frames = choose_frames(trajectory, skip_ps, every)
    shape = (count_frames(trajectory, frames), trajectory.replicas)
    values = {observable.name: np.full(shape, np.nan) for observable in chosen}
    for block in blocks(trajectory, frames, watch):
        finite = block.finite
        conformations = block.positions[finite].astype(np.float64)  # [conformations, beads, 3]
        for observable in chosen:
            values[observable.name][block.place][finite] = observable.measure(conformations, target)
    steps = trajectory.steps[frames]
    return Observations(
        name=trajectory.protein.name,
        observables={observable.name: observable for observable in chosen},
        values=values,
        steps=steps,
        times_ps=trajectory.times_ps[frames],
        temperatures=run.temperatures(steps),
        energies=trajectory.potential_energy[frames],
        exchanges=run.exchanges,
        columns=tuple(f"replica {number}" for number in range(trajectory.replicas)),
        held=held_of(trajectory, frames),
    )


def _named(name: str | Observable) -> Observable:
    if isinstance(name, Observable):
        return name
    if name not in OBSERVABLES:
        raise UserError(f"there is no observable {name!r}; there is {', '.join(OBSERVABLES)}")
    return OBSERVABLES[name]


def _target(run: Run, chosen: Sequence[Observable]) -> Target:
    needy = [observable.name for observable in chosen if observable.needs_native]
    if run.native is None:
        if needy:
            raise UserError(
                f"{run.trajectory.path} has no native structure, which {', '.join(needy)} "
                "compares with; name one: --native FILE, or native=... in Python"
            )
        pairs = np.empty((0, 2), dtype=np.int64)
    else:
        pairs = native_pairs(run.protein, run.native)
    if any(observable.name == "q" for observable in chosen) and len(pairs) == 0:
        raise UserError(
            f"the native structure ({run.native_name}) has no contacts, so there is no Q; name a "
            "folded one, or leave q out"
        )
    return Target(run.protein, run.native, c_alpha_indices(run.protein), pairs)


def _broken(label: str) -> str:
    """Return a label in two lines if it is long."""
    return label if len(label) < 16 else label.replace(" ", "\n", 1)
