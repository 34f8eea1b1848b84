"""Which implementation of each operator runs: an explicit value, never the environment."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, fields

import torch


@dataclass(frozen=True)
class KernelPlan:
    """The implementation of every operator of a simulation step.

    The default runs every operator as its plain PyTorch reference, on any device.

    Raises:
        ValueError: an implementation that does not exist, with those that do.
    """

    neighbors: str = "reference"
    radial_basis: str = "reference"
    message_passing: str = "reference"
    aggregation: str = "reference"
    priors: str = "reference"
    langevin: str = "reference"

    def __post_init__(self) -> None:
        for field in fields(self):
            chosen, known = getattr(self, field.name), IMPLEMENTATIONS[field.name]
            if chosen not in known:
                raise ValueError(
                    f"operator {field.name} has no implementation {chosen!r}; it has "
                    f"{', '.join(known)}"
                )

    @property
    def name(self) -> str:
        """The short name that the command line takes and measurements record."""
        for name, plan in PLANS.items():
            if self == plan:
                return name
        chosen = {f.name: getattr(self, f.name) for f in fields(self)}
        changed = [f"{name}={c}" for name, c in chosen.items() if c != "reference"]
        return ",".join(changed)

    def explain(self) -> str:
        """Return one line per operator: what runs, why, and whether it repeats to the bit."""
        lines = []
        for field in fields(self):
            implementation = IMPLEMENTATIONS[field.name][getattr(self, field.name)]
            lines.append(
                f"{field.name:<16} {getattr(self, field.name):<10} {implementation.reason}; "
                f"{implementation.determinism}"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class Implementation:
    """What an implementation is for, and its determinism class."""

    reason: str
    determinism: str
    needs_triton: bool = False


@dataclass(frozen=True)
class Availability:
    """Whether one implementation can run on a device, and if not, what is missing."""

    operator: str
    implementation: str
    usable: bool
    reason: str


_EXACT = "same bits every run"
_SCATTER = "same bits every run on a CPU; on a GPU only with deterministic=True"

IMPLEMENTATIONS: dict[str, dict[str, Implementation]] = {
    "neighbors": {"reference": Implementation("all pairs of a molecule, any device", _EXACT)},
    "radial_basis": {"reference": Implementation("plain PyTorch, any device", _EXACT)},
    "message_passing": {
        "reference": Implementation("each unordered pair once", _SCATTER),
        "edge_list": Implementation("two directed edges per pair, as CGSchNet", _SCATTER),
    },
    "aggregation": {"reference": Implementation("index_add", _SCATTER)},
    "priors": {"reference": Implementation("autograd over all terms", _SCATTER)},
    "langevin": {"reference": Implementation("Philox counter streams", _EXACT)},
}


PLANS = {"reference": KernelPlan(), "baseline": KernelPlan(message_passing="edge_list")}
"""The plans that have a name: the default, and the CGSchNet baseline that all are compared with."""


def parse_plan(text: str) -> KernelPlan:
    """Return the plan named `text`.

    Raises:
        ValueError: an unknown name, with the known ones.
    """
    if text not in PLANS:
        raise ValueError(f"unknown plan {text!r}; known: {', '.join(PLANS)}")
    return PLANS[text]


def available(device: torch.device) -> list[Availability]:
    """Return, for every implementation of every operator, whether it can run on `device`."""
    has_triton = importlib.util.find_spec("triton") is not None
    rows = []
    for operator, implementations in IMPLEMENTATIONS.items():
        for name, implementation in implementations.items():
            reason = implementation.reason
            usable = not implementation.needs_triton or (has_triton and device.type == "cuda")
            if not usable:
                reason = "needs a GPU" if has_triton else "needs triton: pip install triton"
            rows.append(Availability(operator, name, usable, reason))
    return rows
