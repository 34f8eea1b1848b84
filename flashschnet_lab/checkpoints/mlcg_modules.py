"""Reads modules out of mlcg's files: what stands where, as inert instances or as a configuration.

A model of mlcg comes as pickled modules (`model_and_prior.pt`), or as a checkpoint of Lightning
with weights by name and hyper-parameters, which are again pickled modules, or the command line's
configuration: {"class_path": "mlcg.nn.StandardSchNet", "init_args": {...}}. `Module` reads both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from flashschnet_lab.checkpoints.pickle_machine import Instance

DEEPEST = 32


@dataclass(frozen=True)
class Module:
    """One module: an inert instance, or its part of a configuration.

    Attributes:
        source: the `Instance`, or the dictionary with class_path and init_args.
    """

    source: Any

    @staticmethod
    def is_one(value: Any) -> bool:
        """Tell whether a value describes a module."""
        if isinstance(value, dict):
            return isinstance(value.get("class_path"), str)
        return isinstance(value, Instance)

    @property
    def name(self) -> str:
        """Name of its class, without its module."""
        if isinstance(self.source, Instance):
            return self.source.cls.name
        return str(self.source["class_path"]).rpartition(".")[2]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value or a `Module` that it has under a name."""
        found = self._values().get(name, default)
        return Module(found) if Module.is_one(found) else found

    def children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules inside, by name, in order."""
        for name, value in self._values().items():
            if Module.is_one(value):
                yield name, Module(value)

    def tensors(self) -> dict[str, Tensor]:
        """Return its own parameters and buffers by name; none of a configuration."""
        if not isinstance(self.source, Instance):
            return {}
        found: dict[str, Tensor] = {}
        for part in ("_parameters", "_buffers"):
            values = self.source.attributes.get(part)
            if isinstance(values, dict):
                found.update({k: v for k, v in values.items() if isinstance(v, Tensor)})
        return found

    def state(self, prefix: str = "", depth: int = 0) -> dict[str, Tensor]:
        """Return all parameters and buffers inside under their dotted names."""
        found = {prefix + name: tensor for name, tensor in self.tensors().items()}
        if depth < DEEPEST:
            for name, child in self._modules():
                found.update(child.state(f"{prefix}{name}.", depth + 1))
        return found

    def modules(self, depth: int = 0) -> Iterator[Module]:
        """Yield itself and all modules inside."""
        yield self
        if depth < DEEPEST:
            for _, child in self._modules():
                yield from child.modules(depth + 1)

    def _modules(self) -> Iterator[tuple[str, Module]]:
        if isinstance(self.source, Instance):
            inside = self.source.attributes.get("_modules")
            for name, value in (inside if isinstance(inside, dict) else {}).items():
                if isinstance(name, str) and isinstance(value, Instance):
                    yield name, Module(value)
        else:
            yield from self.children()

    def _values(self) -> dict[str, Any]:
        if isinstance(self.source, Instance):
            inside = self.source.attributes.get("_modules")
            return {**self.source.attributes, **(inside if isinstance(inside, dict) else {})}
        values = self.source.get("init_args")
        return values if isinstance(values, dict) else {}
