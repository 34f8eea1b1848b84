"""Imports graph networks of TorchMD-Net 0.2.0: the C-alpha models of Majewski et al. (2023).

The network sees pairs between a lower and an upper cutoff; its envelope on the filters is a hump
between the two, the one in the basis falls from 0 to the upper cutoff. Sources: Majewski et al.,
Nature Communications 14, 5739 (2023); github.com/torchmd/torchmd-net.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flashschnet_lab.checkpoints.embedding_maps import TORCHMD, named_map
from flashschnet_lab.checkpoints.imported import Imported, unsupported
from flashschnet_lab.checkpoints.mlcg_names import renamed
from flashschnet_lab.checkpoints.pickle_machine import Instance
from flashschnet_lab.checkpoints.torchmd_priors import read_torchmd_priors
from flashschnet_lab.checkpoints.weights import describe, network_from
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.bead_rows import BeadRows
from flashschnet_lab.proteins.residues import CA_ONLY
from flashschnet_lab.system import Model

_TO_OURS = (
    (r"representation_model\.embedding\.weight", r"embedding.weight"),
    (r"representation_model\.distance_expansion\.means", r"radial_basis.centres"),
    (r"representation_model\.distance_expansion\.betas", r"radial_basis.betas"),
    (
        r"representation_model\.interactions\.(\d+)\.conv\.lin1\.weight",
        r"blocks.\1.to_channels.weight",
    ),
    (
        r"representation_model\.interactions\.(\d+)\.conv\.lin2\.(weight|bias)",
        r"blocks.\1.update.0.\2",
    ),
    (
        r"representation_model\.interactions\.(\d+)\.conv\.net\.([02])\.(weight|bias)",
        r"blocks.\1.filter_network.\2.\3",
    ),
    (r"representation_model\.interactions\.(\d+)\.lin\.(weight|bias)", r"blocks.\1.update.2.\2"),
    (r"output_model\.output_network\.(\d+)\.(weight|bias)", r"output.\1.\2"),
)
_NEEDED = {
    "model": "graph-network",
    "rbf_type": "expnorm",
    "activation": "tanh",
    "output_model": "Scalar",
    "prior_model": None,
    "neighbor_embedding": False,
    "atom_filter": -1,
    "reduce_op": "add",
    "aggr": "add",
    "standardize": False,
    "derivative": True,
}
"""Hyper-parameters that must have one value, where a checkpoint has them."""
_EMBEDDING = "representation_model.embedding.weight"


def is_torchmd(value: Any) -> bool:
    """Tell whether a file's content is a checkpoint of TorchMD-Net."""
    if not isinstance(value, dict) or not isinstance(value.get("state_dict"), dict):
        return False
    return any(str(name).endswith(_EMBEDDING) for name in value["state_dict"])


def import_torchmd(
    value: dict, path: Path, *, prior: Path | None = None, embedding: str | None = None
) -> Imported:
    """Return a graph network of TorchMD-Net as our model of C-alpha beads.

    Args:
        value: content of the file, as `read_torch_file` returns it.
        path: of the file, for names and errors.
        prior: YAML file of the force field that the network was trained on top of.
        embedding: name or file of the numbering of residues. Default: the one that the checkpoint
            itself shows, see `find_rows`.

    Raises:
        UserError: anything that cannot be taken over, by name, or a numbering that must be said.
    """
    parameters = _parameters(value, path)
    state = _state(value["state_dict"])
    problems = [
        f"{name} {parameters[name]!r} (only {needed!r})"
        for name, needed in _NEEDED.items()
        if name in parameters and parameters[name] != needed
    ]
    mean, std = state.pop("mean", torch.tensor(0.0)), state.pop("std", torch.tensor(1.0))
    if mean.numel() != 1 or std.numel() != 1 or float(mean) != 0.0 or float(std) != 1.0:
        problems.append("energies that are scaled (mean and std)")
    if missing := [name for name in ("cutoff_lower", "cutoff_upper") if name not in parameters]:
        problems.append(f"hyper-parameters without {', '.join(missing)}")
    if problems:
        raise unsupported(f"{path}", problems)
    network = network_from(
        renamed(_without_copies(state, path), _TO_OURS, "TorchMD-Net's graph network"),
        path,
        radial_basis="exp_normal",
        cutoff=float(parameters["cutoff_upper"]),
        cutoff_lower=float(parameters["cutoff_lower"]),
    )
    trained = trained_rows(value, network.embedding.weight)
    rows, found = find_rows(trained, embedding, path)
    came, left = [describe(network), f"residues by the numbering {found}"], []
    if trained is not None:
        known = {name for rows_ in TORCHMD.values() for name in rows_.residues}
        if lacking := sorted(known - rows.residues.keys()):
            left.append(f"no row was trained for {', '.join(lacking)}: such proteins are refused")
    most = parameters.get("max_num_neighbors")
    if isinstance(most, int):
        left.append(f"max_num_neighbors {most}: here a bead always sees all its neighbours")
    table, masses = None, None
    if prior is None:
        left.append("no priors: add them with --prior FILE.yaml, or the chain will fall apart")
        left.append("masses are not in the file (they come with --prior): ours are used")
    else:
        table, masses, notes = read_torchmd_priors(prior)
        came.append(
            f"priors of {prior.name}: {len(table.bonds)} bonds, {len(table.dihedrals)} dihedrals, "
            "repulsion of all beads but direct neighbours"
        )
        came.append(f"masses CA {masses['CA']:g}")
        left += notes
    model = Model(
        name=f"{path.stem} (TorchMD-Net)",
        prior=table,
        network=network,
        network_types="by_residue",
        rows=rows,
        mapping=CA_ONLY,
        masses=masses,
    )
    return Imported(model, tuple(came), tuple(left))


