"""Imports a model of another package, whichever it is, and writes it as a model folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flashschnet_lab import __version__
from flashschnet_lab.checkpoints.imported import Imported
from flashschnet_lab.checkpoints.mlcg import import_mlcg, is_mlcg
from flashschnet_lab.checkpoints.mlcg_configurations import configurations_of, read_configurations
from flashschnet_lab.checkpoints.native import STRUCTURE, save_model, sha256_of
from flashschnet_lab.checkpoints.pickle_machine import Instance
from flashschnet_lab.checkpoints.torch_file import read_torch_file
from flashschnet_lab.checkpoints.torchmd import import_torchmd, is_torchmd
from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.mdtraj_io import write_pdb
from flashschnet_lab.training.card import VALIDATION, write_card


@dataclass(frozen=True)
class Choices:
    """What a person says about a file.

    Attributes:
        prior: file of the priors, where they are apart: YAML of TorchMD, or a `.pt` of mlcg.
        configurations: mlcg's file of configurations, or None.
        embedding: name or JSON file of the numbering of residues, or None to find it.
        mapping: "five_bead" or "ca", or None to find it.
    """

    prior: Path | None = None
    configurations: Path | None = None
    embedding: str | None = None
    mapping: str | None = None


def import_checkpoint(path: Path, choices: Choices = Choices()) -> Imported:
    """Return a model of mlcg or TorchMD-Net as ours; no code of the file runs.

    Args:
        path: a file of `torch.save`.
        choices: what the file does not say.

    Raises:
        UserError: a file that is refused, that is no model known here, or a model that cannot be
            taken over; the message names what stands against it.
    """
    value = read_torch_file(path)
    try:
        found = _imported(value, path, choices)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, RuntimeError) as error:
        # What a file says may be of any type; what reads it expects what mlcg and TorchMD write.
        raise UserError(
            f"{path} is not laid out as models of mlcg and TorchMD-Net are ({error!r})"
        ) from error
    files = [file for file in (path, choices.prior, choices.configurations) if file is not None]
    return found.with_information(
        imported_from={file.name: {"sha256": sha256_of(file)} for file in files},
        made_with=f"flashschnet-lab {__version__}",
        came_over=list(found.came_over),
        left_out=list(found.left_out),
    )


def _imported(value: Any, path: Path, choices: Choices) -> Imported:
    """Return the model of a file's content, by the package that wrote it."""
    if is_torchmd(value):
        if choices.configurations is not None:
            raise UserError("--configurations go with models of mlcg; this is TorchMD-Net's")
        if choices.mapping not in (None, "ca"):
            raise UserError(f"{path} is a model of C-alpha beads: leave --mapping out")
        return import_torchmd(value, path, prior=choices.prior, embedding=choices.embedding)
    if is_mlcg(value):
        configurations = choices.configurations
        return import_mlcg(
            value,
            path,
            prior=None if choices.prior is None else _mlcg_prior(choices.prior),
            configurations=() if configurations is None else read_configurations(configurations),
            embedding=choices.embedding,
            mapping=choices.mapping,
        )
    raise UserError(_what_it_is(value, path))


def write_import(found: Imported, folder: Path) -> None:
    """Write an imported model as a model folder, with its card and the molecule it came with.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        save_model(found.model, folder, found.information)
        for name in (STRUCTURE, VALIDATION):  # of an earlier model
            (folder / name).unlink(missing_ok=True)
        if found.protein is not None:
            write_pdb(folder / STRUCTURE, found.protein)
        write_card(folder)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {(error.strerror or '').lower()}") from error


def _mlcg_prior(path: Path) -> object:
    """Return the content of a file of mlcg's priors."""
    value = read_torch_file(path)
    if not is_mlcg(value):
        raise UserError(f"{path} holds no priors of mlcg")
    return value


def _what_it_is(value: object, path: Path) -> str:
    """Return the message for a file that is no model known here."""
    if configurations_of(value):
        return (
            f"{path} holds configurations, not a model; name the model's file, and this one with "
            "--configurations"
        )
    kind = str(value.cls) if isinstance(value, Instance) else f"a {type(value).__name__}"
    if isinstance(value, dict):
        keys = ", ".join(map(str, list(value)[:8]))
        kind = f"a dictionary of {keys or 'nothing'}"
    return (
        f"{path} is no model that can be imported: it holds {kind}, but models of mlcg (SumOut, "
        "GradientsOut, checkpoints of Lightning) and TorchMD-Net's graph networks are known"
    )
