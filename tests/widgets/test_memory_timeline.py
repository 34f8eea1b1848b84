"""Bytes alive, stage by stage: against what tensors really take, and the shape of the picture."""

from __future__ import annotations

import pytest
import torch

from flashschnet_kernels.plan import BASELINE, KernelPlan, parse_plan
from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.memory import peak_bytes
from flashschnet_lab.system import build_force_field

pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")

from flashschnet_lab.widgets.memory_timeline import MemoryTimeline

CPU = torch.device("cpu")


@pytest.mark.parametrize("plan", [BASELINE, KernelPlan()])
def test_the_summit_is_what_tensors_take(system, plan):
    timeline = MemoryTimeline(plan, system, 3, device_type="cpu")
    force_field = build_force_field([system] * 3, plan=plan)
    positions = torch.from_numpy(system.protein.positions).float().expand(3, -1, -1).contiguous()
    force_field(positions)
    held = peak_bytes(lambda: force_field(positions), CPU)
    assert max(cost.live_bytes for cost in timeline.stages()) == pytest.approx(held, rel=0.15)


def test_the_baseline_climbs_forward_and_comes_down_backward(system):
    costs = MemoryTimeline(BASELINE, system, 3, device_type="cpu").stages()
    back = next(n for n, cost in enumerate(costs) if cost.name.endswith("backward"))
    forward = [c.live_bytes for c in costs[:back] if c.name.endswith("aggregate")]
    backward = [c.live_bytes for c in costs[back:] if c.name.endswith("multiply, backward")]
    assert forward == sorted(forward) and backward == sorted(backward, reverse=True)
    assert costs[-1].live_bytes < 0.1 * max(cost.live_bytes for cost in costs)


@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
def test_panels_have_the_heights_of_the_stages(system, device_type):
    timeline = MemoryTimeline("flash-float32", system, 3, device_type=device_type)
    figure = timeline.picture()
    for axes, plan in zip(figure.axes, (BASELINE, timeline.plan), strict=True):
        heights = [bar.get_height() for bar in axes.patches]
        assert heights == pytest.approx([c.live_bytes / 1e6 for c in timeline.stages(plan)])
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert timeline.plan == parse_plan("flash-float32", device_type)


def test_controls_redraw(system):
    timeline = MemoryTimeline("baseline", system, 3, device_type="cpu")
    assert len(timeline.picture().axes) == 1  # one plan, one panel
    first = timeline._image.value
    timeline._replicas.value = 16
    second = timeline._image.value
    timeline._plan.value = parse_plan("flash-float32", "cpu")
    third = timeline._image.value
    timeline._place.value = 4
    assert len({first, second, third, timeline._image.value}) == 4
    assert timeline.stages()[4].name in timeline._words.value


def test_fewer_stages_keep_the_slider_in_range(system):
    timeline = MemoryTimeline("baseline", system, 3, device_type="cpu")
    timeline._place.value = timeline._place.max
    timeline._plan.value = parse_plan("exact", "cpu")
    assert timeline._place.value < len(timeline.stages())


def test_a_plan_of_single_switches_can_be_shown_and_nonsense_not(system):
    plan = parse_plan("aggregation", "cpu")
    assert MemoryTimeline(plan, system, 2).plan == plan
    with pytest.raises(UserError, match="unknown plan"):
        MemoryTimeline("quick", system)
