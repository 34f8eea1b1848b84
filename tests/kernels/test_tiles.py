"""Tiles of neighbours on GPU (or in Triton's interpreter), against all pairs of the reference."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashschnet_kernels.neighbors.reference import pairs_within
from tests.kernels.cases import CUTOFF, scattered

SIZES = [
    (0,),
    (1,),
    (8,),
    (9,),
    (16,),  # two row blocks: half way round the circle is the other one
    (17,),
    (32,),
    (33,),
    (48,),
    (1, 1, 1),
    (17, 0, 1, 16, 9, 32),
]


@pytest.fixture
def search(triton_device):
    """A function that finds the tiles of positions, and the search that found them."""
    from flashschnet_kernels.neighbors.tiles import TileSearch

    def find(positions, sizes, **options):
        searching = TileSearch(sizes, CUTOFF, triton_device, **options)
        return searching(positions.to(triton_device, torch.float32)), searching

    return find


def spread(sizes: tuple[int, ...], radius: float) -> torch.Tensor:
    """Return molecules in balls around the same centre: only the sizes keep them apart."""
    parts = [scattered(size, radius, seed) for seed, size in enumerate(sizes)]
    return torch.cat([torch.zeros(0, 3, dtype=torch.float64), *parts])


def alone(beads: int) -> torch.Tensor:
    """Return beads of which none sees another."""
    return 1000.0 * torch.arange(3.0 * beads, dtype=torch.float64).view(beads, 3)


def neighbours(positions: torch.Tensor, sizes: tuple[int, ...]) -> set[tuple[int, int]]:
    """Return all pairs i < j within the cutoff; the reference wants no empty molecules."""
    sizes = tuple(size for size in sizes if size)
    return set(map(tuple, pairs_within(positions, sizes, CUTOFF).T.tolist())) if sizes else set()


def owned(tiles) -> list[list[int]]:
    """First beads of the columns of each row block's tiles."""
    assert (tiles.count <= tiles.most_tiles).all()
    rows = zip(tiles.column.tolist(), tiles.count.tolist(), strict=True)
    return [row[:count] for row, count in rows]


def tile_pairs(tiles) -> list[set[tuple[int, int]]]:
    """The unordered pairs of beads in each tile, molecules respected as kernels do."""
    from flashschnet_kernels.neighbors.tiles import COLUMNS, ROWS

    layout, found = tiles.layout, []
    bounds = zip(layout.first_bead.tolist(), layout.molecule_end.tolist(), strict=True)
    for (first, end), columns in zip(bounds, owned(tiles), strict=True):
        for column in columns:
            rows = range(first, min(first + ROWS, end))
            others = range(column, min(column + COLUMNS, end))
            found.append({(min(i, j), max(i, j)) for i in rows for j in others if i != j})
    return found


def check(tiles, positions, sizes):
    near = neighbours(positions, sizes)
    blocks = tile_pairs(tiles)
    times = Counter(pair for pairs in blocks for pair in pairs)
    assert all(count == 1 for count in times.values())
    assert near <= times.keys()
    assert all(pairs & near for pairs in blocks)  # no tile for nothing
    molecule = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes).long())
    assert all(molecule[i] == molecule[j] for i, j in times)
    check_slots(tiles)
    check_incoming(tiles)


