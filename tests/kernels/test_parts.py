"""Batches worked on in parts: whole molecules, every row block once, no more room than allowed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("triton")

from flashschnet_kernels.neighbors.tiles import COLUMNS, Tiles, lay_out
from flashschnet_kernels.nodes import parts

CPU = torch.device("cpu")


@pytest.mark.parametrize("sizes", [(269,) * 64, (49,) * 5, (20, 300, 1, 8, 90), (17,), ()])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_row_block_is_in_one_part(sizes, count):
    layout = lay_out(sizes, CPU)
    found = parts.cut(layout, count)
    assert 1 <= len(found) <= count
    assert [row for first, end in found for row in range(first, end)] == [*range(layout.row_blocks)]
    assert all(first in (0, *layout.molecule_rows) for first, _ in found)


def test_equal_molecules_make_equal_parts():
    layout = lay_out((269,) * 64, CPU)
    assert [end - first for first, end in parts.cut(layout, 4)] == [34 * 16] * 4


@pytest.mark.parametrize(
    ("replicas", "number_bytes", "lanes", "turns"),
    [
        *((64, 4, 3, 1), (64, 2, 3, 1), (128, 4, 3, 1), (41, 4, 1, 1), (42, 4, 2, 1)),
        *((512, 4, 1, 1), (512, 2, 1, 1), (2048, 4, 1, 3), (2048, 2, 1, 2)),
    ],
)
def test_as_many_lanes_and_turns_as_pay(replicas, number_bytes, lanes, turns):
    layout = lay_out((269,) * replicas, CPU)
    tiles = SimpleNamespace(layout=layout, most_tiles=layout.candidates)
    found = parts.lanes_of(tiles, 128, number_bytes, 4)  # type: ignore[arg-type]
    assert [len(lane) for lane in found] == [turns] * lanes
    most = max(end - first for lane in found for first, end in lane)
    sums = lanes * most * layout.candidates * COLUMNS * 128 * number_bytes
    assert sums <= 1.1 * parts.MOST_BYTES


def test_turns_and_lanes_together():
    layout = lay_out((2000,) * 30, CPU)  # 30,000 programs, 3.9 GB
    tiles = SimpleNamespace(layout=layout, most_tiles=layout.candidates)
    found = parts.lanes_of(tiles, 128, 4, 4)  # type: ignore[arg-type]
    assert [len(lane) for lane in found] == [2, 2, 2]
    assert sorted(row for lane in found for part in lane for row in range(*part)) == [*range(7500)]


@pytest.mark.parametrize("sizes", [(20_000, 49), (49, 20_000, 49), (9000, 300, 9000, 300)])
def test_no_part_is_added_up_in_another_order_than_the_whole(sizes):
    """Sums are split among programs where row blocks are few."""
    from flashschnet_kernels.filter_table.triton import PROGRAMS

    assert parts.FEWEST_OF_A_PART == PROGRAMS
    layout = lay_out(sizes, CPU)
    tiles = SimpleNamespace(layout=layout, most_tiles=layout.candidates)
    lanes = parts.lanes_of(tiles, 128, 4, 4)  # type: ignore[arg-type]
    found = [part for lane in lanes for part in lane]
    assert sorted(row for part in found for row in range(*part)) == [*range(layout.row_blocks)]
    assert all((end - first) * 4 >= parts.FEWEST_OF_A_PART for first, end in found)


def test_lanes_without_a_gpu_are_called_one_after_another():
    called: list[int] = []
    parts.work_beside([lambda: called.append(1), lambda: called.append(2)], parts.side_streams(CPU))
    assert called == [1, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="streams need a GPU")
def test_what_comes_after_waits_for_all_lanes():
    device = torch.device("cuda")
    long = torch.rand(4096, 4096, device=device)
    results = [torch.empty(4096, 4096, device=device) for _ in range(parts.LANES)]

    def lane(out: torch.Tensor) -> None:
        for _ in range(10):
            torch.mm(long, long, out=out)

    work = [lambda out=out: lane(out) for out in results]
    parts.work_beside(work, parts.side_streams(device))
    expected = long @ long
    assert all(torch.equal(found, expected) for found in results)


def test_one_molecule_is_never_cut():
    layout = lay_out((20_000,), CPU)
    tiles = SimpleNamespace(layout=layout, most_tiles=64)
    assert parts.lanes_of(tiles, 128, 4, 4) == [[(0, 2500)]]  # type: ignore[arg-type]


def test_a_part_of_a_part_counts_from_the_whole():
    layout = lay_out((20, 8, 30, 9), CPU)
    rows = torch.arange(layout.row_blocks, dtype=torch.int32)
    lists = rows[:, None].expand(-1, 5).contiguous()
    whole = Tiles(layout, rows, lists, lists, rows, lists)
    part = whole.part(3, 10).part(1, 5)
    assert part.layout.row_blocks == 4
    assert part.count.tolist() == [4, 5, 6, 7]
    assert (part.first_row, part.first_tile) == (4, 20)
    assert part.layout.first_bead.tolist() == layout.first_bead[4:8].tolist()


@pytest.mark.parametrize(
    ("sizes", "splits"),
    [((269,), 8), ((1717,), 5), ((49,) * 64, 1), ((269,) * 64, 1), ((20_000,), 1), ((3,), 2)],
)
def test_few_molecules_are_split_among_more_programs(sizes, splits):
    from flashschnet_kernels.filter_table.triton import splits_of

    tiles = SimpleNamespace(layout=lay_out(sizes, CPU))
    assert splits_of(tiles, 4) == splits  # type: ignore[arg-type]