def find_rows(
    trained: frozenset[int] | None, embedding: str | None, path: Path
) -> tuple[BeadRows, str]:
    """Return the rows of residues, and what their numbering is called.

    Two numberings of such models exist, and the wrong one gives wrong energies without any error.
    The optimiser's state shows which rows ever moved: a numbering that does not use one of them is
    wrong. Residues whose row never moved have none. Where several numberings are left, they are
    taken only if they agree on all rows that moved.

    Args:
        trained: rows that moved, or None if the file does not show it.
        embedding: a name of `TORCHMD`, a JSON file, or None.
        path: of the checkpoint, for errors.

    Raises:
        UserError: the numbering cannot be known, or the one that was said cannot be right.
    """
    names = ", ".join(TORCHMD)
    if embedding is not None:
        rows = named_map(embedding, TORCHMD)
        unused = sorted((trained or frozenset()) - set(rows.residues.values()))
        if unused:
            raise UserError(
                f"--embedding {embedding} cannot be right: rows {unused} of {path} were trained, "
                "but it gives them to no residue"
            )
        return _restricted(rows, trained), embedding
    if trained is None:
        raise UserError(
            f"{path} does not show which residue has which row of the embedding (it holds no state "
            f"of the optimiser), and a wrong numbering gives wrong energies: say it with "
            f"--embedding NAME, one of {names}, or a JSON file of rows by residue"
        )
    left = {n: rows for n, rows in TORCHMD.items() if trained <= set(rows.residues.values())}
    restricted = {name: _restricted(rows, trained) for name, rows in left.items()}
    if not left:
        raise UserError(
            f"the rows {sorted(trained)} of {path} were trained, which is none of the numberings "
            f"{names}: say it with --embedding FILE.json, rows by residue"
        )
    first = next(iter(restricted.values()))
    if any(rows != first for rows in restricted.values()):
        raise UserError(
            f"the rows that were trained in {path} fit several numberings: say which with "
            f"--embedding, one of {', '.join(left)}"
        )
    said = "found by the rows that were trained" if len(left) == 1 else "which agree on its rows"
    return first, f"{' and '.join(left)} ({said})"


def trained_rows(value: dict, weight: Tensor) -> frozenset[int] | None:
    """Return the rows of the embedding that training ever moved, or None if it is not shown.

    Adam keeps a mean square of every gradient: that of a row that no bead ever took is zero.
    """
    states = value.get("optimizer_states")
    if not isinstance(states, list) or len(states) != 1 or not isinstance(states[0], dict):
        return None
    entries = states[0].get("state")
    found = [
        squares
        for entry in (entries.values() if isinstance(entries, dict) else ())
        if isinstance(entry, dict)
        and isinstance(squares := entry.get("exp_avg_sq"), Tensor)
        and squares.shape == weight.shape
    ]
    if len(found) != 1:
        return None
    rows = found[0].abs().sum(1).nonzero()[:, 0].tolist()
    return frozenset(rows) if rows else None


def _restricted(rows: BeadRows, trained: frozenset[int] | None) -> BeadRows:
    """Return the rows without those that were never trained."""
    if trained is None:
        return rows
    return BeadRows({name: row for name, row in rows.residues.items() if row in trained})


def _parameters(value: dict, path: Path) -> dict[str, Any]:
    """Return the hyper-parameters of a checkpoint."""
    found = value.get("hyper_parameters")
    if isinstance(found, Instance) and found.cls.name == argparse.Namespace.__name__:
        found = found.attributes
    if not isinstance(found, dict):
        raise UserError(f"{path} has no hyper-parameters, which say the cutoffs of its network")
    return found


def _state(state: dict) -> dict[str, Tensor]:
    """Return the weights by name, without what stands before all names."""
    tensors = {str(k): v for k, v in state.items() if isinstance(v, Tensor)}
    start = next(k for k in tensors if k.endswith(_EMBEDDING)).removesuffix(_EMBEDDING)
    return {k.removeprefix(start): v for k, v in tensors.items()}


def _without_copies(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the weights without those that TorchMD-Net lists twice.

    Raises:
        UserError: the two are not the same.
    """
    kept = {}
    for name, tensor in state.items():
        twin = name.replace(".mlp.", ".conv.net.")
        if ".mlp." not in name:
            kept[name] = tensor
        elif twin not in state or not torch.equal(state[twin], tensor):
            raise UserError(f"{path}: {name} and {twin} should be the same weights")
    return kept
