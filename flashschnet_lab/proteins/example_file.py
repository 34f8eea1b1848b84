"""A structure file with all its atoms, to practise on."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from flashschnet_lab.errors import UserError


def rhodopsin_file() -> Path:
    """Return a PDB file of rhodopsin (PDB entry 1U19, prepared for simulation with hydrogens).

    It comes with nglview, which draws molecules in the notebooks.

    Raises:
        UserError: nglview, or this file of it, is not installed.
    """
    try:
        path = Path(str(distribution("nglview").locate_file("nglview/datafiles/md_1u19.pdb")))
    except PackageNotFoundError:
        raise UserError(
            "the example comes with nglview; get it with: pip install nglview"
        ) from None
    if not path.is_file():
        raise UserError(f"this nglview has no example file {path}; use a PDB file of your own")
    return path
