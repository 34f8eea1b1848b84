"""Model folders: weights as safetensors, everything else as JSON, every file with its SHA-256.

    model.json            format, name, shape, bead types, the protein it is for, units, provenance,
                          training and errors, SHA-256 of the other files; in format 2 also rows of
                          the embedding by residue, mapping and masses, where the model has them
    network.safetensors   weights of the SchNet, float32
    prior.json            table of the classical terms
    contacts.safetensors  native contacts (structure-based models only)
    filters-*.safetensors tables of filters, if `flashschnet compile` made them; each has a digest
    training.png          training curve (distilled models)
    structure.pdb         the molecule that came with the model (some imported models)
    MODEL_CARD.md         for people

No file can run code when it is read.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from flashschnet_lab.checkpoints.hub import fetch_model, is_on_hub
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.bead_rows import BeadRows
from flashschnet_lab.potentials.prior_table import PriorRules, load_prior_table
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.potentials.structure_based import Contacts
from flashschnet_lab.system import NETWORK_TYPES, Model

FORMAT = 2
"""The newest format. A model that format 1 describes in full is written in that one; others would
give wrong energies in a version that knows only format 1."""
UNITS = {"length": "angstrom", "energy": "kcal/mol"}
NETWORK, PRIOR, CONTACTS = "network.safetensors", "prior.json", "contacts.safetensors"
STRUCTURE = "structure.pdb"
"""The molecule that an imported model came with, if it did: for people and for verification."""
TABLES = "filters-*.safetensors"
"""Pattern of tables of filters (see `checkpoints.filter_table`); they can be made anew."""
SHAPE_OF_FORMAT_1 = frozenset(
    "types hidden channels blocks radial_functions radial_basis cutoff output_widths".split()
)
OWN = ("rows", "mapping", "masses")
"""What only some models have (format 2)."""
KEYS = ("format", "name", "shape", "network_types", "only_for", "units", "sha256")
"""What every `model.json` holds; other keys are for people."""


def save_model(model: Model, folder: Path, information: dict[str, object] | None = None) -> None:
    """Write a model folder.

    Args:
        model: what to write.
        folder: made if it is not there; files of an earlier model in it are replaced.
        information: provenance, training settings, errors: anything JSON, kept as it is.

    Raises:
        ValueError: `information` has a key that the format keeps for itself.
    """
    from safetensors.torch import save

    information, own = information or {}, _own(model)
    if taken := information.keys() & {*KEYS, *OWN}:
        raise ValueError(f"information cannot hold {', '.join(sorted(taken))}: the format does")
    folder.mkdir(parents=True, exist_ok=True)
    for path in (folder / NETWORK, folder / PRIOR, folder / CONTACTS, *folder.glob(TABLES)):
        path.unlink(missing_ok=True)
    written = []
    if model.prior is not None:
        (folder / PRIOR).write_text(model.prior.to_json(), encoding="utf-8")
        written.append(PRIOR)
    if model.network is not None:
        state = model.network.state_dict()
        weights = {k: v.detach().cpu().float().contiguous() for k, v in state.items()}
        (folder / NETWORK).write_bytes(save(weights))
        written.append(NETWORK)
    if model.contacts is not None:
        arrays = {k: torch.from_numpy(getattr(model.contacts, k)) for k in ("pairs", "r0", "depth")}
        (folder / CONTACTS).write_bytes(save(arrays))
        written.append(CONTACTS)
    description = {
        "format": format_of(model),
        "name": model.name,
        "shape": model.network.shape.to_dict() if model.network is not None else None,
        "network_types": model.network_types,
        "only_for": model.only_for,
        **own,
        "units": UNITS,
        **information,
        "sha256": {name: sha256_of(folder / name) for name in written},
    }
    text = json.dumps(description, indent=1) + "\n"
    (folder / "model.json").write_text(text, encoding="utf-8")


def load_model(folder: str | Path) -> Model:
    """Read a model folder.

    Args:
        folder: its path, or the name of one on the Hugging Face Hub, "hf:user/repo@revision" (see
            `checkpoints.hub`).

    Raises:
        UserError: it is missing, incomplete, of a newer format, or a file is not the one described.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = fetch_model(folder) if is_on_hub(folder) else Path(folder)
    description = read_description(folder)
    for name, expected in description["sha256"].items():
        if not (folder / name).is_file():
            raise UserError(f"{folder} is incomplete: {name} is missing")
        if sha256_of(folder / name) != expected:
            raise UserError(
                f"{folder / name} is not the file that model.json describes (SHA-256 differs); "
                "copy the folder again"
            )
    names = description["sha256"]
    if (NETWORK in names) != (description["shape"] is not None):
        raise UserError(f"model.json in {folder} must list {NETWORK} and its shape, or neither")
    if description["network_types"] not in NETWORK_TYPES:
        raise UserError(
            f"model.json in {folder} has network_types {description['network_types']!r}; known: "
            f"{', '.join(NETWORK_TYPES)}"
        )
    prior = load_prior_table(folder / PRIOR) if PRIOR in names else None
    network, contacts, rows = None, None, None
    try:
        if description.get("rows") is not None:
            rows = BeadRows.from_dict(description["rows"])
        if not all(float(mass) > 0.0 for mass in (description.get("masses") or {}).values()):
            raise ValueError("masses must be positive")
        if NETWORK in names:
            network = SchNet(SchNetShape.from_dict(description["shape"]))
            network.load_state_dict(load_file(folder / NETWORK))
        if CONTACTS in names:
            arrays = load_file(folder / CONTACTS)
            contacts = Contacts(**{k: v.numpy() for k, v in arrays.items()})
    except (
        RuntimeError, SafetensorError, TypeError, KeyError, ValueError, AttributeError
    ) as error:  # fmt: skip
        raise UserError(f"the weights in {folder} do not fit its model.json: {error}") from error
    return Model(
        name=description["name"],
        prior=prior,
        network=network,
        network_types=description["network_types"],
        contacts=contacts,
        only_for=description["only_for"],
        folder=folder,
        rows=rows,
        mapping=description.get("mapping", ""),
        masses=description.get("masses"),
    )


def format_of(model: Model) -> int:
    """Return the lowest format that says everything about a model."""
    old_prior = model.prior is None or model.prior.rules == PriorRules()
    shape = {} if model.network is None else model.network.shape.to_dict()
    old_shape = shape.keys() <= SHAPE_OF_FORMAT_1
    return 1 if old_prior and old_shape and not _own(model) else 2


def _own(model: Model) -> dict[str, object]:
    """Return what only some models have, as `model.json` says it."""
    said = {
        "rows": None if model.rows is None else model.rows.to_dict(),
        "mapping": model.mapping or None,
        "masses": model.masses,
    }
    return {name: value for name, value in said.items() if value is not None}


def read_description(folder: Path) -> dict:
    """Return the contents of `model.json`.

    Raises:
        UserError: it is missing, unreadable, incomplete, or of a newer format.
    """
    path = folder / "model.json"
    if not path.is_file():
        raise UserError(f"{folder} is not a model folder: it has no model.json")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        newest = int(description["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a model description ({error!r})") from error
    if newest > FORMAT:
        raise UserError(f"{path} has format {newest}; update flashschnet-lab, which knows {FORMAT}")
    if missing := [key for key in KEYS if key not in description]:
        raise UserError(f"{path} is not a model description: it lacks {', '.join(missing)}")
    return description


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
