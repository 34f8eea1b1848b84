"""Bytes alive along one force evaluation: the baseline's mountain, and the plain of a fused plan.

What is alive is what the IO model says (`measure.bytes`). Autograd keeps what the way back needs,
so the baseline climbs through all blocks forward and comes down backward. A fused plan keeps
nothing with a row per pair and a column per feature. Tests hold the model to what tensors take.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from flashschnet_kernels.plan import BASELINE, KernelPlan
from flashschnet_lab.analysis.pictures import CHAIN_COLORS, INK
from flashschnet_lab.loading import load_system
from flashschnet_lab.measure.bench import Work, predict
from flashschnet_lab.measure.bytes import StageCost
from flashschnet_lab.measure.work import directed_edges
from flashschnet_lab.system import System, as_plan
from flashschnet_lab.widgets.comparison import BLUE, GREY, three_digits, times
from flashschnet_lab.widgets.plan_choices import PRESETS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPLICAS = (1, 4, 16, 64, 256)


class MemoryTimeline:
    """The memory of one force evaluation, stage by stage, predicted; nothing is run.

    Attributes:
        widget: an ipywidgets box: plan, replicas, and a slider that walks through the stages.

    Args:
        plan: a `KernelPlan`, or a name as `parse_plan` reads it.
        system: protein and model; default chignolin.
        replicas: copies.
        device_type: "cpu" or "cuda", of a plan given by name; default "cuda" if there is a GPU. A
            plan for a GPU can be looked at on any machine.

    Raises:
        UserError: a name that describes no plan.
    """

    def __init__(
        self,
        plan: KernelPlan | str,
        system: System | None = None,
        replicas: int = 4,
        *,
        device_type: str | None = None,
    ) -> None:
        self.system = system or load_system("chignolin")
        self._device_type = device_type or ("cuda" if torch.cuda.is_available() else "cpu")
        self._edges = directed_edges(self.system)
        self._build(as_plan(plan, self._device_type), replicas)
        self._redraw()

    @property
    def plan(self) -> KernelPlan:
        """The plan that is shown beside the baseline."""
        plan: KernelPlan = self._plan.value
        return plan

    @property
    def replicas(self) -> int:
        """Copies of the protein."""
        return int(self._replicas.value)

    def stages(self, plan: KernelPlan | None = None) -> tuple[StageCost, ...]:
        """Return the stages of one force evaluation under a plan, in order."""
        return predict(Work(self.system, self.replicas, plan or self.plan), self._edges)

    def picture(self) -> Figure:
        """Draw the baseline above and the plan below, on one scale."""
        return self._picture()

    def _picture(self, place: int | None = None) -> Figure:
        title = f"bytes alive in one force evaluation, {self.replicas} x {self.system.name}"
        plans = {BASELINE.name: BASELINE, self.plan.name: self.plan}  # one panel if they are one
        stages = {name: self.stages(plan) for name, plan in plans.items()}
        return timeline_picture(stages, f"{title} (IO model)", place)

    def _redraw(self, _: object = None) -> None:
        stages = self.stages()
        self._place.max = len(stages) - 1
        image = io.BytesIO()
        self._picture(int(self._place.value)).savefig(image, format="png")
        self._image.value = image.getvalue()
        here = stages[int(self._place.value)]
        self._words.value = (
            f"<b>{here.name}</b>: {three_digits(here.live_bytes / 1e6)} MB alive, reads "
            f"{three_digits(here.bytes_read / 1e6)} MB, writes "
            f"{three_digits(here.bytes_written / 1e6)} MB"
        )

    def _build(self, plan: KernelPlan, replicas: int) -> None:
        import ipywidgets

        plans = {name: as_plan(name, self._device_type) for name in PRESETS}
        options = {named.name: named for named in [*plans.values(), plan]}
        self._plan = ipywidgets.ToggleButtons(
            description="plan",
            options=list(options.items()),
            value=plan,
            style={"button_width": "auto"},
        )
        copies = sorted({replicas, *REPLICAS})
        self._replicas = ipywidgets.Dropdown(description="replicas", options=copies, value=replicas)
        self._place = ipywidgets.IntSlider(description="stage", min=0, max=1)
        self._place.layout.width = "600px"
        self._words = ipywidgets.HTML()
        self._image = ipywidgets.Image(format="png")
        for control in (self._plan, self._replicas, self._place):
            control.observe(self._redraw, "value")
        rows = [self._plan, self._replicas, self._place, self._words, self._image]
        self.widget = ipywidgets.VBox(rows)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)


def timeline_picture(
    stages: Mapping[str, Sequence[StageCost]], title: str, place: int | None = None
) -> Figure:
    """Draw the bytes alive in every stage of plans, one panel each, all on one scale.

    Args:
        stages: by name of the plan, the baseline first; in the order in which they run.
        title: heading.
        place: stage of the last plan that is marked.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 1.0 + 2.1 * len(stages)), dpi=92, layout="constrained")
    figure.suptitle(title, color=INK, fontsize=11)
    panels = figure.subplots(len(stages), 1, sharey=True, squeeze=False)[:, 0]
    baseline = max(cost.live_bytes for cost in next(iter(stages.values())))
    for number, (axes, (name, costs)) in enumerate(zip(panels, stages.items(), strict=True)):
        alive = [cost.live_bytes / 1e6 for cost in costs]
        color = GREY if number == 0 else BLUE
        axes.bar(range(len(alive)), alive, width=1.0, color=color, align="center")
        peak = max(range(len(alive)), key=alive.__getitem__)
        text = f"{name}: at most {three_digits(alive[peak])} MB, in “{costs[peak].name}”"
        if number:
            text += f": {times(baseline / max(1.0, 1e6 * alive[peak]))} less"
        axes.set_title(text, loc="left", fontsize=9, color=INK)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_ylabel("MB alive", fontsize=9, color=INK)
        axes.set_xlim(-0.5, len(alive) - 0.5)
        _name_blocks(axes, costs)
        if place is not None and place < len(alive) and number == len(stages) - 1:
            axes.axvline(place, color=CHAIN_COLORS[-1], linewidth=1)
    return figure


def _name_blocks(axes: Any, costs: Sequence[StageCost]) -> None:
    """Write the blocks of the network below their stages, and part the way back from the way in."""
    spans: dict[str, list[int]] = {}
    for number, cost in enumerate(costs):
        words = cost.name.split()
        if words[0] == "block":
            way = "back" if cost.name.endswith("backward") else "forward"
            spans.setdefault(f"block {words[1]}\n{way}", []).append(number)
    middles = [sum(span) / len(span) for span in spans.values()]
    axes.set_xticks(middles, list(spans), fontsize=7.5, color=INK)
    axes.tick_params(length=0, colors=INK, labelsize=7.5)
    turn = next((n for n, c in enumerate(costs) if c.name.endswith("backward")), None)
    if turn is not None:
        axes.axvline(turn - 0.5, color=INK, linewidth=0.8, linestyle=":")
    axes.spines[["top", "right"]].set_visible(False)
