"""Which implementation of each operator runs: an explicit value, never the environment."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, fields, replace
from functools import cache

import torch

from flashschnet_kernels.implementations import IMPLEMENTATIONS


@dataclass(frozen=True)
class KernelPlan:
    """The implementation of every operator of a simulation step.

    The default runs every operator as its plain PyTorch reference, on any device. `PLANS` and
    `parse_plan` make the others; a plan is made for a kind of device, "cpu" or "cuda".

    Raises:
        ValueError: an implementation that does not exist, or two that do not work together, with
            what to choose instead.
    """

    neighbors: str = "reference"
    radial_basis: str = "reference"
    filters: str = "network"
    message_passing: str = "reference"
    aggregation: str = "reference"
    nodes: str = "reference"
    quantization: str = "none"
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
        self._check_neighbors()
        if self.fused and self.radial_basis != "reference":
            raise ValueError(
                f"message_passing={self.message_passing} computes the radial basis itself; leave "
                "radial_basis=reference"
            )
        self._check_table()

    def _check_table(self) -> None:
        """Refuse a table of filters, or fused bead work, beside what cannot use it."""
        if self.tabulated and self.radial_basis != "reference":
            raise ValueError(
                f"filters={self.filters} needs no radial basis; leave radial_basis=reference"
            )
        if self.tabulated and self.message_passing == "edge_list":
            raise ValueError(
                f"filters={self.filters} goes with message_passing=reference, triton or cpu"
            )
        if self.tabulated and self.message_passing == "cpu" and self.nodes != "cpu":
            raise ValueError(
                f"filters={self.filters} with message_passing=cpu is one compiled call for the "
                "whole network; it needs nodes=cpu, or message_passing=reference"
            )
        if self.nodes == "reference":
            return
        if not self.tabulated or self.message_passing != self.nodes:
            raise ValueError(
                f"nodes={self.nodes} works between sums over a table of filters; it needs "
                f"filters=table-exact, table-balanced or table-fast, and "
                f"message_passing={self.nodes}"
            )
        if self.quantization not in ("none", "fp16") or (
            self.quantization != "none" and self.nodes == "cpu"
        ):
            raise ValueError(
                f"nodes={self.nodes} cannot work with quantization={self.quantization}; use none"
                + (" or fp16" if self.nodes == "triton" else "")
            )

    def _check_neighbors(self) -> None:
        """Refuse lists that an operator cannot read."""
        needed = None
        if self.message_passing == "triton":
            needed = "tiles"
        elif self.message_passing == "cpu" or self.aggregation != "reference":
            needed = "verlet"
        if needed and self.neighbors != needed:
            raise ValueError(
                f"message_passing={self.message_passing} with aggregation={self.aggregation} reads "
                f"neighbors={needed}, not {self.neighbors}"
            )
        if self.neighbors == "tiles" and needed != "tiles":
            raise ValueError("neighbors=tiles is read by message_passing=triton alone")
        if self.neighbors == "verlet" and self.message_passing == "reference":
            raise ValueError(
                "message_passing=reference reads unordered pairs, and neighbors=verlet lists edges "
                "in both directions; use message_passing=edge_list"
            )

    @property
    def fused(self) -> bool:
        """Whether the convolution is one pass that keeps nothing per pair and feature."""
        return self.message_passing in ("triton", "cpu")

    @property
    def tabulated(self) -> bool:
        """Whether filters come from a table instead of the filter network."""
        return self.filters != "network"

    @property
    def table_class(self) -> str:
        """The precision class of the table of filters, or nothing without one."""
        return self.filters.removeprefix("table-") if self.tabulated else ""

    @property
    def atomic(self) -> bool:
        """Whether sums on a GPU are made atomically, so that last bits change from run to run."""
        adds = "triton" in (self.message_passing, self.radial_basis)
        return adds and self.aggregation == "reference"

    @property
    def switches(self) -> tuple[str, ...]:
        """The flash techniques that are on, in the order of `SWITCHES`."""
        on = {
            "radial_basis": self.radial_basis != "reference",
            "message_passing": self.fused,
            "aggregation": self.aggregation != "reference",
            "quantization": self.quantization != "none",
        }
        return tuple(switch for switch in SWITCHES if on[switch])

    @property
    def name(self) -> str:
        """The short name that the command line takes and measurements record."""
        if self in _names():
            return _names()[self]
        chosen = {f.name: getattr(self, f.name) for f in fields(self)}
        changed = [f"{name}={c}" for name, c in chosen.items() if c != getattr(REFERENCE, name)]
        return ",".join(changed)

    def explain(self) -> str:
        """Return one line per operator: what runs, why, and whether it repeats to the bit."""
        lines = []
        for field in fields(self):
            implementation = IMPLEMENTATIONS[field.name][getattr(self, field.name)]
            reason, determinism = implementation.reason, implementation.determinism
            if field.name == "radial_basis" and self.fused:
                reason, determinism = "inside message_passing, in the same pass", _SAME
            if field.name == "radial_basis" and self.tabulated:
                reason, determinism = "inside the table of filters", _SAME
            if field.name == "aggregation" and self.message_passing == "triton":
                reason = "atomic adds" if self.atomic else "partial sums per tile, in fixed order"
                determinism = "last bits change from run to run" if self.atomic else _SAME
            if field.name == "aggregation" and self.message_passing == "cpu":
                how = "in a fixed order" if self.tabulated else "index_add, serial"
                reason, determinism = f"inside message_passing, {how}", _SAME
            if field.name == "message_passing" and self.atomic:
                determinism = "last bits change from run to run"
            lines.append(
                f"{field.name:<16} {getattr(self, field.name):<14} {reason}; {determinism}"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class Availability:
    """Whether one implementation can run on a device, and if not, what is missing."""

    operator: str
    implementation: str
    usable: bool
    reason: str


_SAME = "same bits every run"
DEVICES = ("cuda", "cpu")
SWITCHES = ("radial_basis", "message_passing", "aggregation", "quantization")
"""The four techniques of FlashSchNet, in the order of the ladder."""

LADDER = (
    "baseline",
    *SWITCHES,
    "radial_basis,aggregation",
    "flash-float32",
    "flash",
    "exact",
    "balanced",
    "fast",
)
"""What `flashschnet bench --ladder` compares: the baseline, each switch alone, and together; then
tables of filters."""

REFERENCE = KernelPlan()
BASELINE = KernelPlan(message_passing="edge_list")
PLANS = {"reference": REFERENCE, "baseline": BASELINE}
"""Plans for any device: the definition, and the CGSchNet baseline that all are compared with."""


FLASH = {"flash": "fp16", "flash-float32": "none", "flash-bf16": "bf16"}
"""Plans with everything fused, for a kind of device, and their quantisation."""


def switched(switches: tuple[str, ...], device_type: str) -> KernelPlan:
    """Return the CGSchNet baseline with some of `SWITCHES` turned on, for "cpu" or "cuda".

    Inside the fused convolution the radial basis is fused already: with message_passing on, the
    switch radial_basis changes nothing.
    """
    fast = "triton" if device_type == "cuda" else "cpu"
    plan = BASELINE
    if "quantization" in switches:
        plan = replace(plan, quantization="fp16")
    if "message_passing" in switches:
        plan = replace(
            plan,
            message_passing=fast,
            neighbors="tiles" if fast == "triton" else "verlet",
            aggregation="reference",
        )
    elif "radial_basis" in switches:
        plan = replace(plan, radial_basis=fast)
    if "aggregation" in switches:
        neighbors = plan.neighbors if plan.fused else "verlet"
        plan = replace(plan, aggregation=fast, neighbors=neighbors)
    return plan


def flash(device_type: str, quantization: str = "none") -> KernelPlan:
    """Return the plan with radial basis, message passing and aggregation fused, and the priors.

    Args:
        device_type: "cpu" or "cuda".
        quantization: "none" keeps float32 precision; "fp16" is the fourth technique, and the plan
            that is called `flash`.
    """
    plan = switched(SWITCHES[:3], device_type)
    priors = "triton" if device_type == "cuda" else "reference"
    return replace(plan, quantization=quantization, priors=priors)


PRECISION_CLASSES = ("exact", "balanced", "fast")
"""Plans past the paper, by what they promise of the force error: 1e-5, 1e-4, 3e-3."""


def tabulated(device_type: str, precision_class: str) -> KernelPlan:
    """Return the plan with filters from a table and everything of a step fused.

    Args:
        device_type: "cpu" or "cuda".
        precision_class: one of `PRECISION_CLASSES`. On a GPU, "fast" reads filters and works on
            beads in 16 bit.
    """
    fast = "triton" if device_type == "cuda" else "cpu"
    half = fast == "triton" and precision_class == "fast"
    return replace(
        switched(SWITCHES[:3], device_type),
        filters=f"table-{precision_class}",
        nodes=fast,
        quantization="fp16" if half else "none",
        priors=fast,
        langevin=fast,
    )


def default_plan(device_type: str, dtype: torch.dtype = torch.float32) -> KernelPlan:
    """Return the plan of a simulation that names none: the fastest that keeps float32 exact.

    Where its kernels are not installed, or do not exist in this dtype, it is the reference.
    """
    if dtype == torch.float32:
        plan = tabulated(device_type, "exact")
    elif device_type == "cuda":
        return REFERENCE
    else:
        plan = flash(device_type)
    try:
        check_usable(plan, torch.device(device_type))
    except ValueError:
        return REFERENCE
    return plan


def parse_plan(text: str, device_type: str = "cpu") -> KernelPlan:
    """Return the plan that a text describes, for a kind of device.

    Args:
        text: "reference", "baseline", "flash" (all four techniques), "flash-float32" (all but
            quantisation), "flash-bf16", or "exact", "balanced" or "fast" (tables of filters). Or a
            list of what is switched on: techniques ("radial_basis", "aggregation", ...), "fp16" or
            "bf16" for the quantisation, and "operator=implementation" for a single operator, which
            may change one of the plans above: "exact,langevin=reference".
        device_type: "cpu" or "cuda".

    Raises:
        ValueError: an unknown word, with the known ones.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise ValueError("an empty plan; use 'reference'")
    base = _plan_named(words[0], device_type)
    switches = [] if base else [word for word in words if word in SWITCHES]
    rest = [word for word in words[1 if base else 0 :] if word not in switches]
    changes: dict[str, str] = {}
    for word in rest:
        operator, equals, implementation = word.partition("=")
        if word in ("fp16", "bf16"):
            changes["quantization"] = word
        elif equals and operator in IMPLEMENTATIONS:
            changes[operator] = implementation
        else:
            raise ValueError(
                f"unknown plan {word!r}; known: {', '.join((*PLANS, *FLASH, *PRECISION_CLASSES))}, "
                f"or a list of {', '.join(SWITCHES)}, fp16, bf16, operator=implementation"
            )
    if base is None:
        # The default of a list is the baseline, that of single operators the reference.
        single = not switches and any("=" in word for word in rest)
        base = REFERENCE if single else switched(tuple(switches), device_type)
    return replace(base, **changes)


