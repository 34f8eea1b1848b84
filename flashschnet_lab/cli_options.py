"""Options that several commands of the command line share; a command chooses the defaults.

Read them as types of a command's arguments: `seed: options.Seed = 1`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from flashschnet_lab import cli_choices

Protein = Annotated[
    str, typer.Option(help="Protein that comes with the package; `flashschnet proteins`.")
]
Pdb = Annotated[Optional[Path], typer.Option(help="PDB or mmCIF file to simulate.")]  # noqa: UP045
Sequence = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="One-letter sequence to build and simulate."),
]
Model = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        help="Model folder, or hf:user/repo on the Hugging Face Hub. Default: the trained one, "
        "else a structure-based one."
    ),
]
Mapping = Annotated[
    Optional[cli_choices.Mapping],  # noqa: UP045
    typer.Option(help="Beads of --pdb and --sequence. Default: the model's, else five_bead."),
]
Temperature = Annotated[float, typer.Option(help="Kelvin.")]
Timestep = Annotated[float, typer.Option(help="Femtoseconds.")]
Friction = Annotated[float, typer.Option(help="Per picosecond.")]
Plan = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Kernel plan; see simulate --help. A restart keeps that of its run."),
]
Device = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="cpu or cuda. Default: the GPU if there is one."),
]
KeepGoing = Annotated[
    bool, typer.Option("--keep-going", help="When a replica fails, go on with the others.")
]
SaveEvery = Annotated[int, typer.Option(help="Steps between stored frames.", min=1)]
Quantise = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="Store positions at this resolution in angstrom, 0.001 say."),
]
Out = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--out", "-o", help="Run folder to make."),
]
