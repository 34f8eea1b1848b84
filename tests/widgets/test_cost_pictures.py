"""Where time and bytes go: kinds of operations, and bars that have the right lengths."""

from __future__ import annotations

import pytest

from flashschnet_lab.measure.bytes import StageCost
from flashschnet_lab.measure.profile import Share
from flashschnet_lab.widgets.cost_pictures import (
    ELEMENTWISE,
    PRODUCTS,
    REST,
    ROWS,
    kind_of,
    profile_picture,
    stages_picture,
    time_by_kind,
)

SHARES = [
    Share("aten::mm", 5.0, 2.0),
    Share("aten::index_add_", 3.0, 4.0),
    Share("aten::tanh_backward", 1.0, 1.0),
    Share("aten::empty", 1.0, 9.0),
]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::addmm", PRODUCTS),
        ("sm90_xmma_gemm_f32f32", PRODUCTS),
        ("aten::scatter_add_", ROWS),
        ("aten::index_select", ROWS),
        ("void at::native::vectorized_elementwise_kernel", ELEMENTWISE),
        ("aten::mul", ELEMENTWISE),
        ("aten::as_strided", REST),
    ],
)
def test_operations_have_a_kind(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_kinds_add_up_to_the_whole() -> None:
    times = time_by_kind(SHARES)
    assert times == {PRODUCTS: 5.0, ROWS: 3.0, ELEMENTWISE: 1.0, REST: 1.0}
    left, right = profile_picture(SHARES, "title", most=2).axes
    assert [bar.get_width() for bar in left.patches] == [50.0, 30.0]
    assert sum(bar.get_width() for bar in right.patches) == pytest.approx(100.0)
    assert left.get_yticklabels()[0].get_text() == "mm  × 2"


def test_stages_of_all_blocks_are_one_and_the_largest_come_first() -> None:
    costs = [
        StageCost("radial basis", 10**6, 10**6, 50, 0),
        StageCost("block 0 filter", 3 * 10**6, 2 * 10**6, 100, 0),
        StageCost("block 1 filter", 3 * 10**6, 2 * 10**6, 50, 0),
    ]
    left, right = stages_picture(costs).axes
    names = [text.get_text() for text in left.get_yticklabels()]
    assert names == ["filter", "radial basis"] and left.yaxis_inverted()
    read, written = left.patches[:2], left.patches[2:]
    assert [bar.get_width() for bar in (*read, *written)] == [6.0, 1.0, 4.0, 1.0]
    assert [bar.get_width() for bar in right.patches] == [75.0, 25.0]