def _plan_named(name: str, device_type: str) -> KernelPlan | None:
    """Return the plan with a name of its own, or None."""
    if name in PLANS:
        return PLANS[name]
    if name in FLASH:
        return flash(device_type, FLASH[name])
    return tabulated(device_type, name) if name in PRECISION_CLASSES else None


@cache
def _names() -> dict[KernelPlan, str]:
    """Return the names that are shorter than a list of all that a plan changes."""
    names = {plan: name for name, plan in PLANS.items()}
    for device in DEVICES:
        for name in (*FLASH, *PRECISION_CLASSES):
            plan = _plan_named(name, device)
            assert plan is not None
            names.setdefault(plan, name)
        for switches in _subsets():
            names.setdefault(switched(switches, device), ",".join(switches))
            if "quantization" in switches:
                coarse = replace(switched(switches, device), quantization="bf16")
                words = (s if s != "quantization" else "bf16" for s in switches)
                names.setdefault(coarse, ",".join(words))
    return names


def available(device: torch.device) -> list[Availability]:
    """Return, for every implementation of every operator, whether it can run on `device`."""
    rows = []
    for operator, implementations in IMPLEMENTATIONS.items():
        for name, implementation in implementations.items():
            missing = _missing(name, implementation.needs, device)
            rows.append(Availability(operator, name, not missing, missing or implementation.reason))
    return rows


