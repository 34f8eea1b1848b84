"""From a run to the file."""

from __future__ import annotations

from pathlib import Path

from flashschnet_lab.errors import UserError
from flashschnet_lab.report import sections
from flashschnet_lab.report.html import page
from flashschnet_lab.report.material import Material
from flashschnet_lab.report.movie import movie_script


def report_html(found: Material) -> str:
    """Return the report as one HTML page that loads nothing.

    Args:
        found: from `material.gather`.
    """
    protein, table = found.run.protein, found.table
    ladder, replicas = table.ladder, found.run.trajectory.replicas
    kelvin = ""
    if len(ladder):
        kelvin = f" at {ladder[0]:g} K"
        if len(ladder) > 1:
            kelvin = f" from {ladder[0]:g} to {ladder[-1]:g} K"
    subtitle = (
        f"{len(protein.residues)} residues ({_shortened(protein.sequence)}), "
        f"{replicas} {'replica' if replicas == 1 else 'replicas'}{kelvin}"
    )
    made = [
        sections.movie_section(found),
        sections.time_section(found),
        sections.landscape_section(found),
        sections.folding_section(found),
        sections.structure_section(found),
        sections.slow_section(found),
        sections.tempering_section(found),
        sections.comparison_section(found),
        sections.facts_section(found),
    ]
    return page(
        protein.name,
        subtitle,
        sections.headline(found),
        [section for section in made if section is not None],
        movie_script(),
    )


def write_report(found: Material, path: Path) -> None:
    """Write the report to a file; an older one there is replaced.

    Raises:
        UserError: the file cannot be written.
    """
    text = report_html(found)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"cannot write {path}: {reason}; name another file with --out") from error


def _shortened(sequence: str, most: int = 40) -> str:
    return sequence if len(sequence) <= most else f"{sequence[: most - 1]}…"
