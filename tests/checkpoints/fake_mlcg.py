"""Files as mlcg would save them, made of classes of the same names; mlcg itself is not needed.

A pickle holds names and numbers of modules. These modules have mlcg's names, attributes and
weights, and no code; `torch.save` writes them as it would write the real ones.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_CLASSES = {
    "mlcg.nn.gradients": ("SumOut", "GradientsOut"),
    "mlcg.nn.schnet": ("StandardSchNet", "InteractionBlock", "CFConv", "AttentiveBlock"),
    "mlcg.nn.mlp": ("MLP",),
    "mlcg.nn.cutoff": ("CosineCutoff",),
    "mlcg.nn.radial_basis.exp_normal": ("ExpNormalBasis",),
    "mlcg.nn.radial_basis.gaussian": ("GaussianBasis",),
    "mlcg.nn.prior.harmonic": ("GeneralBonds", "GeneralAngles", "HarmonicImpropers"),
    "mlcg.nn.prior.fourier_series": ("Dihedral",),
    "mlcg.nn.prior.repulsion": ("Repulsion",),
    "mlcg.simulation.specialize_prior": ("StaticGeneralBonds", "StaticDihedral"),
}


def _make_classes() -> dict[str, type]:
    return {
        name: type(name, (nn.Module,), {"__module__": module})
        for module, names in _CLASSES.items()
        for name in names
    }


CLASSES = _make_classes()


class AtomicData:
    """A configuration; pickled as an object with attributes."""

    __module__ = "mlcg.data.atomic_data"

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


@contextmanager
def _importable() -> Iterator[None]:
    """Let pickle find the classes under mlcg's names while it writes."""
    names = {*_CLASSES, "mlcg.data.atomic_data"}
    parts = {".".join(n.split(".")[:k]) for n in names for k in range(1, n.count(".") + 2)}
    before = {name: sys.modules.get(name) for name in parts}
    try:
        for name in parts:
            sys.modules[name] = ModuleType(name)
        for module, classes in _CLASSES.items():
            for name in classes:
                setattr(sys.modules[module], name, CLASSES[name])
        sys.modules["mlcg.data.atomic_data"].AtomicData = AtomicData  # type: ignore[attr-defined]
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def save(value: Any, path: Path) -> Path:
    """Write a file as `torch.save` would with mlcg installed."""
    with _importable():
        torch.save(value, path)
    return path


def module(
    class_name: str, buffers: dict[str, Tensor] | None = None, **attributes: Any
) -> nn.Module:
    """Return a module of one of the classes with modules, buffers and values inside."""
    made = CLASSES[class_name]()
    for key, value in (buffers or {}).items():
        made.register_buffer(key, value)
    for key, value in attributes.items():
        setattr(made, key, value)
    return made


def cutoff(upper: float, lower: float = 0.0) -> nn.Module:
    """Return a CosineCutoff."""
    return module("CosineCutoff", cutoff_lower=lower, cutoff_upper=upper)


def basis(kind: str, upper: float, functions: int, alpha: float | None = None) -> nn.Module:
    """Return a radial basis with values as if they had been trained."""
    if kind == "gaussian":
        buffers = {
            "coeff": torch.tensor(-0.8),
            "offset": torch.linspace(0.0, upper, functions) + 0.01 * torch.rand(functions),
        }
        return module("GaussianBasis", buffers, cutoff=cutoff(upper), num_rbf=functions)
    buffers = {"means": torch.rand(functions), "betas": 3.0 + torch.rand(functions)}
    return module(
        "ExpNormalBasis", buffers, cutoff=cutoff(upper), num_rbf=functions, trainable=True,
        alpha=5.0 / upper if alpha is None else alpha,
    )  # fmt: skip


def mlp(*widths: int, last_bias: bool) -> nn.Module:
    """Return an MLP of linear layers with tanh between them."""
    layers: list[nn.Module] = []
    for number, (width, following) in enumerate(zip(widths, widths[1:], strict=False)):
        last = number == len(widths) - 2
        layers += [nn.Linear(width, following, bias=last_bias or not last), nn.Tanh()]
    return module("MLP", layers=nn.Sequential(*layers[:-1]))


def schnet(
    kind: str = "exp_normal",
    *,
    types: int = 25,
    upper: float = 9.0,
    activation: Any = None,
    **own: Any,
) -> nn.Module:
    """Return a StandardSchNet of two blocks, 8 features, 6 channels, 5 basis functions."""
    alpha = own.pop("alpha", None)

    def block() -> nn.Module:
        conv = module(
            "CFConv", aggr=own.get("aggr", "add"), cutoff=cutoff(upper),
            lin1=nn.Linear(8, 6, bias=False), lin2=nn.Linear(6, 8),
            filter_network=mlp(5, 6, 6, last_bias=False),
        )  # fmt: skip
        return module(
            "InteractionBlock", conv=conv, activation=activation or nn.Tanh(), lin=nn.Linear(8, 8)
        )

    return module(
        "StandardSchNet",
        embedding_layer=nn.Embedding(types, 8),
        rbf_layer=basis(kind, upper, 5, alpha),
        interaction_blocks=nn.Sequential(block(), block()),
        output_network=mlp(8, 7, 4, 1, last_bias=False),
        max_num_neighbors=1000,
        self_interaction=own.get("self_interaction", False),
    )


def out(name: str, inside: nn.Module) -> nn.Module:
    """Return a GradientsOut around a module."""
    return module("GradientsOut", name=name, targets=["forces"], model=inside)


def sum_out(**models: nn.Module) -> nn.Module:
    """Return a SumOut of modules by name."""
    inside = nn.ModuleDict({name: out(name, model) for name, model in models.items()})
    return module("SumOut", models=inside, targets=["energy", "forces"])


def table(size: int, entries: dict[tuple[int, ...], float], sparse: bool) -> Tensor:
    """Return a table of parameters over bead types, dense or sparse."""
    order = len(next(iter(entries)))
    dense = torch.zeros((size,) * order)
    for key, value in entries.items():
        dense[key] = value
    return dense.to_sparse() if sparse else dense


def configuration(types: list[int], **fields: Any) -> AtomicData:
    """Return a configuration with beads 3.8 A apart, in mlcg's units."""
    x = torch.zeros(len(types), 3)
    x[:, 0] = 3.8 * torch.arange(len(types))
    x[:, 1] = 1.5 * torch.from_numpy(np.arange(len(types)) % 2).float()
    values: dict[str, Any] = {
        "pos": x,
        "atom_types": torch.tensor(types),
        "masses": torch.full((len(types),), 12.0 / 418.4),
        "name": "small",
    }
    return AtomicData(**{**values, **fields})


def neighbours(index: list[list[int]]) -> dict[str, Any]:
    """Return a neighbour list of terms as mlcg has it."""
    return {"order": len(index[0]), "index_mapping": torch.tensor(index).T.contiguous()}
