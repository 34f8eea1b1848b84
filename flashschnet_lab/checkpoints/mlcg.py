"""Imports models of mlcg (CGSchNet, FlashMD): networks and priors, without running their code.

What may come: `model_and_prior.pt` (SumOut of a network and priors), the same specialised to a
molecule with its configurations, a network or priors alone, and checkpoints of Lightning.

Source: Charron et al., Nature Chemistry 17, 1284 (2025); github.com/ClementiGroup/mlcg.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from flashschnet_lab.checkpoints.embedding_maps import MLCG, named_map
from flashschnet_lab.checkpoints.imported import Imported, one_value, unsupported
from flashschnet_lab.checkpoints.mlcg_configurations import Configuration, configurations_of
from flashschnet_lab.checkpoints.mlcg_modules import Module
from flashschnet_lab.checkpoints.mlcg_network import NETWORKS, take_network
from flashschnet_lab.checkpoints.mlcg_priors import (
    PRIORS,
    is_specialised,
    take_priors,
    take_specialised,
)
from flashschnet_lab.checkpoints.pickle_machine import Instance
from flashschnet_lab.checkpoints.weights import describe
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.bead_rows import BeadRows
from flashschnet_lab.potentials.prior_table import FAMILIES, PriorTable
from flashschnet_lab.potentials.schnet import SchNet
from flashschnet_lab.proteins.residues import FIVE_BEAD
from flashschnet_lab.system import Model

_WRAPPERS = ("GradientsOut", "EnergyOut")
_SUMS = ("SumOut", "ModuleDict")


def is_mlcg(value: Any) -> bool:
    """Tell whether a file's content is a model of mlcg, or its priors."""
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return Module.is_one(value[0]) and bool(configurations_of(value[1]))
    if isinstance(value, dict):
        return _lightning_module(value) is not None
    return Module.is_one(value) and Module(value).name in {*_WRAPPERS, *_SUMS, *NETWORKS}


def import_mlcg(
    value: Any,
    path: Path,
    *,
    prior: Any = None,
    configurations: Sequence[Configuration] = (),
    embedding: str | None = None,
    mapping: str | None = None,
) -> Imported:
    """Return a model of mlcg as ours.

    Args:
        value: content of the file, as `read_torch_file` returns it.
        path: of the file, for names and errors.
        prior: content of a file of priors alone, for a checkpoint that has none.
        configurations: of molecules that the model is for: their masses are the model's, and their
            lists of terms are compared with ours.
        embedding: name or file of the numbering of residues; default mlcg's.
        mapping: "five_bead" or "ca", where the file does not say it.

    Raises:
        UserError: anything that cannot be taken over, by name.
    """
    if isinstance(value, (list, tuple)):
        value, configurations = value[0], [*configurations, *configurations_of(value[1])]
    module, state = _content(value, path)
    network_module, priors = _parts(module, path)
    if prior is not None:
        if priors:
            raise UserError(f"{path} has priors of its own; leave --prior out")
        priors = _parts(Module(prior), path)[1]
    came: list[str] = []
    network: SchNet | None = None
    left: list[str] = []
    if network_module is not None:
        weights = network_module.state() if state is None else _network_state(state, path)
        network, left = take_network(network_module, weights, path)
        came.append(describe(network))
    table, own, protein, only_for = None, None, None, ""
    if priors and is_specialised(priors):
        if not configurations:
            raise UserError(
                f"the priors of {path} are specialised to a molecule; name the file of its "
                "configurations with --configurations"
            )
        table, protein = take_specialised(priors, list(configurations))
        own, only_for = protein.mapping, protein.fingerprint()
        came.append(f"the molecule that the priors are for: {protein.sequence}, {own}")
    elif priors:
        table, own = take_priors(priors)
    if table is not None:
        came.append(_describe_priors(table, len(priors)))
    mapping = _mapping(path, own, configurations, mapping)
    if table is None:
        left.append("no priors in the file: add them with --prior, or the chain will fall apart")
    if protein is None and configurations:
        protein = configurations[0].protein()
    if table is not None and not only_for:
        for configuration in configurations:
            _compare_terms(configuration, table)
    rows = _rows(embedding, network, path)
    masses = _masses(configurations)
    came.append(f"residues by {embedding or 'the numbering of mlcg'}")
    came += [f"masses {', '.join(f'{k} {v:g}' for k, v in masses.items())}"] if masses else []
    if masses is None:
        left.append("masses are not in the file (they come with --configurations): ours are used")
    model = Model(
        name=f"{path.stem} (mlcg)",
        prior=table,
        network=network,
        network_types="five_bead" if rows is None else "by_residue",
        only_for=only_for,
        rows=rows,
        mapping=mapping,
        masses=masses,
    )
    return Imported(model, tuple(came), tuple(left), protein)


def _content(value: Any, path: Path) -> tuple[Module, dict[str, Tensor] | None]:
    """Return the module of a file, and its weights where they are apart."""
    if isinstance(value, dict):
        module = _lightning_module(value)
        state = value["state_dict"]
        if module is None or not isinstance(state, dict):
            raise UserError(f"{path} is no checkpoint of a model of mlcg")
        return module, {k: v for k, v in state.items() if isinstance(v, Tensor)}
    return Module(value), None


