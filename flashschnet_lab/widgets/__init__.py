"""What a person sees and touches in JupyterLab; each widget stands alone and has a static picture.

    from flashschnet_lab.widgets import Simulator
    Simulator(fl.load_system("chignolin"))

Names are loaded when they are first used, so that nothing asks for Jupyter before it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flashschnet_lab.widgets.exercise import check as check
    from flashschnet_lab.widgets.kernel_switches import KernelSwitches as KernelSwitches
    from flashschnet_lab.widgets.memory_timeline import MemoryTimeline as MemoryTimeline
    from flashschnet_lab.widgets.prediction import Prediction as Prediction
    from flashschnet_lab.widgets.roofline import Roofline as Roofline
    from flashschnet_lab.widgets.simulator import Simulator as Simulator
    from flashschnet_lab.widgets.tile_explorer import TileExplorer as TileExplorer

_HOMES = {
    "KernelSwitches": "kernel_switches",
    "MemoryTimeline": "memory_timeline",
    "Prediction": "prediction",
    "Roofline": "roofline",
    "Simulator": "simulator",
    "TileExplorer": "tile_explorer",
    "check": "exercise",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
