"""Checkpoints: everything a simulation needs to go on as if it had never stopped.

The noise is a function of seed, replica and step, so the state is positions, velocities, forces and
the step; nothing of a random generator has to be saved.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from flashschnet_kernels.plan import KernelPlan, parse_plan
from flashschnet_lab import __version__
from flashschnet_lab.devices import resolve_device
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.reporters import Reporter
from flashschnet_lab.simulation.restraint import restraint_from_dict
from flashschnet_lab.simulation.state import FIELDS, State
from flashschnet_lab.system import System

FORMAT = 2
"""2 may have restraints; a checkpoint without them is written as 1, which older versions read."""


def save_checkpoint(simulation: Simulation, path: str | Path, *, tempered: bool = False) -> None:
    """Write the state of a simulation, atomically: the old file stays until the new one is whole.

    Args:
        simulation: what is saved.
        path: the file.
        tempered: whether its replicas trade temperatures: then it cannot go on without the record
            of their trades, and only `restore_tempering` takes it.

    Raises:
        UserError: the file cannot be written.
    """
    from safetensors.torch import save

    path = Path(path)
    tensors = {n: getattr(simulation.state, n).detach().cpu().contiguous() for n in FIELDS}
    description = {
        "format": FORMAT if simulation.restraints else 1,
        "step": simulation.state.step,
        "settings": simulation.settings.to_dict(),
        "plan": simulation.plan.name,
        "report_every": simulation.report_every,
        "tempered": tempered,
        "restraints": [restraint.to_dict() for restraint in simulation.restraints],
        "model": {"name": simulation.system.model.name, "sha256": simulation.system.model.digest},
        "protein": {
            "name": simulation.system.name,
            "fingerprint": simulation.system.protein.fingerprint(),
        },
        "versions": {"flashschnet_lab": __version__, "torch": torch.__version__},
        "device": str(simulation.device),
    }
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            file.write(save(tensors, {"flashschnet": json.dumps(description)}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"the checkpoint {path} could not be written ({error.strerror}); free some space or "
            "choose another folder"
        ) from error


def read_checkpoint(path: str | Path) -> dict:
    """Return the description of a checkpoint: step, settings, plan, model, protein, versions.

    Raises:
        UserError: the file is missing or is not a checkpoint.
    """
    return _read(Path(path))[0]


def restore(
    path: str | Path,
    system: System,
    *,
    plan: KernelPlan | None = None,
    device: str | torch.device | None = None,
    reporters: Sequence[Reporter] = (),
    tempered: bool = False,
) -> Simulation:
    """Return the simulation of a checkpoint, ready to run on.

    On the same device, with the same versions, 50 + 50 steps are 100 steps to the bit.

    Args:
        path: written by `save_checkpoint`.
        system: the same protein and model.
        plan: the same plan as before, which is also the default.
        device: default the GPU if there is one.
        reporters: as for `Simulation`.
        tempered: as it was saved; `restore_tempering` says so.

    Raises:
        UserError: another model, protein or plan than the checkpoint's, with what differs, or
            replicas that would no longer trade temperatures.
    """
    description, tensors = _read(Path(path))
    if description.get("tempered", False) and not tempered:
        raise UserError(
            f"the replicas of {path} trade temperatures; go on with restore_tempering, or with "
            "flashschnet temper --restart"
        )
    device = resolve_device(device)
    plan = plan or _plan_of(description, device)
    _check(description, system, plan)
    settings = dict(description["settings"])
    temperatures = settings.pop("temperatures")
    saved = {name: tensor.to(device) for name, tensor in tensors.items()}
    return Simulation(
        system,
        len(temperatures),
        temperatures,
        state=State(step=description["step"], **saved),
        device=device,
        plan=plan,
        reporters=reporters,
        report_every=description["report_every"],
        restraints=[restraint_from_dict(r) for r in description.get("restraints", ())],
        **settings,
    )


def _plan_of(description: dict, device: torch.device) -> KernelPlan:
    """Return the plan of a checkpoint, on a device."""
    try:
        return parse_plan(description["plan"], device.type)
    except ValueError as error:
        raise UserError(f"the checkpoint names a plan that is not known: {error}") from error


def _read(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UserError(f"no checkpoint at {path}")
    try:
        with safe_open(path, "pt") as file:
            description = json.loads((file.metadata() or {})["flashschnet"])
            tensors = {name: file.get_tensor(name) for name in FIELDS}
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not a checkpoint of a simulation ({error!r})") from error
    if description["format"] > FORMAT:
        raise UserError(f"{path} was written by a newer flashschnet-lab; update this one")
    return description, tensors


def _check(description: dict, system: System, plan: KernelPlan) -> None:
    was = description["protein"]
    if was["fingerprint"] != system.protein.fingerprint():
        raise UserError(
            f"the checkpoint is of protein {was['name']}, not of {system.name}: their beads differ"
        )
    model = description["model"]
    if model["sha256"] != system.model.digest:
        raise UserError(
            f"the checkpoint was made with model {model['name']!r} ({model['sha256'][:12]}), not "
            f"with {system.model.name!r} ({system.model.digest[:12]})"
        )
    if description["plan"] != plan.name:
        raise UserError(
            f"the checkpoint was made with plan {description['plan']!r}, not {plan.name!r}; go on "
            "with the same plan or start anew"
        )
