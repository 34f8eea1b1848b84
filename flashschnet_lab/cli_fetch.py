"""`flashschnet fetch`: a structure from the Protein Data Bank."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Optional

import typer

from flashschnet_lab.cli_choices import StructureFormat
from flashschnet_lab.errors import UserError


def fetch(
    identifier: Annotated[str, typer.Argument(help="Of an entry of the PDB, like 1ENH.")],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", help="Also copy it to this file, .cif or .pdb."),
    ] = None,
    format: Annotated[
        Optional[StructureFormat],  # noqa: UP045
        typer.Option(help="Default: as the name of --out ends, else cif, which every entry has."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Download it even if it is in the cache.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of --out.")] = False,
) -> None:
    """Download a structure from the PDB, once: it is kept in the user's cache folder.

    A checksum beside it is compared whenever the structure is fetched again.
    """
    from flashschnet_lab.proteins.fetch import FORMATS, copy_structure, fetch_structure

    ending = None if out is None else out.suffix.lower().removeprefix(".")
    if ending is not None and ending not in FORMATS:
        raise UserError(f"--out {out} should end in .cif or .pdb")
    chosen = format.value if format is not None else ending or FORMATS[0]
    if ending not in (None, chosen):
        raise UserError(f"--format {chosen} and --out {out} contradict each other; give one")
    path = fetch_structure(identifier, format=chosen, again=again)
    if out is not None:
        copy_structure(path, out, force=force)
        path = out
    typer.echo(f"{path}")
    typer.echo(f"simulate it: flashschnet simulate --pdb {shlex.quote(str(path))}")
