"""The buttons, sliders and readings of the live simulator, without what they do."""

from __future__ import annotations

from html import escape
from typing import Any

import torch

from flashschnet_kernels.plan import KernelPlan, check_usable, parse_plan
from flashschnet_lab.analysis.structure import c_alpha_indices
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.widgets.experiment import Experiment
from flashschnet_lab.widgets.plan_choices import PRESETS, SWITCHED, implementations, switches_of

ANGSTROM_PER_RESIDUE = 3.8
"""Distance of neighbouring C-alpha beads: a chain cannot be pulled longer."""
READING_CLASSES = {
    "step": "fs-steps",
    "plan": "fs-plan",
    "speed": "fs-speed",
    "step memory": "fs-memory",
}
"""CSS classes of what tests read in the browser."""
STATUS_COLORS = {
    "idle": "#6b7580",
    "running": "#3c9d72",
    "paused": "#c99a1d",
    "stopped": "#c99a1d",
    "failed": "#c8354f",
}


class SimulatorView:
    """All controls of the widget; `simulator.Simulator` gives them their meaning.

    Attributes:
        widget: the root.
        start, pause, step, reset, check, pull, let_go: buttons.
        temperature, friction, timestep_fs, replicas: settings.
        shown: number of the replica that is drawn.
        plan: names of plans that can run here; None under a plan without a name.
        switches: operator to its dropdown of implementations.
        bead, other, goal: what is pulled, from where, how far in angstrom.
        frame, player: look back into the recording.
        charts: image of the curves.
    """

    def __init__(self, experiment: Experiment, molecule: Any) -> None:
        import ipywidgets

        self._w = ipywidgets
        protein, device = experiment.system.protein, experiment.simulation.device
        self.start = self._button("Start", "play", "success")
        self.pause = self._button("Pause", "pause")
        self.step = self._button("Step", "step-forward")
        self.reset = self._button("Reset", "undo")
        self.status = self._reading("fs-status")
        self.message = self._reading("fs-message")
        self.reading = self._reading("fs-reading")
        self.checked = self._reading("fs-check")
        self.charts = ipywidgets.Image(format="png", layout={"width": "432px", "height": "352px"})
        self._make_settings()
        self._make_plan(device)
        self._make_pull(protein)
        self.frame = ipywidgets.IntSlider(
            description="look back", max=1, style=_WIDE, layout={"width": "420px"}
        )
        self.player = ipywidgets.Play(interval=100, max=1)
        ipywidgets.jslink((self.player, "value"), (self.frame, "value"))
        ipywidgets.jslink((self.frame, "max"), (self.player, "max"))
        self.widget = self._layout(molecule)
        self.widget.add_class("fs-simulator")

    def _make_settings(self) -> None:
        w = self._w
        self.temperature = w.FloatSlider(
            description="temperature (K)",
            min=0.0,
            max=1000.0,
            step=10.0,
            readout_format=".0f",
            continuous_update=False,
            style=_WIDE,
            layout={"width": "420px"},
        )
        self.friction = self._number("friction (1/ps)")
        self.timestep_fs = self._number("time step (fs)")
        self.replicas = self._whole("replicas")
        self.shown = w.BoundedIntText(
            description="shown", min=0, max=0, style=_WIDE, layout={"width": "160px"}
        )

    def _make_plan(self, device: torch.device) -> None:
        w = self._w
        names = [name for name in PRESETS if _usable(parse_plan(name, device.type), device)]
        self.plan = w.Dropdown(description="kernel plan", options=names, value=None, style=_WIDE)
        self.check = self._button("Check forces", "check")
        self.switches = {
            operator: w.Dropdown(
                description=operator.replace("_", " "),
                options=implementations(operator, device),
                style=_WIDE,
            )
            for operator in SWITCHED
        }

    def _make_pull(self, protein: Protein) -> None:
        w = self._w
        labels = [(protein.label(bead), bead) for bead in range(protein.beads)]
        alphas = c_alpha_indices(protein)
        first, last = int(alphas[0]), int(alphas[-1])
        self.bead = w.Dropdown(description="bead", options=labels, value=last, style=_NARROW)
        self.other = w.Dropdown(description="from", options=labels, value=first, style=_NARROW)
        longest = ANGSTROM_PER_RESIDUE * len(alphas)
        self.goal = w.FloatSlider(
            description="to (Å)",
            min=3.0,
            max=round(longest),
            value=round(0.8 * longest),
            step=1.0,
            readout_format=".0f",
            style=_NARROW,
        )
        self.pull = self._button("Pull", "arrows-h")
        self.let_go = self._button("Let go", "hand-paper-o")

    def _layout(self, molecule: Any) -> Any:
        w = self._w
        switches = list(self.switches.values())
        every_switch = w.Accordion(
            children=[w.VBox([w.HBox(switches[:4]), w.HBox(switches[4:])])],
            selected_index=None,
        )
        every_switch.set_title(0, "every kernel switch")
        right = w.VBox([self.charts, self.reading])
        return w.VBox(
            [
                w.HBox([self.start, self.pause, self.step, self.reset, self.status]),
                self.message,
                w.HBox([molecule, right]),
                w.HBox([self.frame, self.player]),
                w.HBox([self.temperature, self.friction, self.timestep_fs]),
                w.HBox([self.pull, self.let_go, self.bead, self.other, self.goal]),
                w.HBox([self.replicas, self.shown, self.plan, self.check]),
                self.checked,
                every_switch,
            ]
        )

    def show_status(self, status: str, message: str) -> None:
        """Show the status, and a sentence below the buttons: an error, a refusal, or nothing."""
        color = STATUS_COLORS[status]
        self.status.value = f'<b style="color: {color}">{status}</b>'
        tone = STATUS_COLORS["failed" if status == "failed" else "stopped"]
        self.message.value = f'<span style="color: {tone}">{escape(message)}</span>'

    def show_settings(self, experiment: Experiment) -> None:
        """Let every control say what is true now."""
        settings, plan = experiment.settings, experiment.plan
        hottest = settings.temperatures[0]
        self.temperature.max = max(self.temperature.max, hottest)
        self.temperature.value = hottest
        self.friction.value = settings.friction
        self.timestep_fs.value = settings.timestep_fs
        self.replicas.value = experiment.simulation.replicas
        self.shown.max = experiment.simulation.replicas - 1
        self.plan.value = plan.name if plan.name in self.plan.options else None
        for operator, chosen in switches_of(plan).items():
            self.switches[operator].value = chosen

    def show_reading(self, experiment: Experiment, shown: int) -> None:
        """Write down the numbers of the present state."""
        sample = experiment.recording.samples[-1]
        speed, memory = experiment.steps_per_second, experiment.step_bytes
        rows = {
            "step": str(experiment.simulation.state.step),
            "time": f"{sample.time_ps:.2f} ps",
            "energy": f"{sample.potential_energy[shown]:.1f} kcal/mol",
            "temperature": f"{sample.temperature[shown]:.0f} K",
            "RMSD": f"{sample.rmsd[shown]:.2f} Å",
            "plan": escape(experiment.plan.name),
            "speed": f"{speed:,.0f} steps/s" if speed else "…",
            "simulated": f"{experiment.nanoseconds_per_day:,.0f} ns/day" if speed else "…",
            "step memory": f"{memory / 1e6:,.1f} MB" if memory else "…",
        }
        cells = [
            f'<td>{name}</td><td><b class="{READING_CLASSES.get(name, "")}">{value}</b></td>'
            for name, value in rows.items()
        ]
        lines = "".join(f"<tr>{''.join(cells[k : k + 3])}</tr>" for k in range(0, len(cells), 3))
        style = "border-spacing: 5px 0; white-space: nowrap; line-height: 1.5; font-size: 90%"
        self.reading.value = f'<table style="{style}">{lines}</table>'

    def show_length(self, samples: int, at_end: bool) -> None:
        """Let the slider of the recording reach to its end, and stand there if that is shown."""
        self.frame.max = max(1, samples - 1)
        if at_end:
            self.frame.value = samples - 1

    def _button(self, name: str, icon: str, style: str = "") -> Any:
        layout = {"width": "130px" if len(name) > 8 else "90px"}
        return self._w.Button(description=name, icon=icon, button_style=style, layout=layout)

    def _reading(self, name: str) -> Any:
        html = self._w.HTML()
        html.add_class(name)
        return html

    def _number(self, name: str) -> Any:
        return self._w.FloatText(description=name, style=_WIDE, layout={"width": "190px"})

    def _whole(self, name: str) -> Any:
        return self._w.IntText(description=name, style=_WIDE, layout={"width": "180px"})


_WIDE = {"description_width": "110px"}
_NARROW = {"description_width": "40px"}


def _usable(plan: KernelPlan, device: torch.device) -> bool:
    try:
        check_usable(plan, device)
    except ValueError:
        return False
    return True
