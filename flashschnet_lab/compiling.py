"""The table of filters of a model: where it is kept, and how it is made when there is none.

Looked for in this order: in memory; next to the model's files, where `flashschnet compile` writes
it; in the user's cache folder; else it is made, in seconds, and left in the cache folder.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from flashschnet_lab.checkpoints.filter_table import (
    TableFileError,
    read_table,
    table_file,
    write_table,
)
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.table_errors import Conformation, TableJudge
from flashschnet_lab.potentials.tables import CompiledTable, choose_table, network_digest
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.system import Model, System, embedding_rows

JUDGED_BEADS = 300
"""Beads of a conformation that a table is judged on: the first ones of a larger protein."""
DISPLACED = {"five_bead": {0.2: 1}, "ca": {0.2: 8, 0.5: 4}}
"""By mapping: standard deviation of each coordinate in angstrom, to how many such conformations.

C-alpha beads are 3.8 A apart and not 1.5, so larger displacements bring pairs as close as they come
in a simulation, where filters are steep; and of fewer pairs, fewer errors average out.
"""

_log = logging.getLogger(__name__)
_made: dict[tuple[str, str], CompiledTable] = {}
"""Tables of this process, by digest and class."""


def table_for(system: System, precision_class: str) -> CompiledTable:
    """Return the table of a system's network, found or made.

    Args:
        system: its model has a network. A table that must be made is judged on this protein.
        precision_class: "exact", "balanced" or "fast".

    Raises:
        UserError: no table is exact enough for the class.
    """
    model = system.model
    assert model.network is not None
    digest = network_digest(model.network)
    key = (digest, precision_class)
    if key not in _made:
        cached = table_file(cache_folder() / digest[:16], precision_class)
        nearby = [] if model.folder is None else [table_file(model.folder, precision_class)]
        found = _first_good([*nearby, cached], model, digest, precision_class)
        _made[key] = found or _make(system, precision_class, cached)
    return _made[key]


def compile_model(system: System, classes: Sequence[str]) -> list[CompiledTable]:
    """Make the tables of a model anew and write them next to its files.

    Args:
        system: a protein to judge on, and a model that was read from a folder.
        classes: names of precision classes.

    Raises:
        UserError: a model without network or folder, a folder that cannot be written, or no table
            that is exact enough.
    """
    model = system.model
    if model.network is None:
        raise UserError(f"model {model.name!r} has no network, so there is nothing to compile")
    if model.folder is None:
        raise UserError(f"model {model.name!r} is in no folder; save it first")
    judge, compiled = _judge(system), []
    for precision_class in classes:
        made = choose_table(judge, precision_class)
        path = table_file(model.folder, precision_class)
        try:
            write_table(made, path)
        except OSError as error:
            raise UserError(f"cannot write {path}: {(error.strerror or '').lower()}") from error
        _made[made.digest, precision_class] = made
        compiled.append(made)
    return compiled


def cache_folder() -> Path:
    """Return where tables are left for other runs: in the user's cache folder of this platform.

    Raises:
        UserError: the package that knows the platform is not installed.
    """
    try:
        from platformdirs import user_cache_dir
    except ImportError as error:
        raise UserError(
            "a plan with tables of filters keeps them in the user's cache folder, and platformdirs "
            "finds it: pip install platformdirs, or use --plan flash-float32"
        ) from error

    return Path(user_cache_dir("flashschnet-lab", appauthor=False)) / "filters"


def judged_conformations(system: System) -> list[Conformation]:
    """Return what a table is judged on: folded, folded and displaced, and an extended chain.

    Displaced conformations of one size have one name.

    Always the same for a protein. The folded one is the native conformation, or the start where
    none is known; the extended chain is left out where its beads cannot be built from the sequence.
    """
    protein, types = system.protein, torch.from_numpy(embedding_rows(system))
    folded = protein.positions if system.reference is None else system.reference
    generator = np.random.default_rng(0)
    shapes = [("folded", folded)]
    for size, count in DISPLACED[protein.mapping].items():
        noise = generator.normal(0.0, size, (count, *folded.shape))
        shapes += [(f"displaced by {size} A", folded + moved) for moved in noise]
    residues = int(protein.residue_of_bead[:JUDGED_BEADS].max()) + 1
    chain = build_chain(protein.sequence[:residues], "extended", protein.mapping)
    alike = slice(min(JUDGED_BEADS, protein.beads))
    if np.array_equal(chain.bead_types[alike], protein.bead_types[alike]):
        shapes.append(("extended", chain.positions))
    return [
        Conformation(
            f"{protein.name}, {name}",
            torch.from_numpy(np.ascontiguousarray(x[:JUDGED_BEADS], dtype=np.float64)),
            types[:JUDGED_BEADS],
        )
        for name, x in shapes
    ]


def _judge(system: System) -> TableJudge:
    assert system.model.network is not None
    try:
        return TableJudge(system.model.network, judged_conformations(system))
    except ValueError as error:
        raise UserError(
            f"a table of filters cannot be judged on {system.name}, which has no two beads within "
            "the cutoff; use --plan flash-float32"
        ) from error


def _first_good(
    paths: Sequence[Path], model: Model, digest: str, precision_class: str
) -> CompiledTable | None:
    """Return the first table that can be used; a file that cannot is named in a warning."""
    assert model.network is not None
    for path in paths:
        if not path.is_file():
            continue
        try:
            return read_table(path, model.network, digest, precision_class)
        except TableFileError as error:
            _log.warning("%s is not used and made anew: it %s", path, error)
    return None


def _make(system: System, precision_class: str, cached: Path) -> CompiledTable:
    """Make a table and leave it in the cache folder if that can be written."""
    name = system.model.name
    _log.info("making the table of filters of %s, class %s", name, precision_class)
    made = choose_table(_judge(system), precision_class)
    _log.info(
        "%d pieces, force error %.1e on the worst of: %s",
        made.table.knots.pieces,
        made.achieved_error,
        "; ".join(made.verified_on),
    )
    try:
        write_table(made, cached)
    except OSError as error:
        _log.info("%s cannot be written (%s): the next run makes it again", cached, error)
    return made
