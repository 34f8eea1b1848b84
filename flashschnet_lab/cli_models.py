"""`flashschnet import` and `flashschnet export-model`: models of other packages, there and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from flashschnet_lab.cli_choices import Mapping


def import_(
    file: Annotated[Path, typer.Argument(help="Checkpoint of mlcg or TorchMD-Net: .pt or .ckpt.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model folder to make.")],
    prior: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Priors in a file of their own: TorchMD's YAML, or mlcg's prior.pt."),
    ] = None,
    configurations: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="mlcg's configurations: masses, and lists of terms to compare with ours."
        ),
    ] = None,
    embedding: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Numbering of residues: torchmd-2021, torchmd-exp, mlcg, or a JSON file of rows "
            "by residue. Default: mlcg's own; TorchMD's is found in the file, or must be said."
        ),
    ] = None,
    mapping: Annotated[
        Optional[Mapping],  # noqa: UP045
        typer.Option(help="Beads of a residue, where a file of mlcg does not say it."),
    ] = None,
) -> None:
    """Import a model of mlcg (CGSchNet) or TorchMD-Net, without running any code of its file.

    What came over is printed, and what did not. The folder then goes with --model everywhere.
    """
    from rich.console import Console

    from flashschnet_lab.checkpoints.importer import Choices, import_checkpoint, write_import

    choices = Choices(prior, configurations, embedding, None if mapping is None else mapping.value)
    found = import_checkpoint(file, choices)
    write_import(found, out)
    console = Console()
    console.print(f"[bold]{found.model.name}[/bold]", highlight=False)
    for line in found.came_over:
        console.print(f"  {line}", highlight=False)
    if found.left_out:
        console.print("not taken over:", highlight=False)
    for line in found.left_out:
        console.print(f"  {line}", highlight=False)
    console.print(f"written to [bold]{out}[/bold]", highlight=False)
    console.print(f"go on: flashschnet simulate --pdb FILE.pdb --model {out}", highlight=False)


def export_model(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .safetensors.")],
) -> None:
    """Write a model's weights as a state dict in mlcg's names (safetensors, no pickle)."""
    from flashschnet_lab.checkpoints.export_model import export_state
    from flashschnet_lab.checkpoints.native import load_model

    export_state(load_model(model), out)
    typer.echo(f"wrote {out}")
