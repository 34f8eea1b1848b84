"""Bond lengths, angles and dihedrals of conformations, beside what the priors ask of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from flashschnet_lab.analysis.pictures import CHAIN_COLORS, INK
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.prior_table import FOURIER_ORDERS
from flashschnet_lab.potentials.priors import BONDED
from flashschnet_lab.system import System
from flashschnet_lab.units import thermal_energy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNITS = {"bonds": "Å", "angles": "degrees", "dihedrals": "degrees"}
BINS = 40
CURVE_POINTS = 400


def internal_coordinates(positions: Any, index: Any) -> np.ndarray:
    """Return the value of each term in each frame.

    Args:
        positions: [frames, beads, 3], angstrom.
        index: [terms, 2] for bond lengths, [terms, 3] for angles with the apex in the middle,
            [terms, 4] for dihedrals.

    Returns:
        [frames, terms] in angstrom, or in degrees; dihedrals in (-180, 180], trans is 180 (IUPAC).
    """
    x = np.asarray(positions, dtype=np.float64)[:, np.asarray(index)]  # [frames, terms, k, 3]
    steps = np.diff(x, axis=2)  # from bead to bead
    lengths = np.linalg.norm(steps, axis=3)
    if steps.shape[2] == 1:
        return lengths[:, :, 0]
    if steps.shape[2] == 2:
        cosine = -np.sum(steps[:, :, 0] * steps[:, :, 1], axis=2) / lengths.prod(2)
        return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    b1, b2, b3 = np.moveaxis(steps, 2, 0)
    normal_1, normal_2 = np.cross(b1, b2), np.cross(b2, b3)
    sine = lengths[:, :, 1] * np.sum(b1 * normal_2, axis=2)
    return np.degrees(np.arctan2(sine, np.sum(normal_1 * normal_2, axis=2)))


def prior_energy(system: System, family: str, term: int, at: Any) -> np.ndarray:
    """Return the energy of one prior term at some values of its coordinate, kcal/mol.

    Args:
        system: its model has priors.
        family: "bonds", "angles" or "dihedrals".
        term: row of the topology's table.
        at: [values] in angstrom or degrees.

    Raises:
        UserError: no such family, or no priors.
    """
    if family not in BONDED:
        raise UserError(f"there is no family {family!r} of bonded terms; use {', '.join(BONDED)}")
    if system.model.prior is None:
        raise UserError(f"model {system.model.name} has no priors")
    topology = system.protein.topology
    index, names = getattr(topology, family), getattr(topology, f"{family[:-1]}_terms")
    rows = system.model.prior.rows(family, system.protein, index, names)
    numbers, values = rows[term], np.asarray(at, dtype=np.float64)
    if family == "bonds":
        return numbers[0] * (values - numbers[1]) ** 2
    if family == "angles":
        return numbers[0] * (np.cos(np.radians(values)) - numbers[1]) ** 2
    n_phi = np.radians(values)[:, None] * np.arange(1, FOURIER_ORDERS + 1)
    sines, cosines = numbers[1 : 1 + FOURIER_ORDERS], numbers[1 + FOURIER_ORDERS :]
    return numbers[0] + np.sin(n_phi) @ sines + np.cos(n_phi) @ cosines


def boltzmann_density(
    system: System, family: str, term: int, at: np.ndarray, temperature: float
) -> np.ndarray:
    """Return how often a term alone would have each value, integral 1 over evenly spaced `at`.

    exp(-E / kT) times the room that there is: r^2 for a bond, sin(theta) for an angle.
    """
    energy = prior_energy(system, family, term, at)
    room = {"bonds": at**2, "angles": np.sin(np.radians(at)), "dihedrals": np.ones_like(at)}[family]
    weight = room * np.exp(-(energy - energy.min()) / thermal_energy(temperature))
    density: np.ndarray = weight / (weight.sum() * (at[1] - at[0]))
    return density


def draw_local_geometry(
    system: System, positions: Any, terms: dict[str, tuple[str, int]], temperature: float
) -> Figure:
    """Draw what a run did to some terms, beside what each term's prior alone would do.

    Args:
        system: protein and model.
        positions: [frames, beads, 3] of a run, angstrom.
        terms: for each panel its title, with family and row of the topology's table.
        temperature: of the run, kelvin.

    Returns:
        A matplotlib Figure with a panel per term.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.3 * len(terms), 2.9), dpi=110, layout="constrained")
    grid: Any = figure.subplots(1, len(terms), squeeze=False)[0]
    for axes, (title, (family, term)) in zip(grid, terms.items(), strict=True):
        index = getattr(system.protein.topology, family)[term : term + 1]
        found = internal_coordinates(positions, index)[:, 0]
        low, high = found.min(), found.max()
        if family == "dihedrals":
            low, high = -180.0, 180.0
        at = np.linspace(low - 0.1 * (high - low), high + 0.1 * (high - low), CURVE_POINTS)
        if family == "dihedrals":
            at = np.linspace(low, high, CURVE_POINTS)
        axes.hist(found, bins=BINS, range=(low, high), density=True, color="#c9d8f0", label="run")
        density = boltzmann_density(system, family, term, at, temperature)
        axes.plot(at, density, color=CHAIN_COLORS[4], label="its prior alone")
        axes.set_title(title, color=INK, fontsize=10)
        axes.set_xlabel(UNITS[family], color=INK)
        axes.set_yticks([])
        axes.tick_params(colors=INK, labelsize=9)
        axes.spines[["top", "right", "left"]].set_visible(False)
    grid[0].legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left")
    return figure
