"""One measurement: a plan on a protein, judged first and timed only if its forces are right."""

from __future__ import annotations

import gc
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import torch

from flashschnet_kernels.plan import PLANS, KernelPlan
from flashschnet_lab.compiling import table_for
from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.accuracy import (
    LIMITS,
    compile_network,
    force_limit,
    network_force_error,
    steep_limit,
    total_force_error,
)
from flashschnet_lab.measure.bytes import (
    StageCost,
    predicted_bytes,
    predicted_flops,
    predicted_peak_bytes,
    sizes_of,
    stage_costs,
)
from flashschnet_lab.measure.memory import kept_bytes, peak_bytes
from flashschnet_lab.measure.profile import Share, profile
from flashschnet_lab.measure.roofline import arithmetic_of, least_seconds, measure_ceilings
from flashschnet_lab.measure.stages import choice
from flashschnet_lab.measure.timing import time_calls
from flashschnet_lab.measure.work import directed_edges
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.guards import SimulationStopped
from flashschnet_lab.simulation.receipt import describe_device, library_versions
from flashschnet_lab.system import System, build_force_field
from flashschnet_lab.units import nanoseconds_per_day

STAGES = ("force", "step")
STATE_DTYPE = {"float32": "float32", "tf32": "float32", "float64": "float64"}
"""The precisions that can be measured, and the dtype of positions and weights in each."""
STEPS_PER_CALL = 10
FUSED_STEPS_PER_CALL = 100
"""Short steps: as many as a simulation makes before it looks at its guards."""
WARM_UP_STEPS = 20
"""Steps before anything is measured, so that replicas differ as they do in a simulation."""


@dataclass(frozen=True)
class Work:
    """What is measured.

    Attributes:
        system: protein and model.
        replicas: copies.
        plan: implementation of every operator.
        precision: "float32", "float64", or "tf32": float32 whose matrix products PyTorch may
            round to 10 bits of fraction on a GPU, as CGSchNet runs do.
        stage: "force" (one evaluation of energies and forces) or "step" (a whole Langevin step).
        compiled: whether torch.compile wraps the network, which plain PyTorch alone allows.

    Raises:
        UserError: torch.compile around kernels that it cannot look into.
    """

    system: System
    replicas: int
    plan: KernelPlan
    precision: str = "float32"
    stage: str = "force"
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.compiled and self.plan not in PLANS.values():
            raise UserError(
                f"torch.compile is for the plans {' and '.join(PLANS)}, not {self.plan.name!r}"
            )

    @property
    def label(self) -> str:
        """What records and tables call the plan."""
        return f"{self.plan.name} (torch.compile)" if self.compiled else self.plan.name


def measure(work: Work, device: torch.device, seconds: float = 2.0) -> dict[str, object]:
    """Return the record of one measurement, plain JSON values.

    A plan that is not exact enough gets a record without times, and so does one that runs out of
    memory or loses a replica: "failed" says why. Its errors are those of the total force
    ("force_error") and of the network alone ("network_force_error"); both must be within
    `accuracy.force_limit`, or for a steep network `accuracy.steep_limit` ("force_limit" is then in
    the record).

    Args:
        work: what.
        device: where.
        seconds: about so long for the timing.
    """
    record = _description(work, device)
    try:
        with matrix_products(work.precision):
            _measure(work, device, seconds, record)
    except SimulationStopped as error:
        record["failed"] = f"unstable: {error}"
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        record["failed"] = "out of memory"
    if "failed" in record:
        for name in ("ms", "calls", "peak_bytes"):
            record.pop(name, None)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return record


def _measure(work: Work, device: torch.device, seconds: float, record: dict[str, object]) -> None:
    """Add to the record what can be measured."""
    if work.plan.tabulated and work.system.model.network is not None:
        # The table is the process's, not the simulation's; and following the memory of the many
        # small operations that make it takes longer than they do.
        table_for(work.system, work.plan.table_class)
    # One step makes all that stays; following more of them takes twice their time on a CPU.
    simulation, resident = kept_bytes(lambda: _simulation_after(1, work, device), device)
    simulation.run(WARM_UP_STEPS - 1)
    state, forces, peak = simulation.state, simulation.state.forces, None
    if work.compiled:
        # Only now: what runs while memory is followed is never compiled. On a CPU compiled code is
        # not followed either, and the peak is that of the code it was made from.
        if device.type == "cpu":
            peak = peak_bytes(lambda: simulation.force_field(state.positions), device)
        compile_network(simulation.force_field)
        forces = simulation.force_field(state.positions).forces
    edges = directed_edges(work.system, state.positions)
    record["work"] = {**_sizes(work), "directed_edges": edges}
    errors = {
        "force_error": total_force_error(work.system, state.positions, forces),
        "network_force_error": network_force_error(
            work.system, state.positions, work.plan, compiled=work.compiled
        ),
    }
    record.update({name: error for name, error in errors.items() if error is not None})
    limit = force_limit(work.plan, work.precision)
    wrong = _above(errors, limit)
    if wrong and limit == LIMITS["float32"]:
        limit = max(limit, steep_limit(work.system, state.positions))
        record["force_limit"] = limit
        wrong = _above(errors, limit)
    if wrong:
        names = " and ".join(name.replace("_", " ") for name in reversed(wrong))
        record["failed"] = f"{names} above {limit:g}: no speed is shown"
        return
    call, steps = _call(work, simulation)
    # A graph's memory was taken when it was captured: its steps need the same, seen one by one.
    simulation.capture = False
    record["peak_bytes"] = _peak(work, simulation, call, device) if peak is None else peak
    record["resident_bytes"] = resident
    simulation.capture = work.stage == "step"
    record["captured"] = simulation.captures
    timing = time_calls(call, device, seconds=seconds)
    record["ms"] = {
        name: round(getattr(timing, name) / steps, 4) for name in ("min", "median", "max")
    }
    record["calls"] = timing.calls
    if work.stage == "step":
        rate = 1e3 * steps / timing.median
        nanoseconds = nanoseconds_per_day(rate, simulation.settings.timestep_ps, work.replicas)
        record["replica_steps_per_second"] = round(rate * work.replicas, 2)
        record["ns_per_day"] = round(nanoseconds, 3)
    if work.compiled:  # what it fuses is its own affair
        record["compiled"] = True
    else:
        _predict(work, device, edges, timing.median * 1e-3 / steps, record)


