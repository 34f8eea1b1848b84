"""Which control of the simulator calls which of its methods."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from flashschnet_lab.errors import UserError

if TYPE_CHECKING:
    from flashschnet_lab.widgets.simulator import Simulator

BUTTONS = {
    "start": "start",
    "pause": "pause",
    "step": "step",
    "reset": "reset",
    "pull": "pull",
    "let_go": "let_go",
    "check": "check_forces",
}
"""Name of the button, name of the method."""
SETTINGS = ("temperature", "friction", "timestep_fs", "replicas")


def connect(simulator: Simulator) -> None:
    """Let every control do what the method of its name does."""
    controls = simulator.controls
    for button, method in BUTTONS.items():
        _on_click(simulator, getattr(controls, button), getattr(simulator, method))
    for name in SETTINGS:
        _on_change(simulator, getattr(controls, name), partial(_change_one, simulator, name))
    for operator, switch in controls.switches.items():
        _on_change(simulator, switch, partial(_flip_one, simulator, operator))
    _on_change(simulator, controls.plan, partial(_choose_plan, simulator))
    _on_change(simulator, controls.shown, lambda _: simulator.redraw())
    _on_change(simulator, controls.frame, simulator.look_back)


def _change_one(simulator: Simulator, name: str, value: float) -> None:
    simulator.change(**{name: value})


def _flip_one(simulator: Simulator, operator: str, implementation: str) -> None:
    simulator.flip(**{operator: implementation})


def _choose_plan(simulator: Simulator, name: str | None) -> None:
    if name is not None:  # None stands for a plan without a name
        simulator.use_plan(name)


def _on_click(simulator: Simulator, button: Any, method: Callable[[], object]) -> None:
    button.on_click(lambda _: _tell(simulator, method))


def _on_change(simulator: Simulator, control: Any, method: Callable[[Any], object]) -> None:
    def changed(change: dict[str, Any]) -> None:
        if not simulator.live.is_worker:  # the worker writes what is already true
            _tell(simulator, partial(method, change["new"]))

    control.observe(changed, "value")


def _tell(simulator: Simulator, method: Callable[[], object]) -> None:
    """Do what a control asks for, and show a refusal: a callback has nobody else to tell."""
    try:
        method()
    except UserError as error:
        simulator.refuse(str(error))
