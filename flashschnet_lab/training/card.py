"""The model card and the training curve: what a model is, for people."""

from __future__ import annotations

import json
from pathlib import Path

from flashschnet_lab.checkpoints.imported_card import imported_card
from flashschnet_lab.checkpoints.native import read_description

CARD, CURVE = "MODEL_CARD.md", "training.png"
VALIDATION, EXTENDED, TEACHER = "validation.json", "extended.json", "teacher.json"


def write_card(folder: Path) -> None:
    """Write `MODEL_CARD.md` of a model folder from the measurements that it holds."""
    text = card_text(
        read_description(folder),
        _measured(folder / VALIDATION),
        _measured(folder / TEACHER),
        _measured(folder / EXTENDED),
    )
    (folder / CARD).write_text(text, encoding="utf-8")


def card_text(
    description: dict, validation: dict | None, teacher: dict | None, extended: dict | None = None
) -> str:
    """Return a model card as Markdown.

    Args:
        description: contents of `model.json` of a distilled or an imported model.
        validation: contents of `validation.json`, or None before it was validated.
        teacher: contents of `teacher.json`, the same simulations with the teacher, or None.
        extended: contents of `extended.json`, extended chains that were measured apart, or None.
    """
    if "imported_from" in description:
        return "\n".join([*imported_card(description), *_measurements(validation, extended), ""])
    shape, settings = description["shape"], description["settings"]
    held_out, on_policy = description["errors"]["held_out"], description["errors"]["on_policy"]
    lines = [
        f"# {description['name']}",
        "",
        "A SchNet **distilled from a structure-based (Go-type) teacher, not from all-atom data**:",
        "it knows one fold, the one it was shown. Use it to learn, to test and to measure speed;",
        "do not read the real protein's folding mechanism out of it.",
        "",
        "## What it is",
        f"- Network: {shape['hidden']}/{shape['channels']} channels, {shape['blocks']} blocks, "
        f"{shape['radial_functions']} radial functions ({shape['radial_basis']}), cutoff "
        f"{shape['cutoff']:g} A, one embedding row for each of the {shape['types']} beads.",
        "- Total energy = priors (`prior.json`) + network. Units: angstrom, kcal/mol.",
        f"- Made with `{description['command']}` in {description['seconds']:.0f} s on "
        f"{description['device']}.",
        f"- Teacher: wells of {description['teacher_depth']:g} kcal/mol on "
        f"{description['teacher_contacts']} native contacts, plus the same priors.",
        f"- Training: {settings['steps']} steps of {settings['batch_size']} conformations, sampled "
        f"from {min(settings['temperatures']):g} to {max(settings['temperatures']):g} K, and "
        f"{settings['rounds']} rounds of the network's own trajectories, labelled by the teacher.",
        "",
        "## How exact it is (against its teacher)",
        "| conformations | force RMSE, kcal/mol/A | relative force error | energy RMSE, kcal/mol |",
        "|---|---|---|---|",
        _error_row("held-out trajectories of the teacher", held_out),
        _error_row("held-out trajectories of the network itself", on_policy),
        "",
        "Relative: norm of the error over norm of the teacher's contact forces (priors left out).",
        "",
        "![training curve](training.png)",
        "",
        *_measurements(validation, extended),
    ]
    if teacher is not None:
        lines += ["", "### And its teacher, for comparison", *_behaviour(teacher)]
    return "\n".join([*lines, ""])


def _measurements(validation: dict | None, extended: dict | None) -> list[str]:
    """Return the section on what a model does."""
    measured = [_behaviour(each) for each in (validation, extended) if each is not None]
    if not measured:
        return [
            "## What it does",
            "Not validated yet: `flashschnet validate FOLDER`, with `--structure FILE` for a "
            "protein of your own.",
        ]
    lines = measured[0] if len(measured) == 1 else [*measured[0], "", *measured[1]]
    return ["## What it does", *lines]


def draw_curve(curve: list, path: Path) -> None:
    """Draw the training loss over the optimiser steps.

    Args:
        curve: rows (step, loss).
        path: PNG to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 3.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.semilogy([step for step, _ in curve], [loss for _, loss in curve], lw=1.2)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("loss (relative, force + energy)")
    axes.grid(alpha=0.3)
    figure.savefig(path)


def _error_row(name: str, errors: dict) -> str:
    return (
        f"| {name} | {errors['force_rmse']:.4f} | {errors['force_relative']:.1%} | "
        f"{errors['energy_rmse']:.3f} |"
    )


def _measured(path: Path) -> dict | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _behaviour(validation: dict) -> list[str]:
    summary = validation["summary"]
    lines = [
        f"Measured with `{validation['command']}` on {validation['device']}, "
        f"{validation['made']}: every replica {summary['time_ps']:.4g} ps at "
        f"{summary['temperature']:g} K; {summary['failed']} replicas stopped by a guard.",
        "",
    ]
    if "folded" in summary:
        folded = summary["folded"]
        fifths = ", ".join(f"{value:g}" for value in folded["rmsd_median_by_fifths"])
        lines.append(
            f"- From the folded state, {folded['replicas']} replicas, second half of the run: "
            f"C-alpha RMSD {folded['rmsd_median']} A (median; 5 % {folded['rmsd_5_percent']}, "
            f"95 % {folded['rmsd_95_percent']}); {folded['share_below_3']:.1%} of the frames below "
            f"3 A. Median by fifths of the run: {fifths} A."
        )
    if "extended" in summary:
        extended = summary["extended"]
        when = ""
        if extended["reached_below_3"]:
            when = (
                f", the first at {extended['first_time_ps']} ps, the median of those at "
                f"{extended['median_time_ps']} ps"
            )
        lines.append(
            f"- From the extended chain, {extended['replicas']} replicas: "
            f"{extended['reached_below_3']} came below 3 A{when}; {extended['below_3_at_end']} "
            "were below at the end."
        )
    return lines
