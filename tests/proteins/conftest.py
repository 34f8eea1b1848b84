"""A real protein that comes with the dependencies, and small structure files to spoil."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.mapping import read_protein
from flashschnet_lab.proteins.mdtraj_io import write_pdb
from flashschnet_lab.proteins.protein import Protein


@pytest.fixture(scope="session")
def rhodopsin_file() -> Path:
    """An all-atom MD model of bovine rhodopsin, 1U19, that nglview ships."""
    package = find_spec("nglview")  # found, not imported: that would start its widgets
    if package is None or package.origin is None:
        pytest.skip("nglview is not installed")
    return Path(package.origin).parent / "datafiles" / "md_1u19.pdb"


@pytest.fixture(scope="session")
def rhodopsin(rhodopsin_file: Path) -> Protein:
    """Its five beads; the retinal sits on a lysine, the palmitoyls on cysteines."""
    return read_protein(rhodopsin_file)


@pytest.fixture
def pdb_lines(tmp_path: Path) -> Callable[..., list[str]]:
    """ATOM records of an ideal chain: `pdb_lines(sequence, chain="A", shift=0.0)`."""

    def lines(sequence: str, chain: str = "A", shift: float = 0.0) -> list[str]:
        protein = build_chain(sequence)
        path = tmp_path / "ideal.pdb"
        write_pdb(path, protein, protein.positions + np.array([shift, 0.0, 0.0]))
        atoms = [line for line in path.read_text().splitlines() if line.startswith("ATOM")]
        return [line[:21] + chain + line[22:] for line in atoms]

    return lines


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Protein]:
    """Write lines to a PDB file and read it: `read(lines, mapping=...)`."""

    def read_lines(lines: list[str], **keywords: object) -> Protein:
        path = tmp_path / "test.pdb"
        path.write_text("\n".join([*lines, "END", ""]))
        return read_protein(path, **keywords)  # type: ignore[arg-type]

    return read_lines