def check_incoming(tiles):
    """Every row block knows the tiles whose columns are its own beads, the nearest owner first."""
    counts = tiles.incoming_count.tolist()
    for row, count in enumerate(counts):
        first = int(tiles.layout.molecule_block[row])
        blocks = int(tiles.layout.molecule_blocks[row])
        owners = [(first + (row - first - step) % blocks, step) for step in range(blocks // 2 + 1)]
        places = [(owner, int(tiles.slot[owner, step])) for owner, step in owners]
        expected = [owner * tiles.most_tiles + place for owner, place in places if place >= 0]
        assert tiles.incoming[row, :count].tolist() == expected
    assert sum(counts) == int(tiles.count.sum())


def check_slots(tiles):
    """Every tile is found again from its candidate, in the order of the list."""
    for row, columns in enumerate(owned(tiles)):
        slots = tiles.slot[row].tolist()
        first = int(tiles.layout.molecule_block[row])
        blocks = int(tiles.layout.molecule_blocks[row])
        start = int(tiles.layout.molecule_start[row])
        steps = [step for step in range(blocks // 2 + 1) if slots[step] >= 0]
        assert [slots[step] for step in steps] == list(range(len(columns)))
        assert [start + (row - first + step) % blocks * 8 for step in steps] == columns


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("radius", [7.0, 24.0], ids=["all in range", "some"])
def test_every_neighbour_lies_in_exactly_one_tile(search, sizes, radius):
    positions = spread(sizes, radius)
    tiles, searching = search(positions, sizes)
    assert searching.complete
    check(tiles, positions, sizes)


def test_row_blocks_own_about_as_many_tiles(search):
    positions = spread((72,), 7.4)
    tiles, _ = search(positions, (72,))
    assert tiles.count.tolist() == [5] * 9


def test_a_chain_keeps_few_tiles(search):
    positions = torch.zeros(64, 3, dtype=torch.float64)
    positions[:, 0] = 3.8 * torch.arange(64)
    tiles, _ = search(positions, (64,))
    check(tiles, positions, (64,))
    assert tiles.count.tolist() == [2] * 7 + [1]


def test_at_the_cutoff_is_out_of_range(search):
    positions = torch.zeros(16, 3, dtype=torch.float64)
    positions[:8, 0] = 1000.0 * torch.arange(1, 9)
    positions[8:, 1] = 1000.0 * torch.arange(1, 9)
    positions[9] = positions[1] + torch.tensor([CUTOFF, 0.0, 0.0])
    tiles, _ = search(positions, (16,))
    assert tiles.count.tolist() == [0, 0]
    positions[9, 0] -= 2.0**-9
    tiles, _ = search(positions, (16,))
    assert owned(tiles) == [[8], []]


def test_too_little_room_grows_and_never_truncates(search, triton_device):
    sizes = (50, 9)
    dense, loose = spread(sizes, 8.0), alone(59)
    tiles, searching = search(loose, sizes, room=2, unit=1)
    assert not searching.complete
    assert 0 < searching.capacity < searching.layout.candidates
    check(tiles, loose, sizes)
    for positions in (dense, loose, dense):
        tiles = searching(positions.to(triton_device, torch.float32))
        check(tiles, positions, sizes)
        assert tiles.most_tiles == searching.capacity
    assert searching.capacity >= searching.layout.candidates  # dense needs all of them
    everything, _ = search(dense, sizes)
    assert owned(tiles) == owned(everything)


@pytest.mark.parametrize("unit", [1, 4])
def test_room_for_a_quarter_more_than_the_first_search_needed(search, unit):
    positions = torch.zeros(200, 3, dtype=torch.float64)
    positions[:, 0] = torch.arange(200)
    tiles, searching = search(positions, (200,), room=1, unit=unit)
    needed = int(tiles.count.max())
    check(tiles, positions, (200,))
    wanted = needed + needed // 4 + 1
    assert wanted <= searching.capacity < min(wanted + unit, searching.layout.candidates)
    assert searching.capacity % unit == 0


def test_room_comes_in_units_that_need_no_new_variant_of_a_kernel():
    from flashschnet_kernels.neighbors.tiles import UNIT, room_for

    # Triton compiles a number that 16 divides apart from others.
    assert UNIT % 16 == 0
    for needed in range(200):
        room = room_for(needed)
        assert room % UNIT == 0
        assert 1.25 * needed < room <= 1.25 * needed + 1 + UNIT


@pytest.fixture
def short(search, triton_device):
    """Tiles of a search without a look that had room for one per row block, and the search."""
    sizes = (50, 9)
    dense = spread(sizes, 8.0)
    tiles, searching = search(alone(59), sizes, room=0, unit=1)
    assert searching.capacity == 1
    assert not tiles.count.any()
    return searching(dense.to(triton_device, torch.float32), look=False), searching, dense, sizes


def test_a_search_without_a_look_says_on_the_device_what_it_had_no_room_for(short, search):
    tiles, searching, dense, sizes = short
    everything, _ = search(dense, sizes)
    assert searching.capacity == tiles.most_tiles == 1
    assert int(searching.shortage) == int(everything.count.max()) > 1


def test_a_list_without_room_stays_within_its_room(short, search):
    tiles, _, dense, sizes = short
    everything, _ = search(dense, sizes)
    assert owned(tiles) == [columns[:1] for columns in owned(everything)]
    check_slots_are_places(tiles)
    check_incoming(tiles)


def check_slots_are_places(tiles):
    """A candidate is in the list, or it has no slot."""
    for row, count in enumerate(tiles.count.tolist()):
        candidates = int(tiles.layout.molecule_blocks[row]) // 2 + 1
        places = tiles.slot[row, :candidates].tolist()
        assert [place for place in places if place >= 0] == list(range(count))


def test_what_was_missing_is_kept_until_it_is_asked_for(short, search, triton_device):
    _, searching, dense, sizes = short
    needed = int(searching.shortage)
    searching(alone(59).to(triton_device, torch.float32), look=False)
    assert int(searching.shortage) == needed  # a later search with room does not hide it
    looked = searching(dense.to(triton_device, torch.float32))
    assert int(searching.shortage) == needed  # nor one that looks and grows
    check(looked, dense, sizes)
    searching.shortage.zero_()
    tiles = searching(dense.to(triton_device, torch.float32), look=False)
    assert int(searching.shortage) == 0
    check(tiles, dense, sizes)


def test_with_enough_room_a_look_changes_nothing(search, triton_device):
    dense = spread((50, 9), 8.0)
    tiles, searching = search(dense, (50, 9), room=0)
    unseen = searching(dense.to(triton_device, torch.float32), look=False)
    for name in ("count", "incoming_count"):
        assert torch.equal(getattr(unseen, name), getattr(tiles, name))
    assert owned(unseen) == owned(tiles)


def test_the_first_search_counts_even_without_a_look(triton_device):
    from flashschnet_kernels.neighbors.tiles import TileSearch

    dense = spread((50, 9), 8.0)
    searching = TileSearch((50, 9), CUTOFF, triton_device, room=0, unit=1)
    tiles = searching(dense.to(triton_device, torch.float32), look=False)
    check(tiles, dense, (50, 9))
    assert int(searching.shortage) == 0


def test_beads_without_neighbours_get_some_room(search):
    _, searching = search(alone(40), (40,), room=0)
    assert searching.capacity > 0


@pytest.mark.parametrize("needed", [1, 5, 300])
def test_room_never_shrinks(triton_device, needed):
    from flashschnet_kernels.neighbors.tiles import TileSearch

    searching = TileSearch((50,), CUTOFF, triton_device, room=0)
    searching.grow(40)
    before = searching.capacity
    searching.grow(needed)
    assert searching.capacity == max(before, searching.capacity)
    assert searching.capacity > needed


def test_same_tiles_every_run_and_in_a_batch(search):
    positions = spread((33,), 16.0)
    first, searching = search(positions, (33,))
    again = searching(positions.to(first.count.device, torch.float32))
    assert owned(first) == owned(again)
    batch, _ = search(positions.repeat(2, 1), (33, 33))
    shifted = [[column + 33 for column in row] for row in owned(first)]
    assert owned(batch) == owned(first) + shifted


def test_non_contiguous_positions(search):
    positions = spread((17,), 12.0)
    tiles, _ = search(positions.repeat_interleave(2, dim=1)[:, ::2], (17,))
    check(tiles, positions, (17,))


def test_a_position_that_is_not_a_number_does_no_harm(search):
    positions = spread((20,), 7.0)
    positions[3, 1] = float("nan")
    tiles, _ = search(positions, (20,))
    assert neighbours(positions, (20,)) <= set().union(*tile_pairs(tiles))


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sizes=st.lists(st.integers(0, 26), min_size=1, max_size=3).map(tuple),
    radius=st.sampled_from([9.0, 20.0, 80.0]),
    room=st.sampled_from([1, 2, 64]),
)
def test_any_sizes_and_density(search, sizes, radius, room):
    positions = spread(sizes, radius)
    tiles, _ = search(positions, sizes, room=room, unit=1)
    check(tiles, positions, sizes)
