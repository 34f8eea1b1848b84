"""The one unit system: angstrom, kcal/mol, dalton, picosecond, kelvin.

Energies divided by masses need one conversion, because a dalton angstrom^2/ps^2 is not a kcal/mol:
1 kcal/mol = 418.4 dalton angstrom^2/ps^2 (1 kcal is 4184 J exactly, and 1 dalton angstrom^2/ps^2 is
10 J/mol).
"""

from __future__ import annotations

KCAL_PER_MOL = 418.4
"""One kcal/mol in dalton angstrom^2/ps^2: acceleration = KCAL_PER_MOL * force / mass."""

BOLTZMANN = 0.0019872042586408316
"""Boltzmann constant in kcal/mol/K (CODATA 2018: 8.31446261815324 J/mol/K over 4184)."""

ANGSTROM_PER_NANOMETRE = 10.0
FEMTOSECONDS_PER_PICOSECOND = 1000.0
SECONDS_PER_DAY = 86400.0


def thermal_energy(temperature: float) -> float:
    """Return k_B T in kcal/mol for a temperature in kelvin."""
    return BOLTZMANN * temperature


def nanoseconds_per_day(steps_per_second: float, timestep_ps: float, replicas: int = 1) -> float:
    """Return the aggregate simulated nanoseconds per day of `replicas` molecules."""
    return steps_per_second * timestep_ps * 1e-3 * SECONDS_PER_DAY * replicas
