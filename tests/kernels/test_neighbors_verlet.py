"""Verlet lists: the very edges of the definition, at every step of any motion, or a clear flag."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flashschnet_kernels.edges import Edges, edges_from_pairs
from flashschnet_kernels.neighbors import verlet as module
from flashschnet_kernels.neighbors.reference import pairs_within
from flashschnet_kernels.neighbors.verlet import (
    VerletList,
    allocate,
    edges,
    grow,
    overflowed,
    update,
)
from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.proteins.mapping import read_protein
from tests.kernels.cases import loaded

SIZES = [(12,), (1,), (1, 1, 1), (2, 1), (7, 1, 33, 5), (20, 20, 20)]
BUFFERS = ("receiver", "sender", "row_start", "reverse")


@pytest.fixture(params=["cpu", "triton"])
def implementation(request) -> str:
    """Every implementation that can be imported here."""
    loaded("neighbors", request.param, request)
    return request.param


@pytest.fixture
def place(implementation, request) -> torch.device:
    """Device of the lists of that implementation."""
    if implementation == "triton":
        return request.getfixturevalue("triton_device")
    return torch.device("cpu")


def blob(beads: int, edge: float = 10.0, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return edge * torch.rand(beads, 3, generator=generator, dtype=torch.float64)


def chain(beads: int, seed: int = 1) -> Tensor:
    """Return a chain in an extended coil: bonds of 3 angstrom, mostly ahead."""
    generator = torch.Generator().manual_seed(seed)
    bonds = torch.randn(beads, 3, generator=generator, dtype=torch.float64)
    bonds[:, 0] += 1.0
    return (3.0 * bonds / bonds.norm(dim=1, keepdim=True)).cumsum(0)


def lattice_of_chains(chains: int, beads: int) -> Tensor:
    """Return compact chains on a cubic lattice, one after another, at the density of a protein."""
    side = math.ceil(chains ** (1 / 3))
    step = (beads / 0.037) ** (1 / 3)
    folded = [
        blob(beads, step, seed=c)
        + step * torch.tensor([c // side // side, c // side % side, c % side])
        for c in range(chains)
    ]
    return torch.cat(folded)


def expected(verlet: VerletList, positions: Tensor) -> Edges:
    """Return the edges that a build at `positions` has to give, from the definition."""
    radius = math.sqrt(verlet.search_radius_squared)
    pairs = pairs_within(positions.cpu(), verlet.molecule_sizes, radius)
    return edges_from_pairs(pairs, verlet.beads)


def assert_same(found: Edges, wanted: Edges) -> None:
    for name in BUFFERS:
        assert torch.equal(getattr(found, name).cpu().long(), getattr(wanted, name)), name


def assert_no_pair_is_missed(verlet: VerletList, positions: Tensor) -> None:
    """Check the listed pairs that are neighbours now against all that there are."""
    listed = edges(verlet).pairs().cpu().long()
    x = positions.cpu()
    r_ij = x[listed[1]] - x[listed[0]]
    near = (r_ij * r_ij).sum(-1) < verlet.cutoff**2
    assert torch.equal(listed[:, near], pairs_within(x, verlet.molecule_sizes, verlet.cutoff))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("skin", [0.0, 1.0])
@pytest.mark.parametrize("sizes", SIZES)
def test_a_build_is_the_definition(implementation, place, sizes, skin, dtype):
    positions = blob(sum(sizes)).to(place, dtype)
    verlet = allocate(positions, sizes, 5.0, skin=skin, implementation=implementation)
    found = edges(verlet)
    assert_same(found, expected(verlet, positions))
    assert_no_pair_is_missed(verlet, positions)
    assert {getattr(found, name).dtype for name in BUFFERS} == {torch.int32}
    assert verlet.capacity == sum(n * (n - 1) for n in sizes)  # cannot overflow
    assert int(verlet.rebuilds) == 1


def test_no_beads(implementation, place):
    verlet = allocate(
        torch.zeros(0, 3, device=place), (), 5.0, skin=1.0, implementation=implementation
    )
    assert edges(verlet).row_start.tolist() == [0]
    assert not overflowed(verlet)


@pytest.mark.parametrize("spacing", [0.01, 100.0])
def test_all_or_none_in_range(implementation, place, spacing):
    positions = spacing * torch.arange(40, dtype=torch.float32, device=place)[:, None].expand(-1, 3)
    verlet = allocate(positions, (40,), 15.0, implementation=implementation)
    assert len(edges(verlet).sender) == (40 * 39 if spacing < 1.0 else 0)


def test_a_pair_at_the_cutoff(implementation, place):
    # At the cutoff is no neighbour; just within is one, whatever the list holds besides.
    for last, neighbours in ((4.0, 0), (math.nextafter(4.0, 0.0), 1)):
        positions = torch.tensor([[0.0, 0.0, 0.0], [3.0, last, 0.0]], dtype=torch.float64)
        positions = positions.to(place)
        assert pairs_within(positions, (2,), 5.0).shape[1] == neighbours
        verlet = allocate(positions, (2,), 5.0, skin=0.0, implementation=implementation)
        assert_no_pair_is_missed(verlet, positions)


def test_non_contiguous_positions(implementation, place):
    positions = blob(24).to(place)[::2]
    verlet = allocate(positions, (12,), 5.0, implementation=implementation)
    assert_same(edges(verlet), expected(verlet, positions))
    moved = blob(24, seed=2).to(place)[::2].requires_grad_()
    update(verlet, moved)
    assert_same(edges(verlet), expected(verlet, moved.detach()))


@pytest.mark.filterwarnings("ignore:invalid value")  # inf - inf, in the interpreter
def test_boxes_hide_no_neighbour(implementation, place, request, monkeypatch):
    # Blocks of a stretched chain are out of reach of each other; a bead that is nowhere must not
    # take the others of its block along, nor one at infinity.
    positions = chain(150)
    positions[70] = torch.nan
    positions[100, 1] = torch.inf
    positions = positions.to(place, torch.float32)
    lists = []
    for above in (0, 10**9):
        kernels = loaded("neighbors", implementation, request)
        monkeypatch.setattr(kernels, "PRUNE_ABOVE", above)
        lists.append(allocate(positions, (90, 60), 15.0, implementation=implementation))
        assert_same(edges(lists[-1]), expected(lists[-1], positions))
    assert bool((lists[0].boxes != lists[1].boxes).any())  # they were used, and not used


@pytest.mark.parametrize("apart", [0.9, 0.97, 1.0, 1.03])
def test_blocks_at_the_edge_of_reach(implementation, place, request, monkeypatch, apart):
    monkeypatch.setattr(loaded("neighbors", implementation, request), "PRUNE_ABOVE", 0)
    centres = 5.0 * apart * torch.tensor([[0.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.6, 0.8, 1.0]])
    positions = centres.double().repeat_interleave(module.BLOCK, 0) + blob(3 * module.BLOCK, 0.3)
    verlet = allocate(
        positions.to(place), (len(positions),), 5.0, skin=0.0, implementation=implementation
    )
    assert_same(edges(verlet), expected(verlet, positions))


@pytest.mark.parametrize("shuffle", [False, True])
def test_three_thousand_beads(shuffle):
    pytest.importorskip("numba")
    positions = lattice_of_chains(12, 250).float()
    if shuffle:
        positions = positions[torch.randperm(3000, generator=torch.Generator().manual_seed(1))]
    verlet = allocate(positions, (3000,), 15.0, implementation="cpu")
    assert_same(edges(verlet), expected(verlet, positions))


@pytest.mark.parametrize("name", ["chignolin", "trpcage", "1enh"])
def test_replicas_of_a_protein(name):
    pytest.importorskip("numba")
    starts = torch.from_numpy(embedded_protein(name).starts[:4]).float()
    positions = starts.reshape(-1, 3) + 0.5 * blob(starts[..., 0].numel(), 1.0).float()
    sizes = (starts.shape[1],) * len(starts)
    verlet = allocate(positions, sizes, 15.0, implementation="cpu")
    assert_same(edges(verlet), expected(verlet, positions))


def test_no_bead_of_1enh_loses_a_neighbour(shared):
    pytest.importorskip("numba")
    positions = read_protein(shared / "pdb" / "homeodomain_1ENH.pdb").positions
    verlet = allocate(torch.from_numpy(positions), (269,), 15.0, skin=0.0, implementation="cpu")
    assert int(edges(verlet).row_start.diff().max()) == 260


def test_a_build_repeats_to_the_bit_and_writes_every_place(implementation, place):
    positions = chain(70).to(place, torch.float32)
    first = allocate(positions, (40, 30), 8.0, implementation=implementation)
    second = allocate(positions, (40, 30), 8.0, implementation=implementation)
    for name in (*BUFFERS[:2], "reverse", "counts"):
        getattr(second, name).fill_(-7)
    second.row_start[1:] = -7
    second.built_at.fill_(torch.nan)
    update(second, positions)
    for name in BUFFERS:
        assert torch.equal(getattr(edges(first), name), getattr(edges(second), name))


def test_what_did_not_move_is_not_built(implementation, place):
    positions = blob(20).to(place, torch.float32)
    verlet = allocate(positions, (20,), 5.0, skin=1.0, implementation=implementation)
    for name in ("receiver", "sender", "reverse", "boxes"):
        getattr(verlet, name).fill_(-7)
    positions[3, 0] += 0.49  # less than half the skin
    update(verlet, positions)
    assert (verlet.sender == -7).all() and (verlet.reverse == -7).all()
    assert int(verlet.rebuilds) == 1
    positions[3, 0] += 0.02  # more
    update(verlet, positions)
    assert_same(edges(verlet), expected(verlet, positions))
    assert int(verlet.rebuilds) == 2


def test_a_bead_without_a_place_is_noticed(implementation, place):
    positions = blob(20).to(place, torch.float32)
    verlet = allocate(positions, (20,), 5.0, implementation=implementation)
    positions[4, 2] = torch.nan
    update(verlet, positions)
    assert int(verlet.rebuilds) == 2
    assert int(verlet.counts[4]) == 0
    assert_same(edges(verlet), expected(verlet, positions))


def walk(positions, sizes, skin, steps, size, implementation, seed=0, dtype=torch.float32):
    """Check the list at every step of a random walk and return the number of builds."""
    generator = torch.Generator().manual_seed(seed)
    device, x = positions.device, positions.double().cpu()
    verlet = allocate(positions.to(dtype), sizes, 5.0, skin=skin, implementation=implementation)
    for _ in range(steps):
        x = x + size * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        now = x.to(device, dtype)
        update(verlet, now)
        assert_no_pair_is_missed(verlet, now)
    return int(verlet.rebuilds)


def test_a_walk_misses_no_pair(implementation, place):
    steps = 200 if implementation == "cpu" else 30
    builds = walk(blob(30).to(place), (18, 12), 1.0, steps, 0.05, implementation)
    assert 1 < builds < steps / 2


@settings(deadline=None, max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    edge=st.floats(2.0, 30.0),
    skin=st.floats(0.0, 3.0),
    size=st.floats(0.001, 0.3),
    away=st.sampled_from([0.0, 1e3, 1e5]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 2**31),
)
def test_any_walk_misses_no_pair(sizes, edge, skin, size, away, dtype, seed):
    pytest.importorskip("numba")
    positions = blob(sum(sizes), edge, seed) + away
    walk(positions, tuple(sizes), skin, 200, size, "cpu", seed, dtype)


@settings(deadline=None, max_examples=300)
@given(
    skin=st.floats(0.01, 3.0),
    beyond=st.sampled_from([0.0, 1e-9, 1e-7, 5e-7, 1e-6, 2e-6, 1e-5]),
    short=st.sampled_from([-1e-5, -1e-6, -1e-7, 0.0, 1e-7, 1e-6, 2e-6, 1e-5]),
    away=st.floats(-1e4, 1e4),
    direction=st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(0.1, 1)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_two_beads_that_meet_as_fast_as_they_may(skin, beyond, short, away, direction, dtype):
    # The worst case of the proof: a pair just beyond the list, each bead half a skin towards the
    # other, with all that rounding can add.
    pytest.importorskip("numba")
    unit = torch.tensor(direction, dtype=torch.float64)
    unit /= unit.norm()
    far = torch.stack((0 * unit, (15.0 + skin) * (1 + beyond) * unit)) + away
    verlet = allocate(far.to(dtype), (2,), 15.0, skin=skin, implementation="cpu")
    step = 0.5 * skin * (1 - short) * unit
    now = (far + torch.stack((step, -step))).to(dtype)
    update(verlet, now)
    assert_no_pair_is_missed(verlet, now)


def test_rounding_misses_no_pair(implementation, place):
    # Pairs that the same list without its slack would miss, by rounding alone: found by trying
    # many, then given to the real one.
    cutoff, skin = 15.0, 1.5
    generator = torch.Generator().manual_seed(1)
    unit = torch.randn(300_000, 3, generator=generator)
    unit /= unit.norm(dim=1, keepdim=True)
    first = 3.0 * torch.rand(unit.shape, generator=generator)
    last = first + (cutoff + skin) * unit
    first_now, last_now = first + 0.5 * skin * unit, last - 0.5 * skin * unit

    def squared(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).square().sum(1)

    missed = squared(first, last) >= (cutoff + skin) ** 2
    missed &= squared(first, first_now) <= (0.5 * skin) ** 2
    missed &= squared(last, last_now) <= (0.5 * skin) ** 2
    missed &= squared(first_now, last_now) < cutoff**2
    chosen = missed.nonzero()[:20, 0]
    assert len(chosen) == 20
    for pair in chosen:
        before = torch.stack((first[pair], last[pair])).to(place)
        verlet = allocate(before, (2,), cutoff, skin=skin, implementation=implementation)
        now = torch.stack((first_now[pair], last_now[pair])).to(place)
        update(verlet, now)
        assert_no_pair_is_missed(verlet, now)


def test_an_overflow_is_flagged_and_never_part_of_the_neighbours(implementation, place):
    loose, tight = 4.0 * blob(30).to(place), blob(30).to(place)
    needed = len(edges(allocate(loose, (20, 10), 5.0, implementation=implementation)).sender)
    verlet = allocate(loose, (20, 10), 5.0, implementation=implementation, capacity=needed)
    assert not overflowed(verlet)
    assert len(edges(verlet).sender) == needed  # filled to the last place
    update(verlet, tight)
    assert overflowed(verlet)
    assert not verlet.row_start.any()  # empty, so that no kernel reads beyond the room
    with pytest.raises(RuntimeError, match="call grow"):
        edges(verlet)
    update(verlet, loose)
    assert overflowed(verlet)  # steps in between saw nothing: stays until somebody looked
    larger = grow(verlet, tight)
    assert not overflowed(larger)
    assert_same(edges(larger), expected(larger, tight))
    assert int(larger.rebuilds) == int(verlet.rebuilds) + 1


def test_one_place_too_few_is_an_overflow(implementation, place):
    positions = blob(12).to(place)
    needed = len(edges(allocate(positions, (12,), 5.0, implementation=implementation)).sender)
    verlet = allocate(positions, (12,), 5.0, implementation=implementation, capacity=needed - 1)
    assert overflowed(verlet)
    assert int(verlet.prefix[-1]) == needed


def test_large_molecules_get_head_room(implementation, place, monkeypatch):
    monkeypatch.setattr(module, "ALWAYS_ENOUGH", 100)
    positions = chain(60).to(place)
    verlet = allocate(positions, (60,), 5.0, implementation=implementation)
    count = len(edges(verlet).sender)
    assert count < int(1.5 * count) <= verlet.capacity <= 60 * 59
    assert int(verlet.rebuilds) == 1
    assert_same(edges(verlet), expected(verlet, positions))


def test_indices_beyond_int32(implementation, place, monkeypatch):
    positions = blob(20).to(place, torch.float32)
    monkeypatch.setattr(module, "INT32_LIMIT", 100)
    verlet = allocate(positions, (12, 8), 5.0, implementation=implementation)
    assert {getattr(verlet, name).dtype for name in BUFFERS} == {torch.int64}
    assert_same(edges(verlet), expected(verlet, positions))
    monkeypatch.setattr(module, "INT32_LIMIT", 19)
    with pytest.raises(ValueError, match="20 beads"):
        allocate(positions, (12, 8), 5.0, implementation=implementation)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"implementation": "fast"}, ValueError, "known: triton, cpu"),
        ({"cutoff": 0.0}, ValueError, "must be positive"),
        ({"skin": -1.0}, ValueError, "not negative"),
        ({"skin": math.nan}, ValueError, "not negative"),
        ({"molecule_sizes": (3,)}, RuntimeError, "3 beads together"),
        ({"positions": torch.zeros(4, 3, dtype=torch.float16)}, TypeError, "float32 or float64"),
    ],
)
def test_what_makes_no_sense_is_refused(change, error, message):
    asked = {"positions": blob(4), "molecule_sizes": (4,), "cutoff": 5.0, "implementation": "cpu"}
    with pytest.raises(error, match=message):
        allocate(**{**asked, **change})


def test_positions_of_another_list_are_refused(implementation, place):
    verlet = allocate(blob(4).to(place), (4,), 5.0, implementation=implementation)
    for other in (blob(5), blob(4).float()):
        with pytest.raises(RuntimeError, match="the list is for"):
            update(verlet, other.to(place))


def test_triton_without_a_gpu_says_so(triton_device, monkeypatch):
    if triton_device.type == "cuda":
        with pytest.raises(RuntimeError, match="needs a GPU"):
            allocate(blob(4), (4,), 5.0, implementation="triton")
        return
    import triton

    monkeypatch.setattr(triton, "JITFunction", object)  # as if the kernels were compiled
    with pytest.raises(RuntimeError, match="needs a GPU"):
        allocate(blob(4), (4,), 5.0, implementation="triton")


def test_an_update_does_not_wait_and_can_be_captured():
    pytest.importorskip("triton")
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    start = lattice_of_chains(3, 250).float().cuda()
    verlet = allocate(start, (500, 250), 15.0)
    positions = start + 1.0  # stale
    update(verlet, positions)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        update(verlet, start)
        update(verlet, start)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update(verlet, positions)
    for shift in (0.1, 1.0, 5.0):
        generator = torch.Generator().manual_seed(1)
        noise = shift * torch.randn(start.shape, generator=generator)
        positions.copy_(start + noise.cuda())
        builds = int(verlet.rebuilds)
        graph.replay()
        assert int(verlet.rebuilds) == builds + int(verlet.stale)
        assert_no_pair_is_missed(verlet, positions)
