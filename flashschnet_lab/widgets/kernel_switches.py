"""Flip a switch, press Run, and see what it does to accuracy, time, memory and bytes.

The baseline is measured once per protein, number of replicas, precision and device; every plan
stands beside it. On a machine without a GPU the recorded numbers of one stand below, marked so.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

import torch

from flashschnet_kernels.plan import KernelPlan, check_usable
from flashschnet_lab.devices import resolve_device
from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.bench import Work
from flashschnet_lab.measure.work import benchmark_system
from flashschnet_lab.proteins.embedded import embedded_names
from flashschnet_lab.system import System, as_plan
from flashschnet_lab.widgets.background import Background, in_words
from flashschnet_lab.widgets.comparison import Row, comparison_picture, table_html
from flashschnet_lab.widgets.plan_choices import (
    PRESETS,
    SWITCHED,
    assemble,
    explain,
    implementations,
    reasons,
    switches_of,
)
from flashschnet_lab.widgets.switch_measurements import Measurements

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPLICAS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
SECONDS = 1.0
"""About so long for the timing of one plan."""
READY = "Flip switches, then press Run."


class KernelSwitches:
    """Switches for every operator, precision, replicas, protein and device; Run measures.

    Attributes:
        widget: an ipywidgets box.

    Args:
        system: protein and model that are measured first.
        replicas: copies, at first.
        device: "cpu" or "cuda"; default the GPU if there is one.
        stage: "step" (a whole Langevin step) or "force" (energies and forces alone).
        seconds: about so long for the timing of one plan.

    Raises:
        UserError: a device that is not there.
    """

    def __init__(
        self,
        system: System,
        replicas: int = 1,
        *,
        device: str | None = None,
        stage: str = "step",
        seconds: float = SECONDS,
    ) -> None:
        self._systems = {system.name: system}
        self._stage = stage
        self._measurements = Measurements(seconds, with_recorded=not torch.cuda.is_available())
        self._background = Background()
        self._quiet = False
        self._build(system.name, replicas, resolve_device(device).type)
        self.choose("exact")

    @property
    def plan(self) -> KernelPlan:
        """The plan that the switches describe.

        Raises:
            UserError: implementations that do not work together.
        """
        return assemble({name: switch.value for name, switch in self._switches.items()})

    @property
    def device(self) -> torch.device:
        """Where Run measures."""
        return torch.device(self._device.value)

    def choose(self, plan: KernelPlan | str) -> None:
        """Set all switches as a plan has them.

        Raises:
            UserError: no plan, or one that cannot run on the chosen device.
        """
        plan = as_plan(plan, self.device.type)
        try:
            check_usable(plan, self.device)
        except ValueError as error:
            raise UserError(str(error)) from error
        self._quiet = True  # between two switches the combination may be a refused one
        try:
            for operator, name in switches_of(plan).items():
                self._switches[operator].value = name
        finally:
            self._quiet = False
        self._show_plan()

    def run(self) -> None:
        """Measure the chosen plan beside the baseline in a thread; the table gets a row."""
        try:
            work = self._work()
        except UserError as error:
            self._say_problem(in_words(error))
            return
        if self._background.busy:
            return
        self._run_button.disabled = True
        self._say("begins")
        device = self.device
        self._background.start(
            lambda: self._measurements.measure(work, device, self._say), self._add, self._failed
        )

    def wait(self, timeout: float | None = None) -> None:
        """Return when the measurement that is under way is over."""
        self._background.join(timeout)

    def measure(self, *plans: KernelPlan | str) -> Figure:
        """Choose and measure plans one after another, wait, and return the picture.

        Raises:
            UserError: no plan, or one that cannot run here.
        """
        for plan in plans:
            self.wait()
            self.choose(plan)
            self.run()
        self.wait()
        return self.picture()

    def on_measured(self, listener: Callable[[dict], None]) -> None:
        """Call a function with every record as it arrives, that of the baseline too."""
        self._measurements.listeners.append(listener)

    @property
    def rows(self) -> list[Row]:
        """What was measured or recorded, as the table shows it."""
        return self._measurements.rows

    @property
    def records(self) -> list[dict]:
        """What was measured here, baselines included, each once."""
        return self._measurements.records

    def explain(self) -> str:
        """Return what runs for each operator, why, and why steps are not one CUDA graph."""
        return explain(self.plan, self._system(self._protein.value), self.device)

    def picture(self) -> Figure:
        """Draw the plans of the newest work, and their recorded kin, as bars."""
        return comparison_picture(self._measurements.newest, self._stage)

    def _work(self) -> Work:
        """Return what the controls ask for, all but the plan checked later."""
        system = self._system(self._protein.value)
        copies, precision = self._replicas.value, self._precision.value
        return Work(system, copies, self.plan, precision, self._stage)

    def _system(self, name: str) -> System:
        if name not in self._systems:
            self._systems[name] = benchmark_system(name)
        return self._systems[name]

    def _add(self, run: tuple[Row, Row | None]) -> None:
        """Show a new run; called in the worker."""
        measured, recorded = run
        self._table.value = table_html(self.rows)
        image = io.BytesIO()
        self.picture().savefig(image, format="png")
        self._bars.value = image.getvalue()
        self._bars.layout.display = ""
        without = self._measurements.with_recorded and recorded is None
        self._say(f"done: {measured.record['plan']}. {_NOTHING_RECORDED if without else ''}")
        self._run_button.disabled = False

    def _failed(self, text: str) -> None:
        self._say_problem(text)
        self._run_button.disabled = False

    def _say(self, text: str) -> None:
        self._progress.value = escape(text)

    def _say_problem(self, text: str) -> None:
        self._progress.value = f"<span style='color:#b3261e'>{escape(text)}</span>"

    def _show_plan(self, _: object = None) -> None:
        """Say which plan the switches make, or why they make none."""
        if self._quiet:
            return
        try:
            plan = self.plan
        except UserError as error:
            self._run_button.disabled = True
            self._mark_preset(None)
            self._say_problem(f"These do not work together: {error}.")
            self._plan_name.value = "<b>no plan</b>"
            self._explanation.layout.display = "none"
            return
        self._run_button.disabled = self._background.busy
        self._mark_preset(plan.name if plan.name in PRESETS else None)
        self._plan_name.value = f"plan <b>{escape(plan.name)}</b>"
        self._refresh_explanation()
        if not self._background.busy:
            self._say(READY)

    def _mark_preset(self, name: str | None) -> None:
        """Show which preset the switches stand for, without choosing it."""
        self._quiet = True
        self._preset.value = name
        self._quiet = False

    def _preset_chosen(self, change: dict[str, Any]) -> None:
        if change["new"] is None or self._quiet:
            return
        try:
            self.choose(change["new"])
        except UserError as error:
            self._say_problem(in_words(error))

    def _device_chosen(self, _: object) -> None:
        """Offer what can run on the new device, and the plan of the same name there."""
        name = self._plan_name_or_default()
        self._quiet = True
        for operator, switch in self._switches.items():
            switch.options = implementations(operator, self.device)
        self._quiet = False
        self._precision.options = _precisions(self.device.type)
        self.choose(name)

    def _plan_name_or_default(self) -> str:
        return self._preset.value or "exact"

    def _toggle_explanation(self, _: object) -> None:
        hidden = self._explanation.layout.display == "none"
        self._explanation.layout.display = "" if hidden else "none"
        self._refresh_explanation()

    def _refresh_explanation(self, _: object = None) -> None:
        if self._explanation.layout.display == "none":
            return
        try:
            text = self.explain()
        except UserError as error:
            text = in_words(error)
        self._explanation.value = (
            f"<pre style='line-height:1.35;font-size:12px;overflow-x:auto'>{escape(text)}</pre>"
        )

    def _build(self, protein: str, replicas: int, device_type: str) -> None:
        import ipywidgets

        devices = ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]
        slim = {"button_width": "auto"}
        labelled: dict[str, Any] = {"style": {"description_width": "70px"}}
        narrow = ipywidgets.Layout(width="210px")
        self._device = ipywidgets.Dropdown(
            description="device", options=devices, value=device_type, layout=narrow, **labelled
        )
        self._preset = ipywidgets.ToggleButtons(options=PRESETS, value=None, style=slim)
        self._switches = {}
        for operator in SWITCHED:
            names = implementations(operator, self.device)
            self._switches[operator] = ipywidgets.ToggleButtons(
                options=names, tooltips=reasons(operator, names), style=slim
            )
        proteins = list(dict.fromkeys([protein, *embedded_names()]))
        self._protein = ipywidgets.Dropdown(
            description="protein", options=proteins, value=protein, layout=narrow, **labelled
        )
        copies = sorted({replicas, *REPLICAS})
        self._replicas = ipywidgets.Dropdown(
            description="replicas", options=copies, value=replicas, layout=narrow, **labelled
        )
        self._precision = ipywidgets.Dropdown(
            description="precision", options=_precisions(device_type), layout=narrow, **labelled
        )
        self._run_button = ipywidgets.Button(description="Run", button_style="primary")
        self._explain_button = ipywidgets.Button(description="Explain")
        self._plan_name = ipywidgets.HTML()
        self._progress = ipywidgets.HTML(READY)
        self._explanation = ipywidgets.HTML(layout=ipywidgets.Layout(display="none"))
        self._table = ipywidgets.HTML()
        self._bars = ipywidgets.Image(
            format="png", layout=ipywidgets.Layout(display="none", max_width="1000px", width="100%")
        )
        self._connect()
        self.widget = ipywidgets.VBox(
            [
                self._preset_row(),
                self._switch_rows(),
                ipywidgets.HBox(
                    [self._protein, self._replicas, self._precision, self._device],
                    layout=ipywidgets.Layout(flex_flow="row wrap"),
                ),
                ipywidgets.HBox([self._run_button, self._explain_button, self._plan_name]),
                self._progress,
                self._explanation,
                self._bars,
                self._table,
            ]
        )

    def _preset_row(self) -> Any:
        import ipywidgets

        return ipywidgets.HBox([ipywidgets.Label("start from", layout=_LABEL), self._preset])

    def _switch_rows(self) -> Any:
        """Return the switches in two columns, each behind its name."""
        import ipywidgets

        rows = [
            ipywidgets.HBox([ipywidgets.Label(operator, layout=_LABEL), switch])
            for operator, switch in self._switches.items()
        ]
        apart = {"margin": "0 24px 0 0"}
        columns = [ipywidgets.VBox(rows[k::2], layout=apart) for k in (0, 1)]
        return ipywidgets.HBox(columns, layout={"flex_flow": "row wrap"})

    def _connect(self) -> None:
        self._run_button.on_click(lambda _: self.run())
        self._explain_button.on_click(self._toggle_explanation)
        self._preset.observe(self._preset_chosen, "value")
        self._device.observe(self._device_chosen, "value")
        self._protein.observe(self._refresh_explanation, "value")
        for switch in self._switches.values():
            switch.observe(self._show_plan, "value")

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)


_LABEL = {"width": "115px"}
_NOTHING_RECORDED = "Nothing was recorded on a GPU for this plan, protein, precision and stage."


def _precisions(device_type: str) -> list[str]:
    return ["float32", "float64", *(["tf32"] if device_type == "cuda" else [])]
