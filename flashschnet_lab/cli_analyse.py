"""`flashschnet analyse`: a run as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


def analyse(
    run: Annotated[Path, typer.Argument(help="Run folder or trajectory store.")],
    compare: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="A second run of the molecule, to see how far apart the ensembles are."),
    ] = None,
    native: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="PDB or mmCIF file of the native fold. Default: the run's reference."),
    ] = None,
    skip: Annotated[
        float, typer.Option(help="Leave out so many picoseconds at the start.", min=0.0)
    ] = 0.0,
    every: Annotated[int, typer.Option(help="Take every so many frames.", min=1)] = 1,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="HTML file to write. Default: report.html in the run folder."),
    ] = None,
) -> None:
    """Analyse a run: RMSD, Q, free energies, folding, contacts, slow modes, and a 3D film.

    All of it goes into one HTML file that loads nothing and works without a network. The trajectory
    is read in pieces, however long it is. A run with a record of exchanges (parallel tempering) is
    sorted by temperature where that matters, and the free energies are those of the coldest.
    """
    from flashschnet_lab.report.command import analyse_command

    analyse_command(run, compare=compare, native=native, skip_ps=skip, every=every, out=out)
