"""How a system is simulated: the settings, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.simulation.integrators import INTEGRATORS
from flashschnet_lab.units import FEMTOSECONDS_PER_PICOSECOND, KCAL_PER_MOL, thermal_energy

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Settings:
    """How a system is simulated.

    Attributes:
        temperatures: of each replica now, in kelvin: `Simulation.change` and tempering move them.
        timestep_fs: in femtoseconds.
        friction: in 1/ps.
        integrator: "langevin", "verlet" or "brownian".
        seed: key of the random streams.
        first_replica: stream of the first replica (replica r draws from stream first_replica + r).
        dtype: "float32" or "float64".
        speed_limit: A/ps; faster beads stop their replica (overdamped: see `move_limit`).
        keep_going: go on with the other replicas when one stops.
        deterministic: repeat to the bit on a GPU too (a CPU always does).
    """

    temperatures: tuple[float, ...]
    timestep_fs: float = 4.0
    friction: float = 1.0
    integrator: str = "langevin"
    seed: int = 1
    first_replica: int = 0
    dtype: str = "float32"
    speed_limit: float = 100.0
    keep_going: bool = False
    deterministic: bool = True

    def __post_init__(self) -> None:
        if not self.temperatures:
            raise UserError("a simulation needs at least one replica")
        if self.integrator not in INTEGRATORS:
            raise UserError(
                f"integrator {self.integrator!r} is unknown; known: {', '.join(INTEGRATORS)}"
            )
        if self.dtype not in DTYPES:
            raise UserError(f"dtype {self.dtype!r} is unknown; known: {', '.join(DTYPES)}")
        if not 0.0 < self.timestep_fs <= 20.0:
            raise UserError(
                f"a time step of {self.timestep_fs:g} fs cannot work; the unit is femtoseconds and "
                "4 is usual"
            )
        if min(self.temperatures) < 0.0 or max(self.temperatures) > 5000.0:
            raise UserError("temperatures are in kelvin, from 0 to 5000")
        if self.friction < 0.0 or (self.integrator == "brownian" and self.friction == 0.0):
            raise UserError(f"a friction of {self.friction:g} per ps cannot work; 1 is usual")
        if not 0 <= self.first_replica < (1 << 32) - len(self.temperatures):
            raise UserError(f"first_replica {self.first_replica} must lie between 0 and 2^32")
        if not 0 <= self.seed < 1 << 64:
            raise UserError(f"seed {self.seed} must lie between 0 and 2^64 - 1")

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values."""
        return {**asdict(self), "temperatures": list(self.temperatures)}

    @property
    def timestep_ps(self) -> float:
        """Time step in picoseconds."""
        return self.timestep_fs / FEMTOSECONDS_PER_PICOSECOND


def per_replica(temperature: float | Sequence[float], replicas: int) -> tuple[float, ...]:
    """Return one temperature per replica, in kelvin.

    Raises:
        UserError: no replica, or another number of temperatures.
    """
    if replicas < 1:
        raise UserError(f"{replicas} replicas cannot be simulated; at least 1")
    if isinstance(temperature, (int, float)):
        return (float(temperature),) * replicas
    temperatures = tuple(float(t) for t in temperature)
    if len(temperatures) != replicas:
        raise UserError(f"{len(temperatures)} temperatures for {replicas} replicas; give one each")
    return temperatures


def move_limit(settings: Settings, protein: Protein) -> float:
    """Return how far a bead may move in one step, in angstrom.

    Overdamped motion has no speed: there the limit is ten times the thermal step, if that is more.
    """
    limit = settings.speed_limit * settings.timestep_ps
    if settings.integrator == "brownian":
        hottest = thermal_energy(max(settings.temperatures)) * KCAL_PER_MOL
        drag = settings.friction * float(protein.masses.min())
        thermal = 2.0 * settings.timestep_ps * hottest / drag
        limit = max(limit, 10.0 * math.sqrt(thermal))
    return limit