def _above(errors: dict[str, float | None], limit: float) -> list[str]:
    """Return the names of the errors above a limit, of those that there are."""
    # "not <=" so that an error that is no number is above it too.
    return [name for name, error in errors.items() if error is not None and not error <= limit]


def _peak(
    work: Work, simulation: Simulation, call: Callable[[], object], device: torch.device
) -> int:
    """Return the peak memory of a call.

    Fused bead work on a CPU makes its room at the first evaluation and keeps it, so what the first
    evaluation of another force field leaves is added.
    """
    fused_on_cpu = choice(work.plan, "nodes") == "cpu"
    if work.stage == "step":
        # What is let go of in compiled code is not seen: every list made anew would be added.
        call = partial(simulation.run, 1 if fused_on_cpu else STEPS_PER_CALL)
    peak = peak_bytes(call, device)
    if not fused_on_cpu:
        return peak
    positions = simulation.state.positions
    systems = [work.system] * work.replicas
    fresh = build_force_field(systems, device=device, dtype=positions.dtype, plan=work.plan)
    fresh._neighbors(positions.reshape(-1, 3))  # its list is the same under other plans
    return peak + kept_bytes(lambda: fresh(positions), device, arrays=True)[1]


def profile_work(work: Work, device: torch.device) -> list[Share]:
    """Return the operations of one evaluation or step, the longest first."""
    with matrix_products(work.precision):
        call, steps = _call(work, _simulation_after(WARM_UP_STEPS, work, device))
        return [
            Share(share.name, share.milliseconds / steps, share.launches / steps)
            for share in profile(call, device)
        ]


def predict(work: Work, edges: int) -> tuple[StageCost, ...]:
    """Return the predicted cost of every stage of a work with so many directed edges."""
    network = work.system.model.network
    return stage_costs(
        None if network is None else network.shape,
        sizes_of(work.system, work.replicas, edges),
        work.plan,
        precision=STATE_DTYPE[work.precision],
        stage=work.stage,
    )


def _predict(
    work: Work, device: torch.device, edges: int, seconds: float, record: dict[str, object]
) -> None:
    """Add what the IO model predicts, beside the time that was measured."""
    costs = predict(work, edges)
    ceilings = measure_ceilings(device, arithmetic_of(work.plan, work.precision, device))
    least = least_seconds(costs, ceilings)
    moved = predicted_bytes(costs)
    record["predicted_bytes"] = moved
    record["predicted_peak_bytes"] = predicted_peak_bytes(costs)
    record["predicted_flops"] = predicted_flops(costs)
    record["predicted_ms"] = round(1e3 * least, 4)
    record["bandwidth_fraction"] = round(moved / ceilings.bytes_per_second / seconds, 4)
    record["roofline_fraction"] = round(least / seconds, 4)
    record["ceilings"] = ceilings.to_dict()


def _simulation_after(steps: int, work: Work, device: torch.device) -> Simulation:
    simulation = Simulation(
        work.system,
        work.replicas,
        device=device,
        plan=work.plan,
        dtype=STATE_DTYPE[work.precision],
        deterministic=False,
        capture=False,
    )
    simulation.run(steps)
    return simulation


def _call(work: Work, simulation: Simulation) -> tuple[Callable[[], object], int]:
    """Return what is timed, and how many steps one call makes."""
    if work.stage == "force":
        positions = simulation.state.positions
        return lambda: simulation.force_field(positions), 1
    fused = choice(work.plan, "langevin") != "reference"
    steps = FUSED_STEPS_PER_CALL if fused else STEPS_PER_CALL
    return lambda: simulation.run(steps), steps


def _sizes(work: Work) -> dict[str, object]:
    return {
        "protein": work.system.name,
        "replicas": work.replicas,
        "beads": work.system.protein.beads,
    }


def _description(work: Work, device: torch.device) -> dict[str, object]:
    kind = "gpu" if device.type == "cuda" else "cpu"
    return {
        kind: str(describe_device(device)["name"]),
        "versions": library_versions(),
        "commit": commit(),
        "date": date.today().isoformat(),
        "work": {**_sizes(work), "directed_edges": directed_edges(work.system)},
        "model": work.system.model.digest[:12],
        "plan": work.label,
        "precision": work.precision,
        "stage": work.stage,
    }


@contextmanager
def matrix_products(precision: str) -> Iterator[None]:
    """Let PyTorch multiply in TF32 if that is what is measured, and not otherwise."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def commit() -> str:
    """Return the commit of the checkout that runs, "-dirty" if it is changed, or "unknown"."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()
