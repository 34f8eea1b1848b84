"""How exact the network's forces are where there is hardly one: from an extended chain on.

    python -m flashschnet_lab.measure.extended chignolin trpcage 1enh -o FILE.json

Force errors are relative. On an ideal extended chain the forces of the network are a tenth of those
on a folded one, and the same roundings weigh ten times as much. So every plan is judged at the
conformations that tables are judged on, and then again and again while extended chains collapse at
300 K.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flashschnet_kernels.plan import KernelPlan, parse_plan
from flashschnet_lab.compiling import judged_conformations
from flashschnet_lab.devices import resolve_device
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_system
from flashschnet_lab.measure.accuracy import network_alone, network_force_error
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.receipt import describe_device, library_versions
from flashschnet_lab.system import System, build_force_field
from flashschnet_lab.training.distil import extended_start

PLANS = ("exact", "balanced", "fast")
TIMES_PS = (0.4, 2.0, 8.0, 20.0, 50.0)
SEED = 3


def force_errors(
    system: System,
    plans: Sequence[KernelPlan],
    *,
    replicas: int = 64,
    times_ps: Sequence[float] = TIMES_PS,
    device: str | torch.device | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield one record per conformation, plain JSON values.

    `norm` is that of the network's forces on a molecule in float64, kcal/mol/A, the root mean
    square over replicas; `force_error` holds |F - F64| / |F64| of the network by plan.

    Args:
        system: with a network.
        plans: the first one also moves the chains.
        replicas: that start extended.
        times_ps: when they are judged.
        device: default the GPU if there is one.

    Raises:
        UserError: a system without a network.
    """
    if system.model.network is None:
        raise UserError(f"the model of {system.name} has no network whose forces could be judged")
    where = resolve_device(device)

    def record(conformation: str, positions: Tensor) -> dict[str, Any]:
        errors = {plan.name: network_force_error(system, positions, plan) for plan in plans}
        return {
            "protein": system.name,
            "conformation": conformation,
            "replicas": len(positions),
            "norm": float(f"{_network_norm(system, positions):.4g}"),
            "force_error": {name: float(f"{error:.3g}") for name, error in errors.items()},
        }

    for shape in judged_conformations(system):
        positions = shape.positions.float().to(where)
        if len(positions) == system.protein.beads:  # of a large molecule a part is judged
            yield record(shape.name, positions[None])
    simulation = Simulation(
        system, replicas, device=where, plan=plans[0], positions=extended_start(system), seed=SEED
    )
    for time_ps in times_ps:
        steps = round(time_ps / simulation.settings.timestep_ps)
        simulation.run(steps - simulation.state.step)
        yield record(f"extended, after {time_ps:g} ps", simulation.state.positions.clone())


def _network_norm(system: System, positions: Tensor) -> float:
    alone = network_alone(system)
    exact = build_force_field([alone], device=positions.device, dtype=torch.float64)
    squares = [float(exact(x.double()).forces.square().sum()) for x in positions]
    return (sum(squares) / len(squares)) ** 0.5


def main() -> None:
    """Judge the plans of the precision classes on proteins, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("proteins", nargs="+", help="library names or structure files")
    parser.add_argument("-o", "--out", type=Path, help="JSON file to write")
    parser.add_argument("--device", help="cpu or cuda; default the GPU if there is one")
    arguments = parser.parse_args()
    where = resolve_device(arguments.device)
    plans = [parse_plan(name, where.type) for name in PLANS]
    found = []
    for name in arguments.proteins:
        for record in force_errors(load_system(name), plans, device=where):
            errors = "  ".join(f"{plan} {e:.1e}" for plan, e in record["force_error"].items())
            print(f"{record['conformation']:<32} |F| {record['norm']:8.3f}   {errors}", flush=True)
            found.append(record)
    if arguments.out is not None:
        whole = {
            "device": describe_device(where)["name"],
            "versions": library_versions(),
            "made": date.today().isoformat(),
            "records": found,
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
