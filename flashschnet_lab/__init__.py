"""FlashSchNet Lab: simulate proteins with coarse-grained SchNet potentials, and see why it is fast.

    import flashschnet_lab as fl
    simulation = fl.Simulation(fl.load_system("chignolin"), replicas=4)
    simulation.run(1000)

Names are loaded when they are first used, so that importing the package is quick and needs neither
a GPU, nor Jupyter, nor a display.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flashschnet_kernels.plan import KernelPlan as KernelPlan
    from flashschnet_lab.analysis.structure import radius_of_gyration as radius_of_gyration
    from flashschnet_lab.analysis.structure import rmsd as rmsd
    from flashschnet_lab.checkpoints.native import load_model as load_model
    from flashschnet_lab.checkpoints.native import save_model as save_model
    from flashschnet_lab.errors import UserError as UserError
    from flashschnet_lab.loading import load_sequence as load_sequence
    from flashschnet_lab.loading import load_system as load_system
    from flashschnet_lab.loading import structure_based_model as structure_based_model
    from flashschnet_lab.potentials.schnet import SchNet as SchNet
    from flashschnet_lab.potentials.schnet import SchNetShape as SchNetShape
    from flashschnet_lab.proteins.builder import build_chain as build_chain
    from flashschnet_lab.proteins.embedded import embedded_names as embedded_names
    from flashschnet_lab.proteins.mapping import read_protein as read_protein
    from flashschnet_lab.simulation.engine import Simulation as Simulation
    from flashschnet_lab.simulation.restart import restore as restore
    from flashschnet_lab.simulation.restart import save_checkpoint as save_checkpoint
    from flashschnet_lab.simulation.store import open_trajectory as open_trajectory
    from flashschnet_lab.system import Model as Model
    from flashschnet_lab.system import System as System
    from flashschnet_lab.system import build_force_field as build_force_field

__version__ = "0.1.0"

_HOMES = {
    "KernelPlan": "flashschnet_kernels.plan",
    "Model": "flashschnet_lab.system",
    "SchNet": "flashschnet_lab.potentials.schnet",
    "SchNetShape": "flashschnet_lab.potentials.schnet",
    "Simulation": "flashschnet_lab.simulation.engine",
    "System": "flashschnet_lab.system",
    "UserError": "flashschnet_lab.errors",
    "build_chain": "flashschnet_lab.proteins.builder",
    "build_force_field": "flashschnet_lab.system",
    "embedded_names": "flashschnet_lab.proteins.embedded",
    "load_model": "flashschnet_lab.checkpoints.native",
    "load_sequence": "flashschnet_lab.loading",
    "load_system": "flashschnet_lab.loading",
    "open_trajectory": "flashschnet_lab.simulation.store",
    "radius_of_gyration": "flashschnet_lab.analysis.structure",
    "read_protein": "flashschnet_lab.proteins.mapping",
    "restore": "flashschnet_lab.simulation.restart",
    "rmsd": "flashschnet_lab.analysis.structure",
    "save_checkpoint": "flashschnet_lab.simulation.restart",
    "save_model": "flashschnet_lab.checkpoints.native",
    "structure_based_model": "flashschnet_lab.loading",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
