"""A run folder: a simulation with everything that it leaves behind.

trajectory.zarr         frames, appended while it runs
checkpoint.safetensors  where it can go on, to the bit
model/                  the model that moved it
exchanges.npz           who had which temperature when, where replicas trade them
run.json                reference conformation and settings
receipt.json            what was computed, how fast and how exactly
picture.png             RMSD, energy, temperature, last conformations
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.analysis.pictures import run_picture
from flashschnet_lab.analysis.structure import c_alpha_indices, rmsd
from flashschnet_lab.checkpoints.native import load_model, save_model
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.exchange import (
    RECORD,
    Tempering,
    restore_tempering,
    save_tempering,
)
from flashschnet_lab.simulation.guards import SimulationStopped
from flashschnet_lab.simulation.receipt import make_receipt, write_receipt
from flashschnet_lab.simulation.reporters import Frame
from flashschnet_lab.simulation.restart import restore, save_checkpoint
from flashschnet_lab.simulation.store import open_trajectory
from flashschnet_lab.simulation.store_writer import TrajectoryWriter
from flashschnet_lab.system import System

TRAJECTORY, CHECKPOINT, MODEL = "trajectory.zarr", "checkpoint.safetensors", "model"
RUN, RECEIPT, PICTURE = "run.json", "receipt.json", "picture.png"
SECONDS_BETWEEN_CHECKPOINTS = 30.0
FRAMES_IN_PICTURE = 500

Watch = Callable[[Simulation, int], None]
"""Called at every stored frame with the simulation and the steps that this run has done."""


def new_folder(name: str, parent: Path = Path("runs")) -> Path:
    """Return the first free folder `parent/name-001`, `-002`, ... (not made yet)."""
    number = 1
    while (parent / f"{name}-{number:03d}").exists():
        number += 1
    return parent / f"{name}-{number:03d}"


def start_run(
    simulation: Simulation | Tempering,
    folder: Path,
    steps: int,
    *,
    quantise: float | None = None,
    watch: Watch | None = None,
) -> dict[str, object]:
    """Run a new simulation into a new folder and return its receipt.

    Ctrl-C and SIGTERM end it early: everything up to there is kept, and `continue_run` goes on.

    Args:
        simulation: at its start; or a tempering, whose replicas trade temperatures.
        folder: must not exist yet.
        steps: time steps.
        quantise: resolution in angstrom at which positions are stored; None keeps float32.
        watch: called at every stored frame with the simulation and the steps done in this run.

    Raises:
        UserError: the folder exists or cannot be written.
        SimulationStopped: a guard stopped the run (what there was is kept, and a receipt written).
    """
    if folder.exists():
        raise UserError(f"{folder} exists; name a new one, or go on in it: --restart {folder}")
    mover, simulation = simulation, _moved_by(simulation)
    system, settings = simulation.system, simulation.settings.to_dict()
    try:
        folder.mkdir(parents=True)
        save_model(system.model, folder / MODEL)
        reference = None if system.reference is None else system.reference.tolist()
        about = {"reference": reference, "settings": settings}
        (folder / RUN).write_text(json.dumps(about) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {(error.strerror or str(error)).lower()}"
        ) from error
    writer = TrajectoryWriter.create(
        folder / TRAJECTORY,
        system.protein,
        simulation.replicas,
        quantise=quantise,
        attributes={
            "settings": settings,
            "model": system.model.name,
            "tempered": isinstance(mover, Tempering),
            "restraints": [restraint.to_dict() for restraint in simulation.restraints],
        },
        restrained=tuple(restraint.coordinate.label for restraint in simulation.restraints),
    )
    _save(mover, folder)  # from here on it can always be continued
    return _drive(mover, folder, writer, steps, watch)


def continue_run(
    folder: Path,
    steps: int,
    *,
    plan: KernelPlan | None = None,
    device: str | torch.device | None = None,
    watch: Watch | None = None,
) -> dict[str, object]:
    """Go on with the run of a folder from its checkpoint; arguments and errors as `start_run`."""
    system = load_run_system(folder)
    mover: Simulation | Tempering
    if (folder / RECORD).is_file():
        mover = restore_tempering(folder, system, plan=plan, device=device)
    else:
        mover = restore(folder / CHECKPOINT, system, plan=plan, device=device)
    writer = TrajectoryWriter.resume(folder / TRAJECTORY, _moved_by(mover).state.step)
    return _drive(mover, folder, writer, steps, watch)


def _moved_by(mover: Simulation | Tempering) -> Simulation:
    return mover.simulation if isinstance(mover, Tempering) else mover


def _save(mover: Simulation | Tempering, folder: Path) -> None:
    if isinstance(mover, Tempering):
        save_tempering(mover, folder)
    else:
        save_checkpoint(mover, folder / CHECKPOINT)


def load_run_system(folder: Path) -> System:
    """Return the protein and model of a run folder.

    Raises:
        UserError: it is not a run folder.
    """
    if not (folder / RUN).is_file():
        raise UserError(f"{folder} is not a run folder: it has no {RUN}")
    reference = json.loads((folder / RUN).read_text(encoding="utf-8"))["reference"]
    return System(
        open_trajectory(folder / TRAJECTORY).protein,
        load_model(folder / MODEL),
        None if reference is None else np.array(reference),
    )


def _drive(
    mover: Simulation | Tempering,
    folder: Path,
    writer: TrajectoryWriter,
    steps: int,
    watch: Watch | None,
) -> dict[str, object]:
    simulation = _moved_by(mover)
    saved_at, first_step = time.monotonic(), simulation.state.step
    times: list[float] = []
    energies: list[np.ndarray] = []

    def report(frame: Frame) -> None:
        nonlocal saved_at
        writer.append(frame)
        times.append(frame.time_ps)
        total = frame.potential_energy + frame.kinetic_energy
        held = frame.restraint_energy
        energies.append(total if held is None else total + held)
        if watch is not None:
            watch(simulation, frame.step - first_step)
        if time.monotonic() - saved_at > SECONDS_BETWEEN_CHECKPOINTS:
            writer.flush()  # first the frames, then the checkpoint that counts on them
            _save(mover, folder)
            saved_at = time.monotonic()
        if signals:  # one that came just before `run` was forgotten there
            mover.stop()

    simulation.reporters.append(report)
    begun = time.perf_counter()
    problem: SimulationStopped | None = None
    with writer, _stop_on_signals(mover) as signals:
        try:
            mover.run(steps)
        except SimulationStopped as stopped:
            problem = stopped
        wall = time.perf_counter() - begun
        if simulation.state.step > writer.last_step:
            report(mover.frame())
        writer.flush()
        if problem is None:
            _save(mover, folder)
    simulation.reporters.remove(report)
    ending = "stopped by a guard" if problem else f"stopped by {signals[0]}" if signals else ""
    receipt = make_receipt(
        simulation,
        first_step=first_step,
        wall_seconds=wall,
        ending=ending or "finished",
        times_ps=np.array(times),
        total_energy=np.array(energies),
        exchanges=mover.exchanges if isinstance(mover, Tempering) else None,
    )
    write_receipt(receipt, folder / RECEIPT)
    draw_run(folder)
    if problem is not None:
        raise SimulationStopped(f"{problem}. What there was is in {folder}")
    return receipt


def draw_run(folder: Path) -> Path:
    """Draw `picture.png` of a run folder, at most 500 frames of it, and return its path."""
    system, trajectory = load_run_system(folder), open_trajectory(folder / TRAJECTORY)
    shown = slice(0, None, max(1, trajectory.frames // FRAMES_IN_PICTURE))
    distances = None
    if system.reference is not None:
        alpha = c_alpha_indices(system.protein)
        per_replica = [
            rmsd(trajectory.positions(shown, r), system.reference, alpha)
            for r in range(trajectory.replicas)
        ]
        distances = np.stack(per_replica, axis=1)  # [frames, replicas]
    last = slice(trajectory.frames - 1, trajectory.frames)
    final = [trajectory.positions(last, r)[0] for r in range(trajectory.replicas)]
    figure = run_picture(
        trajectory.times_ps[shown],
        trajectory.potential_energy[shown],
        trajectory.temperature[shown],
        distances,
        system.protein,
        np.stack(final),
        f"{system.name}: {trajectory.replicas} replicas, {trajectory.times_ps[-1]:.3g} ps each",
    )
    path = folder / PICTURE
    figure.savefig(path)
    return path


@contextmanager
def _stop_on_signals(mover: Simulation | Tempering) -> Iterator[list[str]]:
    """Turn Ctrl-C and SIGTERM into a polite stop; yields the names of the signals that came."""
    came: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def stop(number: int, _: object) -> None:
        came.append("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)
        mover.stop()

    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
