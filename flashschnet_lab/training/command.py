"""What `flashschnet distil` and `flashschnet validate` do."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab import __version__
from flashschnet_lab.checkpoints.native import STRUCTURE, load_model, read_description, save_model
from flashschnet_lab.devices import resolve_device
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_system, structure_based_model
from flashschnet_lab.potentials.structure_based import DEFAULT_DEPTH
from flashschnet_lab.proteins.embedded import embedded_like, embedded_names, embedded_protein
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.receipt import describe_device
from flashschnet_lab.system import Model, System
from flashschnet_lab.training.card import (
    CURVE,
    EXTENDED,
    TEACHER,
    VALIDATION,
    draw_curve,
    write_card,
)
from flashschnet_lab.training.distil import SMALL, Distilled, distil, settings_for
from flashschnet_lab.training.embed import relax
from flashschnet_lab.training.validate import read_validation
from flashschnet_lab.training.validate import validate as measure

ROOM_TEMPERATURE = 300.0


def distil_command(
    structure: str,
    out: Path | None,
    *,
    small: bool,
    steps: int | None,
    seed: int,
    device: str | None,
    depth: float = DEFAULT_DEPTH,
) -> None:
    """Train a model folder; arguments as the command line's."""
    console, where = Console(), resolve_device(device)
    protein = reference_protein(structure)
    folder = out or Path("models") / protein.name
    if (folder / "model.json").exists():
        raise UserError(f"{folder} already holds a model; name another folder with --out")
    model = structure_based_model(protein, depth)
    teacher = System(protein, model, protein.positions)
    large = settings_for(protein, depth)
    settings = replace(SMALL, temperatures=large.temperatures) if small else large
    settings = replace(settings, seed=seed)
    settings = replace(settings, steps=steps or settings.steps)
    work = folder.with_name(folder.name + ".work")
    command = f"flashschnet distil {structure if structure in embedded_names() else 'FILE'}"
    command += " --small" * small + (f" --steps {steps}" if steps else "")
    command += f" --depth {depth:g}" if depth != DEFAULT_DEPTH else ""
    command += f" --seed {seed}" if seed != 1 else ""
    console.print(f"{protein.name}: {protein.beads} beads; work in {work} (kept until done)")
    begun = time.perf_counter()
    with _bar(console) as tell:
        result = distil(teacher, work, settings, device=where, tell=tell)
    seconds, name = time.perf_counter() - begun, str(describe_device(where)["name"])
    write_distilled(result, teacher, folder, command, seconds, name)
    shutil.rmtree(work)
    errors = result.held_out
    console.print(
        f"relative force error {errors.force_relative:.1%} on held-out conformations; model in "
        f"[bold]{folder}[/bold]"
    )
    console.print(f"use it: flashschnet simulate --model {folder} ...", highlight=False)


def write_distilled(
    result: Distilled, teacher: System, folder: Path, command: str, seconds: float, device: str
) -> None:
    """Write the model folder of a distillation: weights, description, curve, card."""
    contacts = teacher.model.contacts
    assert contacts is not None
    information: dict[str, object] = {
        "command": command,
        "seconds": round(seconds, 1),
        "device": device,
        "made_with": f"flashschnet-lab {__version__}",
        "teacher": teacher.model.name,
        "teacher_sha256": teacher.model.digest,
        "teacher_depth": float(contacts.depth[0]),
        "teacher_contacts": len(contacts.pairs),
        "reference_sha256": hashlib.sha256(
            np.ascontiguousarray(teacher.protein.positions).tobytes()
        ).hexdigest(),
        "settings": asdict(result.settings),
        "errors": {"held_out": asdict(result.held_out), "on_policy": asdict(result.on_policy)},
        "licence": "MIT",
    }
    save_model(result.model, folder, information)
    draw_curve(result.curve, folder / CURVE)
    write_card(folder)


def validate_command(
    folder: Path,
    structure: str | None,
    folded: int,
    extended: int,
    time_ps: float,
    temperature: float,
    device: str | None,
    teacher: bool,
    plan: KernelPlan | None = None,
    *,
    seed: int = 1,
    add: bool = False,
) -> None:
    """Validate a distilled model; arguments as the command line's.

    Extended chains alone are measured apart, for as long as they need, into a file of their own.

    Raises:
        UserError: replicas that cannot be added to those measured before.
    """
    console, model = Console(), load_model(folder)
    protein = _validated_protein(folder, model, structure)
    depth = float(read_description(folder).get("teacher_depth", DEFAULT_DEPTH))
    moved_by = structure_based_model(protein, depth) if teacher else model
    system = System(protein, moved_by, protein.positions)
    path = folder / _record(folded, extended, teacher)
    before = read_validation(path) if add else None
    with _bar(console) as tell:

        def watch(simulation: Simulation, share: float) -> None:
            tell(share, f"{simulation.replicas} replicas, {simulation.time_ps:.1f} ps")

        result = measure(
            system,
            folded=folded,
            extended=extended,
            time_ps=time_ps,
            temperature=temperature,
            seed=seed,
            device=device,
            plan=plan,
            watch=watch,
        )
    command = f"flashschnet validate {folder}" + " --structure FILE" * (structure is not None)
    command += f" --folded {folded} --extended {extended} --time {time_ps:g}"
    command += f" --temperature {temperature:g}" * (temperature != ROOM_TEMPERATURE)
    command += " --teacher" * teacher
    command += f" --seed {seed}" if seed != 1 else ""
    command += f" --plan {plan.name}" if plan is not None else ""
    if before is not None:
        result, command = before[0].join(result), f"{before[1]}; {command} --add"
    result.write(path, command)
    write_card(folder)
    console.print_json(json.dumps(result.summary()))
    console.print(f"written to {path} and the model card")


def _record(folded: int, extended: int, teacher: bool) -> str:
    """Return the file of a model folder that a validation is written to."""
    if teacher:
        return TEACHER
    return EXTENDED if extended and not folded else VALIDATION


def _validated_protein(folder: Path, model: Model, structure: str | None) -> Protein:
    """Return the native protein of a model: of a structure file, or of the library.

    An imported model is measured on the structure as it is, in the model's mapping.
    """
    if "imported_from" in read_description(folder):
        own = folder / STRUCTURE
        if structure is None and not own.is_file():
            raise UserError(f"name the structure to measure {folder} on: --structure FILE or NAME")
        system = load_system(structure or own, model)
        assert system.reference is not None
        return system.protein.with_positions(system.reference)
    if structure is not None:
        return reference_protein(structure)
    known = embedded_like(model.only_for)
    if known is None:
        raise UserError(
            f"the model in {folder} is of no protein of the library; name the structure that it "
            "was distilled from with --structure FILE"
        )
    return known.protein


def reference_protein(structure: str) -> Protein:
    """Return a library protein at its reference, or a structure file relaxed like those."""
    if structure.lower() in embedded_names():
        return embedded_protein(structure).protein
    from flashschnet_lab.proteins.mapping import read_protein

    return relax(read_protein(structure))


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[float, str], None]]:
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda share, text: progress.update(task, completed=share, description=text)
