"""Stored measurements: found by what they are of, and never shown without where they come from."""

from __future__ import annotations

from typing import Any

import pytest

from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.recorded import caption, draw_recorded, recorded

PLANS = ["flash", "baseline"]


def test_records_come_in_the_order_that_is_asked_for() -> None:
    records = recorded("1enh", 64, PLANS)
    assert [record["plan"] for record in records] == PLANS
    assert all(record["work"]["replicas"] == 64 for record in records)
    assert all(record["precision"] == "float32" for record in records)


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"no 'warp' .* baseline"):
        recorded("1enh", 64, ["warp"])
    with pytest.raises(UserError, match="no plan at all"):
        recorded("1enh", 65, PLANS)
    with pytest.raises(UserError, match=r"'h100' .* h200"):
        recorded("1enh", 64, PLANS, file="h100")


def test_the_picture_says_where_it_comes_from() -> None:
    pytest.importorskip("matplotlib")
    records = recorded("1enh", 64, PLANS)
    figure = draw_recorded(records, ["ms per step", "force error of the network"])
    heading = figure.get_suptitle()
    for part in ("recorded", "H200", records[0]["date"], "version", "64 x 1enh"):
        assert part in heading
    bars: list[Any] = list(figure.axes[0].patches)
    assert [bar.get_width() for bar in bars] == [record["ms"]["median"] for record in records]
    assert "many proteins" in caption(records, "many proteins")
    with pytest.raises(UserError, match="no quantity"):
        draw_recorded(records, ["parsecs"])
