"""What options of the command line may be, and how they are read."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from flashschnet_lab.errors import UserError

if TYPE_CHECKING:
    from flashschnet_kernels.plan import KernelPlan


class Integrator(str, Enum):
    """Names of the integrators, as the help lists them."""

    langevin = "langevin"
    verlet = "verlet"
    brownian = "brownian"


class Mapping(str, Enum):
    """Names of the mappings."""

    five_bead = "five_bead"
    ca = "ca"


class Shape(str, Enum):
    """Shapes of a chain that is built from its sequence."""

    extended = "extended"
    helix = "helix"


class Stage(str, Enum):
    """What a measurement times."""

    force = "force"
    step = "step"


class Precision(str, Enum):
    """What can be measured."""

    float32 = "float32"
    tf32 = "tf32"
    float64 = "float64"


class TableClass(str, Enum):
    """Precision classes of tables of filters."""

    exact = "exact"
    balanced = "balanced"
    fast = "fast"
    all = "all"


class StructureFormat(str, Enum):
    """Formats in which the PDB gives its structures."""

    cif = "cif"
    pdb = "pdb"


class Dtype(str, Enum):
    """Floating-point types of the state."""

    float32 = "float32"
    float64 = "float64"


def plan_named(name: str, device: str | None) -> KernelPlan:
    """Return the plan of a name for a device.

    Raises:
        UserError: no such plan, or none that runs there.
    """
    from flashschnet_lab.devices import resolve_device
    from flashschnet_lab.system import as_plan

    return as_plan(name, resolve_device(device).type)


def renames(pairs: list[str]) -> dict[str, str]:
    """Return residue names {"LRT": "LYS"} from ["LRT=LYS"].

    Raises:
        UserError: a pair that reads otherwise.
    """
    found = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not (old and equals and new):
            raise UserError(f"--rename {pair!r} should read like LRT=LYS")
        found[old.upper()] = new.upper()
    return found