def check_usable(plan: KernelPlan, device: torch.device) -> None:
    """Refuse a plan that cannot run on a device.

    Raises:
        ValueError: the operator, what is missing, and what to do.
    """
    for field in fields(plan):
        name = getattr(plan, field.name)
        missing = _missing(name, IMPLEMENTATIONS[field.name][name].needs, device)
        if missing:
            raise ValueError(f"{field.name}={name} cannot run on {device.type}: {missing}")


def _missing(name: str, needs: str, device: torch.device) -> str:
    """Return what an implementation lacks on a device, or nothing."""
    if name == "verlet":  # one name for what is compiled for either kind of device
        needs = "triton" if device.type == "cuda" else "numba"
    if needs == "triton":
        if importlib.util.find_spec("triton") is None:
            return "needs triton: pip install triton (Linux)"
        if device.type != "cuda" and not _interpreting():
            return "needs a GPU; the plans exact and flash-float32 are for a CPU too"
    if needs == "numba":
        if device.type != "cpu":
            return "works on a CPU; the plans exact and flash-float32 are for a GPU too"
        if importlib.util.find_spec("numba") is None:
            return "needs numba: pip install numba"
    if needs == "cpu" and device.type != "cpu":
        return "works on a CPU; the plans exact and flash-float32 are for a GPU too"
    return ""


def _interpreting() -> bool:
    """Whether Triton was imported to interpret its kernels, as tests and puzzles do."""
    import triton

    return bool(triton.knobs.runtime.interpret)


def _subsets() -> list[tuple[str, ...]]:
    """Return every choice of switches, the shortest first."""
    choices = [
        tuple(s for s, on in zip(SWITCHES, f"{bits:04b}", strict=True) if on == "1")
        for bits in range(1, 16)
    ]
    return sorted(choices, key=len)
