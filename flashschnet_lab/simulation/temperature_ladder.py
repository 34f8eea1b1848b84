"""Ladders of temperatures: where to put the rungs, so that neighbours trade often enough.

Neighbours trade when the energies that they see overlap. With sigma(T) the spread of the potential
energy at T, the distance between two temperatures that counts is the thermodynamic length

    L = integral of sigma(T) / (k T^2) dT

and two rungs a length L apart trade with the chance 2 Phi(-L / sqrt(2)), Phi the normal
distribution (exact for normal energies whose spread changes little from rung to rung). Rungs that
are equally far apart in this length are equally busy. Source: D. A. Kofke, Journal of Chemical
Physics 117, 6911 (2002); Rathore, Chopra and de Pablo, Journal of Chemical Physics 122, 024111
(2005).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.units import BOLTZMANN

POINTS = 512
"""Of the integral; the spread is smooth."""


def geometric_ladder(lowest: float, highest: float, rungs: int) -> tuple[float, ...]:
    """Return temperatures with a constant ratio: equally busy where the heat capacity is constant.

    Args:
        lowest: kelvin.
        highest: kelvin.
        rungs: at least 2.

    Raises:
        UserError: a range or a number that is none.
    """
    if rungs < 2:
        raise UserError(f"a ladder of {rungs} rungs has nobody to trade with; take at least 2")
    _check_range(lowest, highest)
    ladder = np.geomspace(lowest, highest, rungs)
    ladder[[0, -1]] = lowest, highest
    return check_ladder(ladder)


def ladder_for_degrees(
    lowest: float, highest: float, degrees: int, acceptance: float = 0.3
) -> tuple[float, ...]:
    """Return the shortest geometric ladder that reaches an acceptance for a harmonic molecule.

    A first guess, before anything was simulated. Each degree of freedom adds k/2 to the heat
    capacity, so that sigma(T) = kT sqrt(degrees / 2).

    Args:
        lowest: kelvin.
        highest: kelvin.
        degrees: of freedom that hold potential energy; 3 beads - 6 for a stiff molecule.
        acceptance: the least share of accepted trades between neighbours.

    Raises:
        UserError: values that cannot work.
    """
    _check_range(lowest, highest)
    if degrees < 1:
        raise UserError(f"{degrees} degrees of freedom hold no energy; give 3 beads - 6")
    length = math.sqrt(degrees / 2.0) * math.log(highest / lowest)
    return geometric_ladder(lowest, highest, _rungs_for(length, acceptance))


def ladder_from_pilot(
    temperatures: Sequence[float] | np.ndarray,
    energies: Sequence[np.ndarray] | np.ndarray,
    acceptance: float = 0.3,
) -> tuple[float, ...]:
    """Return the shortest ladder that reaches an acceptance, from the energies of a pilot run.

    Args:
        temperatures: [pilots] kelvin, rising; the ladder spans them.
        energies: [pilots] of arrays, potential energies seen at each, kcal/mol.
        acceptance: the least share of accepted trades between neighbours.

    Raises:
        UserError: a pilot run that says nothing about the spread of the energy.
    """
    known = np.array(check_ladder(temperatures))
    if len(energies) != len(known):
        raise UserError(f"energies of {len(energies)} runs for {len(known)} temperatures")
    spread = np.array([np.std(np.asarray(e, dtype=np.float64)) for e in energies])
    if not (np.isfinite(spread).all() and (spread > 0.0).all()):
        raise UserError("a pilot run needs energies that vary at every temperature; run it longer")
    grid = np.linspace(known[0], known[-1], POINTS)
    # In units of kT the spread varies slowly: interpolate that.
    in_kt = np.interp(grid, known, spread / (BOLTZMANN * known))
    speed = in_kt / grid  # dL/dT
    length = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * np.diff(grid))])
    rungs = _rungs_for(float(length[-1]), acceptance)
    ladder = np.interp(np.linspace(0.0, length[-1], rungs), length, grid)
    return check_ladder(ladder)


def expected_acceptance(length: float) -> float:
    """Return the share of accepted trades between rungs a thermodynamic length apart."""
    return 2.0 * NormalDist().cdf(-length / math.sqrt(2.0))


def check_ladder(ladder: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    """Return a ladder as numbers.

    Raises:
        UserError: fewer than two temperatures, or some that do not rise.
    """
    temperatures = tuple(float(t) for t in ladder)
    if len(temperatures) < 2:
        raise UserError("a ladder needs at least two temperatures")
    if not all(math.isfinite(t) and t > 0.0 for t in temperatures):
        raise UserError(f"temperatures of a ladder are in kelvin, above 0: {temperatures}")
    if any(b <= a for a, b in zip(temperatures, temperatures[1:], strict=False)):
        raise UserError(f"temperatures of a ladder must rise: {temperatures}")
    return temperatures


def _rungs_for(length: float, acceptance: float) -> int:
    """Return the fewest rungs that divide a length into steps of at least an acceptance."""
    if not 0.0 < acceptance < 1.0:
        raise UserError(f"an acceptance of {acceptance:g} cannot be aimed at; 0.2 to 0.4 is usual")
    step = -math.sqrt(2.0) * NormalDist().inv_cdf(acceptance / 2.0)
    return 1 + max(1, math.ceil(length / step - 1e-9))


def _check_range(lowest: float, highest: float) -> None:
    if not 0.0 < lowest < highest < math.inf:
        raise UserError(
            f"a ladder from {lowest:g} to {highest:g} K cannot be made; it rises from the lowest "
            "temperature, above 0 K"
        )
