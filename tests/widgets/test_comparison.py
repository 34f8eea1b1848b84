"""Rows beside their baseline: ratios, failures, and what the table and the bars say."""

from __future__ import annotations

import pytest

from flashschnet_lab.widgets.comparison import Row, comparison_picture, number, table_html


def record(plan: str, ms: float, **other: object) -> dict:
    return {
        "cpu": "a CPU",
        "date": "2030-01-02",
        "versions": {"flashschnet_lab": "9.9"},
        "work": {"protein": "p<1>", "replicas": 2},
        "plan": plan,
        "precision": "float32",
        "stage": "step",
        "force_error": 1e-8,
        "network_force_error": 2e-6,
        "peak_bytes": 4_000_000,
        "predicted_bytes": 8_000_000,
        "ms": {"median": ms},
        **other,
    }


BASELINE = record("baseline", 60.0)
FAST = record("exact", 1.5, peak_bytes=1_000_000, predicted_bytes=2_000_000, ns_per_day=77.0)
FAILED = {k: v for k, v in record("fast", 1.0).items() if k not in ("ms", "peak_bytes")}
FAILED |= {"failed": "network force error above 0.003: no speed is shown"}
ELSEWHERE = {k: v for k, v in FAST.items() if k != "cpu"} | {"gpu": "NVIDIA H200"}


def test_ratios_are_those_of_the_numbers() -> None:
    row = Row(FAST, BASELINE)
    assert row.ratio("ms") == 40.0
    assert row.ratio("peak_bytes") == 4.0
    assert row.ratio("predicted_bytes") == 4.0
    assert number(FAST, "error") == 2e-6  # of the network alone, if it has one
    assert number({"force_error": 3.0}, "error") == 3.0


def test_a_plan_or_a_baseline_that_failed_has_no_ratio_and_no_speed() -> None:
    assert Row(FAILED, BASELINE).ratio("ms") is None
    assert Row(FAST, FAILED).ratio("ms") is None
    table = table_html([Row(FAILED, BASELINE)])
    assert FAILED["failed"] in table and "40" not in table


def test_the_table_says_all_numbers_and_escapes_names() -> None:
    table = table_html([Row(FAST, BASELINE)])
    for word in ("exact", "2.0e-06", "1.5", "40 x", "77", "4.0 x", "a CPU", "p&lt;1&gt;"):
        assert word in table
    assert "p<1>" not in table and "recorded" not in table


def test_recorded_rows_say_so_with_device_date_and_version() -> None:
    row = Row(ELSEWHERE, BASELINE, recorded=True)
    assert row.where == "recorded: NVIDIA H200, 2030-01-02, version 9.9"
    assert row.where in table_html([row])
    texts = [part.get_suptitle() for part in comparison_picture([row]).subfigs]
    assert texts == [row.title] and row.where in row.title


def test_bars_have_the_lengths_of_the_numbers() -> None:
    figure = comparison_picture([Row(FAST, BASELINE), Row(ELSEWHERE, BASELINE, recorded=True)])
    assert len(figure.subfigs) == 2  # one line of panels for each device
    time, memory, moved, error = figure.subfigs[0].axes
    assert [bar.get_width() for bar in time.patches] == [60.0, 1.5]
    assert [bar.get_width() for bar in memory.patches] == [4.0, 1.0]
    assert [bar.get_width() for bar in moved.patches] == [8.0, 2.0]
    assert [bar.get_width() for bar in error.patches] == [2e-6, 2e-6]
    assert [text.get_text() for text in time.texts] == [" 60", " 1.5  (40 x)"]


def test_a_plan_appears_once_with_its_newest_record() -> None:
    again = record("exact", 3.0)
    (part,) = comparison_picture([Row(FAST, BASELINE), Row(again, BASELINE)]).subfigs
    assert [bar.get_width() for bar in part.axes[0].patches] == [60.0, 3.0]


def test_a_failed_plan_has_a_bar_of_no_length() -> None:
    (part,) = comparison_picture([Row(FAILED, BASELINE)]).subfigs
    assert [bar.get_width() for bar in part.axes[0].patches] == [60.0, 0.0]
    assert part.axes[0].texts[1].get_text() == " failed"


@pytest.mark.parametrize("rows", [[], [Row(BASELINE, BASELINE)]])
def test_little_can_be_drawn_too(rows: list[Row]) -> None:
    comparison_picture(rows).canvas.draw()
    table_html(rows)
