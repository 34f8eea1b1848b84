"""Parallel tempering: replicas at a ladder of temperatures trade them while they move.

A cold replica that is caught in one fold gets warm for a while, crosses the barrier, and comes
back cold somewhere else. Temperatures are traded, not conformations: positions and forces stay
where they are, velocities are scaled, and nothing is copied. A trade between replicas i and j, with
beta = 1 / kT of each, is accepted with the chance

    min(1, exp[(beta_i - beta_j) (U_i - U_j)])

which keeps the canonical distribution at every temperature. Source: Y. Sugita and Y. Okamoto,
Chemical Physics Letters 314, 141 (1999).

    simulation = fl.Simulation(system, replicas=16, minimise=True)
    tempering = Tempering(simulation, geometric_ladder(300.0, 600.0, 8))
    tempering.run(20_000)
    acceptance(tempering.exchanges), round_trips(tempering.exchanges)

The random numbers of an attempt are a function of the seed and its number, and who tries with whom
follows from the number alone: a restarted run goes on as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.exchange_record import (
    Exchanges,
    read_exchanges,
    write_exchanges,
)
from flashschnet_lab.simulation.reporters import Frame, Reporter
from flashschnet_lab.simulation.restart import restore, save_checkpoint
from flashschnet_lab.simulation.temperature_ladder import check_ladder
from flashschnet_lab.system import System
from flashschnet_lab.units import BOLTZMANN

CHECKPOINT, RECORD = "checkpoint.safetensors", "exchanges.npz"


def swap(
    rungs: np.ndarray,
    energies: np.ndarray,
    ladder: Sequence[float],
    attempt: int,
    seed: int,
    alive: np.ndarray | None = None,
) -> np.ndarray:
    """Return the rungs after one attempt: neighbours trade, every second pair in turn.

    Args:
        rungs: [replicas] int64; each ladder of replicas holds every rung once.
        energies: [replicas] potential energies in kcal/mol.
        ladder: [rungs] temperatures in kelvin.
        attempt: its number; its parity chooses the pairs.
        seed: of the random numbers.
        alive: [replicas] bool; others keep their rung. Default all.

    Returns:
        [replicas] int64.
    """
    count = len(ladder)
    beta = 1.0 / (BOLTZMANN * np.asarray(ladder, dtype=np.float64))
    begin = count * np.arange(len(rungs) // count)[:, None]
    holder = np.argsort(rungs.reshape(-1, count), axis=1) + begin  # [ladders, rungs]
    first = attempt % 2
    cold, hot = holder[:, first : count - 1 : 2], holder[:, first + 1 :: 2]  # [ladders, pairs]
    exponent = (beta[rungs[cold]] - beta[rungs[hot]]) * (energies[cold] - energies[hot])
    chance = np.random.default_rng((seed, attempt)).random(exponent.shape)
    accepted = chance < np.exp(np.minimum(exponent, 0.0))
    if alive is not None:
        accepted &= alive[cold] & alive[hot]
    after = rungs.copy()
    after[cold[accepted]], after[hot[accepted]] = rungs[hot[accepted]], rungs[cold[accepted]]
    return after


class Tempering:
    """A simulation whose replicas trade temperatures.

    Args:
        simulation: it moves from now on through `run` and `iterate` of this object. Its replicas
            are a multiple of the rungs; each group of so many is a ladder of its own. Their
            temperatures and velocities are set to the ladder's, coldest first.
        ladder: temperatures in kelvin, rising.
        every: steps between attempts; about the time in which the energy forgets (1 / friction).
        seed: of the trades; default the simulation's.
        exchanges: go on with this record instead of starting (restarts use it).

    Attributes:
        simulation: what moves.
        ladder: [rungs] kelvin.
        every: steps.
        seed: of the trades.

    Raises:
        UserError: a ladder that does not fit the replicas, or an integrator without a thermostat.
    """

    def __init__(
        self,
        simulation: Simulation,
        ladder: Sequence[float] | np.ndarray,
        every: int = 100,
        *,
        seed: int | None = None,
        exchanges: Exchanges | None = None,
    ) -> None:
        self.simulation = simulation
        self.ladder = check_ladder(ladder)
        self.every = every
        self.seed = simulation.settings.seed if seed is None else seed
        count = len(self.ladder)
        if every < 1:
            raise UserError(f"an attempt every {every} steps cannot be made; 100 is usual")
        if simulation.replicas % count:
            raise UserError(
                f"{simulation.replicas} replicas do not fill ladders of {count} rungs; take "
                f"{max(1, simulation.replicas // count) * count} replicas"
            )
        if min(simulation.settings.temperatures) <= 0.0:
            raise UserError("velocities cannot be scaled from 0 K; start the simulation warmer")
        if not 0 <= self.seed < 1 << 64:
            raise UserError(f"seed {self.seed} must lie between 0 and 2^64 - 1")
        self._stop_asked = False
        if exchanges is None:
            rungs = np.tile(np.arange(count), simulation.replicas // count)
            self._assign(rungs)
            self._first = simulation.state.step // every
            self._rungs, self._energies = [rungs], list[np.ndarray]()
        else:
            self._first = exchanges.first
            self._rungs, self._energies = list(exchanges.rungs), list(exchanges.energies)
            self._check_record()

    @property
    def exchanges(self) -> Exchanges:
        """The record of all attempts so far."""
        return Exchanges(
            ladder=self.ladder,
            every=self.every,
            seed=self.seed,
            first=self._first,
            rungs=np.stack(self._rungs),
            energies=np.array(self._energies).reshape(-1, self.simulation.replicas),
        )

    @property
    def rungs(self) -> np.ndarray:
        """The present rung of every replica, [replicas] int64."""
        return self._rungs[-1].copy()

    def run(self, steps: int) -> None:
        """Advance by `steps` time steps, trading when an attempt is due.

        Raises:
            SimulationStopped: as `Simulation.run`.
        """
        self._stop_asked = False
        self._move_to(self.simulation.state.step + steps)
        self._trade_if_due()

    def iterate(self, steps: int, every: int = 100) -> Iterator[Frame]:
        """Advance by `steps` and yield a frame every `every` steps.

        A frame at a step where an attempt is due is taken before the attempt, as
        `Exchanges.rungs_at` has it.
        """
        self._stop_asked = False
        state = self.simulation.state
        last = state.step + steps
        while (step := self.simulation.state.step) < last and not self._stop_asked:
            self._move_to(min(last, step + every))
            frame = self.simulation.frame()
            self._trade_if_due()
            if frame.step > step:  # else it was stopped before the first step
                yield frame

    def frame(self) -> Frame:
        """Return the present frame; at the step of an attempt, as it was before it."""
        frame = self.simulation.frame()
        last = self.every * (self._first + len(self._energies))
        if not self._energies or frame.step != last:
            return frame
        ladder = np.array(self.ladder)
        back = ladder[self._rungs[-2]] / ladder[self._rungs[-1]]  # [replicas]
        return replace(
            frame,
            kinetic_energy=back * frame.kinetic_energy,
            temperature=back * frame.temperature,
        )

    def stop(self) -> None:
        """Ask a running `run` or `iterate` to return soon (safe from another thread)."""
        self._stop_asked = True
        self.simulation.stop()

    def _move_to(self, last: int) -> None:
        """Advance to a step, trading on the way but not at its end."""
        simulation = self.simulation
        while simulation.state.step < last and not self._stop_asked:
            self._trade_if_due()
            step = simulation.state.step
            simulation.run(min(last, step + self.every - step % self.every) - step)

    def _trade_if_due(self) -> None:
        state = self.simulation.state
        due = state.step // self.every - self._first - len(self._energies)
        if due <= 0:
            return
        if due > 1:
            raise UserError(
                f"{due} attempts were missed: the simulation was run past its tempering; use "
                "tempering.run, not simulation.run"
            )
        attempt = state.step // self.every
        energies = state.energy.cpu().numpy().copy()
        alive = (state.failed_step < 0).cpu().numpy()
        # A restraint is part of what a replica sees: it stays with it, whatever its temperature.
        seen = energies + self.simulation.restraint_energy()
        rungs = swap(self._rungs[-1], seen, self.ladder, attempt, self.seed, alive)
        self._assign(rungs)
        self._energies.append(energies)
        self._rungs.append(rungs)

    def _assign(self, rungs: np.ndarray) -> None:
        """Give every replica the temperature of its rung, and the velocities that belong to it."""
        simulation = self.simulation
        before = np.array(simulation.settings.temperatures)
        after = np.array(self.ladder)[rungs]
        simulation.change(temperature=after.tolist())
        state = simulation.state
        hotter = torch.as_tensor(after / before, device=state.kinetic.device)  # [replicas] float64
        scale = hotter.sqrt().to(state.velocities.dtype)[:, None, None]
        simulation.state = replace(
            state, velocities=scale * state.velocities, kinetic=hotter * state.kinetic
        )

    def _check_record(self) -> None:
        """Refuse a record that does not end where the simulation is."""
        if not _fits(self.exchanges, self.simulation):
            raise UserError(
                f"the record of exchanges ends after attempt {self._first + len(self._energies)}, "
                "which is not where the simulation stands; they belong to different runs"
            )


def _fits(exchanges: Exchanges, simulation: Simulation) -> bool:
    """Return whether a record ends where a simulation stands, or before a trade that is due."""
    made, step = exchanges.first + exchanges.attempts, simulation.state.step
    expected = np.array(exchanges.ladder)[exchanges.rungs[-1]]
    return made in (step // exchanges.every, (step - 1) // exchanges.every) and np.array_equal(
        expected, simulation.settings.temperatures
    )


def save_tempering(tempering: Tempering, folder: str | Path) -> None:
    """Write checkpoint and record into a folder; an older pair there is replaced.

    Raises:
        UserError: the files cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # The record first: one that is ahead of its checkpoint can be cut back, the reverse cannot.
    write_exchanges(tempering.exchanges, folder / RECORD)
    save_checkpoint(tempering.simulation, folder / CHECKPOINT, tempered=True)


def restore_tempering(
    folder: str | Path,
    system: System,
    *,
    plan: KernelPlan | None = None,
    device: str | torch.device | None = None,
    reporters: Sequence[Reporter] = (),
) -> Tempering:
    """Return the tempering of a folder, ready to run on, exact to the bit.

    Args:
        folder: written by `save_tempering`.
        system: the same protein and model.
        plan: as for `restore`.
        device: as for `restore`.
        reporters: as for `restore`.

    Raises:
        UserError: files that are missing, or do not belong together or to the system.
    """
    folder = Path(folder)
    exchanges = read_exchanges(folder / RECORD)
    simulation = restore(
        folder / CHECKPOINT, system, plan=plan, device=device, reporters=reporters, tempered=True
    )
    kept = exchanges.until(simulation.state.step)
    if not _fits(kept, simulation):  # the checkpoint may be of the moment before a trade
        kept = exchanges.until(simulation.state.step - 1)
    return Tempering(simulation, kept.ladder, kept.every, seed=kept.seed, exchanges=kept)