def _lightning_module(value: dict) -> Module | None:
    """Return the model of a checkpoint of Lightning, out of its hyper-parameters."""
    parameters = value.get("hyper_parameters")
    if isinstance(parameters, Instance):
        parameters = parameters.attributes
    if "state_dict" not in value or not isinstance(parameters, dict):
        return None
    model = parameters.get("model")
    return Module(model) if Module.is_one(model) else None


def _network_state(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the weights of the network alone, without what stands before their names."""
    marker = "embedding_layer.weight"
    prefixes = [name.removesuffix(marker) for name in state if name.endswith(marker)]
    if len(prefixes) != 1:
        raise unsupported(f"{path}", [f"{len(prefixes)} networks in one checkpoint"])
    found = {k: v for k, v in state.items() if k.startswith(prefixes[0])}
    return {k.removeprefix(prefixes[0]): v for k, v in found.items()}


def _parts(module: Module, path: Path) -> tuple[Module | None, dict[str, Module]]:
    """Return the network and the priors of a model.

    Raises:
        UserError: parts that are neither, all named, or more than one network.
    """
    if module.name == "SumOut":
        inner = module.get("models")
        if not isinstance(inner, Module):
            raise unsupported(f"{path}", ["a SumOut without models"])
        module = inner
    parts = dict(module.children()) if module.name in _SUMS else {module.name: module}
    networks: list[Module] = []
    priors: dict[str, Module] = {}
    problems = []
    for name, part in parts.items():
        inside = part.get("model") if part.name in _WRAPPERS else part
        if isinstance(inside, Module) and inside.name in NETWORKS:
            networks.append(inside)
        elif isinstance(inside, Module) and inside.name in PRIORS:
            priors[name] = inside
        else:
            kind = inside.name if isinstance(inside, Module) else part.name
            problems.append(f"{kind} (called {name})")
    if len(networks) > 1:
        problems.append(f"{len(networks)} networks in one model")
    if problems:
        raise unsupported(f"{path}", problems)
    return (networks[0] if networks else None), priors


def _mapping(
    path: Path, own: str | None, configurations: Sequence[Configuration], asked: str | None
) -> str:
    """Return the mapping of a model, which all that speak of it must agree on."""
    said = {
        name: mapping
        for name, mapping in (
            ("the priors", own),
            ("the configurations", configurations[0].mapping if configurations else None),
            ("--mapping", asked),
        )
        if mapping
    }
    if not said:
        raise UserError(
            f"{path} does not say how many beads a residue has; say it: --mapping five_bead or "
            "--mapping ca"
        )
    if len(set(said.values())) > 1:
        raise UserError(
            f"{path}: " + ", ".join(f"{name} say {mapping}" for name, mapping in said.items())
        )
    return next(iter(said.values()))


def _rows(embedding: str | None, network: SchNet | None, path: Path) -> BeadRows | None:
    if network is None:
        return None
    rows = MLCG if embedding is None else named_map(embedding, {"mlcg": MLCG})
    types = network.shape.types
    kept = {
        part: {k: v for k, v in names.items() if v < types}
        for part, names in rows.to_dict().items()
    }
    if not kept["residues"]:
        raise UserError(f"{path} has {types} rows of the embedding, none of them of a residue")
    return BeadRows.from_dict(kept)


def _masses(configurations: Sequence[Configuration]) -> dict[str, float] | None:
    """Return the mass of every kind of bead in dalton, rounded to what mlcg means by it."""
    found: dict[str, list[float]] = {}
    for configuration in configurations:
        if configuration.masses is not None:
            names = configuration.protein().bead_names
            for name, mass in zip(names, configuration.masses.tolist(), strict=True):
                found.setdefault(name, []).append(mass)
    masses = {name: one_value(np.array(values), "masses") for name, values in found.items()}
    return {name: round(mass, 4) for name, mass in masses.items()} or None


def _compare_terms(configuration: Configuration, table: PriorTable) -> None:
    """Refuse priors whose terms on a molecule are others than ours would be."""
    protein = configuration.protein()
    ours: dict[str, set[tuple[int, ...]]] = {}
    for family in table.rules.families:
        if family == "repulsion":
            ours[family] = {tuple(p) for p in table.rules.repulsion(protein).tolist()}
            continue
        index, names = table.rules.terms(family, protein)
        for beads, name in zip(index.tolist(), names, strict=True):
            term = name if protein.mapping == FIVE_BEAD else family
            ours.setdefault(term, set()).add(min(tuple(beads), tuple(beads[::-1])))
    different = []
    for name, index in configuration.terms.items():
        theirs = {min(tuple(b), tuple(b[::-1])) for b in index.tolist()}
        key = "repulsion" if name in ("non_bonded", "repulsion") else name
        if key == "SchNet":
            continue
        if theirs != ours.get(key, set()):
            different.append(f"{name} ({len(theirs)} terms, here {len(ours.get(key, set()))})")
    if different:
        other = f"other terms on {protein.name}: {', '.join(different)}"
        raise unsupported("these priors", [other])


def _describe_priors(table: PriorTable, modules: int) -> str:
    counts = {
        "bonds": len(table.bonds),
        "angles": len(table.angles),
        "dihedrals": len(table.dihedrals),
        "repulsion": int(np.count_nonzero(np.triu(table.sigma))),
    }
    parts = [f"{counts[family]} {family}" for family in FAMILIES if family in table.rules.families]
    return f"{modules} priors with parameters of {', '.join(parts)}"
