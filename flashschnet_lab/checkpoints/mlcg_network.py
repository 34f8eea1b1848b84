"""mlcg's StandardSchNet as our SchNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from flashschnet_lab.checkpoints.imported import unsupported
from flashschnet_lab.checkpoints.mlcg_modules import Module
from flashschnet_lab.checkpoints.mlcg_names import to_ours
from flashschnet_lab.checkpoints.weights import is_rounded, network_from
from flashschnet_lab.potentials.schnet import SchNet

NETWORKS = ("StandardSchNet", "SchNet")
_BASES = {"ExpNormalBasis": "exp_normal", "GaussianBasis": "gaussian"}
_INSIDE = frozenset(
    "StandardSchNet SchNet Embedding ExpNormalBasis GaussianBasis CosineCutoff Sequential "
    "InteractionBlock CFConv MLP Linear Tanh SumAggregation".split()
)
"""Classes that a network may be made of."""


def take_network(module: Module, state: dict[str, Tensor], path: Path) -> tuple[SchNet, list[str]]:
    """Return the network that a module and its weights describe, and notes for people.

    Args:
        module: the StandardSchNet, as instance or configuration.
        state: its weights under mlcg's names.
        path: of the file, for errors.

    Raises:
        UserError: anything that our network cannot do, all of it named.
    """
    basis = module.get("rbf_layer")
    if not isinstance(basis, Module):
        raise unsupported(f"{path}", ["a network without rbf_layer"])
    rbf_lower, rbf_upper = _cutoffs(basis.get("cutoff"))
    lower, upper = _filter_cutoffs(module, (rbf_lower, rbf_upper))
    problems = _problems(module, basis)
    if (lower, upper) != (rbf_lower, rbf_upper):
        problems.append(
            f"different cutoffs of basis, {rbf_lower} to {rbf_upper} A, and filters, {lower} to "
            f"{upper} A"
        )
    if lower != 0.0:
        problems.append(f"a lower cutoff of {lower} A in a network of mlcg")
    if upper is None:
        problems.append("a cutoff that the file does not say")
    if problems:
        raise unsupported(f"{path}", problems)
    assert upper is not None
    alpha, notes = basis.get("alpha"), []
    if alpha is None and basis.name == "ExpNormalBasis":
        notes.append(f"alpha is not in the file: taken as mlcg's default, 5 / {upper:g} per A")
    most = module.get("max_num_neighbors")
    if isinstance(most, int):
        notes.append(f"max_num_neighbors {most}: here a bead always sees all its neighbours")
    if is_rounded(state):
        notes.append("weights were rounded to float32")
    network = network_from(
        to_ours(state),
        path,
        radial_basis=_BASES[basis.name],
        cutoff=upper,
        alpha=None if alpha is None or basis.name != "ExpNormalBasis" else float(alpha),
    )
    return network, notes


def _problems(module: Module, basis: Module) -> list[str]:
    """Return what a network has that ours cannot do."""
    problems = sorted({f"{m.name} in a network" for m in module.modules() if m.name not in _INSIDE})
    if basis.name not in _BASES and f"{basis.name} in a network" not in problems:
        problems.append(f"the radial basis {basis.name}")
    if module.get("self_interaction") is True:
        problems.append("self_interaction")
    activations = {"activation", "output_activation"}
    for name in activations:
        value = module.get(name)
        if isinstance(value, Module) and value.name != "Tanh":
            problems.append(f"{name} {value.name}")
    for inner in module.modules():
        aggregation = inner.get("aggr")
        if isinstance(aggregation, str) and aggregation != "add":
            problems.append(f"aggregation {aggregation!r}")
        if inner.name == "Embedding" and inner.get("max_norm") is not None:
            problems.append("an embedding with max_norm")
    return list(dict.fromkeys(problems))


def _cutoffs(value: Any) -> tuple[float, float | None]:
    """Return lower and upper cutoff of a cutoff module, or of a number."""
    if isinstance(value, Module):
        upper = value.get("cutoff_upper")
        return float(value.get("cutoff_lower", 0.0)), None if upper is None else float(upper)
    return 0.0, float(value) if isinstance(value, (int, float)) else None


def _filter_cutoffs(
    module: Module, default: tuple[float, float | None]
) -> tuple[float, float | None]:
    """Return the cutoffs of the filters: of a CFConv inside, of `cutoff`, or the basis's own."""
    convolutions = [m for m in module.modules() if m.name == "CFConv"]
    if convolutions:
        found = {_cutoffs(m.get("cutoff")) for m in convolutions}
        return found.pop() if len(found) == 1 else (float("nan"), None)
    own = module.get("cutoff")
    return default if own is None else _cutoffs(own)
