"""The roofline: where the dots are, and that they move."""

from __future__ import annotations

import pytest

from flashschnet_kernels.plan import BASELINE, parse_plan
from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.bench import Work, predict
from flashschnet_lab.measure.recorded import read_recorded, select

pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")

from flashschnet_lab.widgets.roofline import Roofline
from flashschnet_lab.widgets.roofline_picture import stage_dots, whole_dot


@pytest.fixture
def records(system, made_record) -> list[dict]:
    plans = [BASELINE, parse_plan("flash-float32", "cpu")]
    return [made_record(Work(system, 3, plan, stage="force")) for plan in plans]


def test_stages_lie_on_the_roof_and_the_whole_below_it(system, records):
    for record in records:
        roof = record["ceilings"]
        for dot in stage_dots(record, system):
            level = min(roof["flops_per_second"], dot.intensity * roof["bytes_per_second"])
            assert dot.rate == pytest.approx(level)
            ridge = roof["flops_per_second"] / roof["bytes_per_second"]
            assert dot.by_bytes == (dot.intensity <= ridge)
        whole = whole_dot(record)
        assert whole.rate * 2e-3 == pytest.approx(record["predicted_flops"])
        assert whole.intensity * record["predicted_bytes"] == pytest.approx(whole.rate * 2e-3)


def test_stages_add_up_to_the_whole(system, records):
    for record, plan in zip(records, (BASELINE, parse_plan("flash-float32", "cpu")), strict=True):
        dots = stage_dots(record, system)
        assert sum(d.rate * d.seconds for d in dots) == pytest.approx(record["predicted_flops"])
        whole = 1e-3 * record["ms"]["median"] * record["roofline_fraction"]
        work = Work(system, 3, plan, stage="force")
        without = [c for c in predict(work, record["work"]["directed_edges"]) if not c.flops]
        still = sum(c.bytes_moved for c in without) / record["ceilings"]["bytes_per_second"]
        assert sum(d.seconds for d in dots) + still == pytest.approx(whole, rel=1e-6)


def test_fusing_moves_more_arithmetic_per_byte(system, records):
    before, after = (whole_dot(record).intensity for record in records)
    assert after > 5 * before


def test_the_switch_moves_the_dots_and_leaves_a_shadow(system, records):
    roofline = Roofline(records, systems=[system])
    assert len(roofline.names) == 2 and roofline._before is None
    first = roofline._image.value
    assert first[:4] == b"\x89PNG"
    roofline.show(roofline.names[1])
    assert roofline._before == roofline.names[0] and roofline._image.value != first
    (legend,) = roofline.picture().legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert f"before: {roofline.names[0]}" in labels
    with pytest.raises(UserError, match="no measurement 'x'"):
        roofline.show("x")


def test_measurements_may_come_later(system, records):
    roofline = Roofline(systems=[system])
    assert "nothing" in roofline._words.value
    roofline.picture().canvas.draw()
    for record in records:
        roofline.add(record)
    assert roofline._switch.value == roofline.names[1] and roofline._before == roofline.names[0]
    roofline.add({**records[0], "failed": "out of memory"})
    assert len(roofline.names) == 2


def test_a_protein_that_is_unknown_is_named(records):
    with pytest.raises(UserError, match="is not in the library"):
        Roofline(records)


def test_recorded_measurements_of_a_gpu_can_be_drawn():
    records = select(read_recorded("h200_step"), protein="chignolin", replicas=64)
    roofline = Roofline(records)
    assert len(roofline.names) == len(records)
    for name in roofline.names:
        roofline.show(name)
        title = roofline.picture().axes[0].get_title()
        assert "NVIDIA H200" in title and name in title
