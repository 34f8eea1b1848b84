"""Room for tiles: steps that ran short of it are made again, and the result does not tell."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from flashschnet_kernels.plan import REFERENCE, parse_plan
from flashschnet_lab.loading import default_prior
from flashschnet_lab.potentials.batch import Batch
from flashschnet_lab.potentials.neighborhood import TileFinder
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.potentials.sum import ForceField
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.guards import SimulationStopped
from flashschnet_lab.simulation.restart import restore, save_checkpoint
from flashschnet_lab.simulation.state import State
from flashschnet_lab.system import Model, System, build_force_field

pytest.importorskip("triton")
from flashschnet_kernels.neighbors import tiles as tile_search
from flashschnet_kernels.neighbors.tiles import Tiles, TileSearch

CPU = torch.device("cpu")
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda", 0) if CUDA else CPU  # as tensors call it
CUTOFF = 8.0
STEPS = 110
"""In which the two rows of beads meet: what the first search counted is then too little."""

needs_kernels = pytest.mark.skipif(
    not CUDA and not os.environ.get("TRITON_INTERPRET"),
    reason="needs a GPU, or Triton's interpreter",
)
needs_gpu = pytest.mark.skipif(not CUDA, reason="CUDA graphs need a GPU")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors so small are slower on many threads, above all beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def listed_by_torch(
    positions: Tensor, layout: tile_search.TileLayout, cutoff: float, capacity: int, short: Tensor
) -> Tiles:
    """The search in plain PyTorch, for tests that are not about its kernels: count and column."""
    beads, rows = torch.arange(8), torch.arange(layout.row_blocks)[:, None]
    start, end, blocks = (
        each.long()[:, None]
        for each in (layout.molecule_start, layout.molecule_end, layout.molecule_blocks)
    )
    local, step = rows - layout.molecule_block[:, None], torch.arange(layout.candidates)
    other = (local + step) % blocks  # [rows, candidates]
    owned = (step < blocks // 2 + 1) & ((2 * step < blocks) | (local < other))
    first = start + other * 8
    i = (start + local * 8 + beads)[:, None, :, None]
    j = (first[..., None] + beads)[:, :, None, :]
    end = end[..., None, None]
    x = torch.cat([positions, positions.new_zeros(16, 3)])
    near = (x[i] - x[j]).square().sum(-1) < cutoff**2  # [rows, candidates, 8, 8]
    near &= (i != j) & (i < end) & (j < end)
    found = owned & near.any(dim=-1).any(dim=-1)
    needed = found.sum(1)
    if int(needed.max()) > capacity:
        short.clamp_(min=int(needed.max()))
    place = torch.where(found, found.cumsum(1) - 1, capacity).clamp(max=capacity)
    column = torch.zeros(layout.row_blocks, capacity + 1, dtype=torch.int64)
    column.scatter_(1, place, first)
    none = torch.zeros(0, dtype=torch.int32)
    count = needed.clamp(max=capacity).int()
    return Tiles(layout, count, column[:, :capacity].int(), none, none, none)


def energy_of_tiles(positions: Tensor, tiles: Tiles) -> tuple[Tensor, Tensor]:
    """Energies [beads] and gradient of beads that attract each other: every missing tile shows."""
    layout, beads = tiles.layout, torch.arange(8)
    listed = torch.arange(tiles.most_tiles) < tiles.count[:, None]
    row, _ = listed.nonzero(as_tuple=True)
    i = layout.first_bead[row].long()[:, None, None] + beads[:, None]  # [tiles, 8, 1]
    j = tiles.column[listed].long()[:, None, None] + beads  # [tiles, 1, 8]
    end = layout.molecule_end[row].long()[:, None, None]
    same = layout.first_bead[row].long()[:, None, None] == tiles.column[listed][:, None, None]
    counts = (i < end) & (j < end) & (~same | (i < j))
    i, j = i.expand(counts.shape)[counts], j.expand(counts.shape)[counts]
    with torch.enable_grad():
        x = positions.detach().requires_grad_()
        r_ij = (x[j] - x[i]).norm(dim=1).clamp(max=CUTOFF)
        energy = torch.zeros_like(x[:, 0]).index_add(0, i, 0.1 * (r_ij - CUTOFF))
        (gradient,) = torch.autograd.grad(energy.sum(), x)
    return energy.detach(), gradient


@pytest.fixture(scope="module")
def system() -> System:
    """Eighty beads with a network that is never called."""
    network = SchNet(SchNetShape(hidden=8, channels=8, blocks=1, radial_functions=4, cutoff=CUTOFF))
    protein = build_chain("A" * 16, "extended")
    assert protein.beads == 80
    return System(protein, Model("attraction", None, network), protein.positions)


def two_rows(apart: float) -> np.ndarray:
    """Two rows of forty beads, so far from each other."""
    x = np.zeros((80, 3))
    x[:40, 0] = x[40:, 0] = 3.0 * np.arange(40)
    x[40:, 1] = apart
    return x


class Simulated:
    """Makes simulations whose network is `energy_of_tiles`."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.complete = False
        self.searches: list[bool] = []

    def force_field(self, systems, *, plan, dtype=torch.float32, **_) -> ForceField:
        batch = Batch(tuple(s.protein.beads for s in systems))
        types = torch.zeros(batch.beads, dtype=torch.int64)
        made = ForceField(
            batch, network=self.system.model.network, bead_types=types, plan=plan, table=object()
        )
        made._evaluate, made._evaluates_on = energy_of_tiles, CPU
        room = tile_search.ROOM if self.complete else 0
        search = TileSearch(batch.sizes, CUTOFF, CPU, room=room, unit=1)
        made._finder = TileFinder(CPU, search)
        assert search.complete == self.complete
        return made

    def start(self, *, complete: bool = False, towards: float = 40.0, **options) -> Simulation:
        """Two rows that fly towards each other, in angstrom/ps."""
        self.complete = complete
        langevin = options.pop("langevin", "reference")
        plan = replace(
            REFERENCE,
            neighbors="tiles",
            message_passing="triton",
            aggregation="triton",
            filters="table-exact",
            nodes="triton",
            langevin=langevin,
        )
        options = {"replicas": 2, "seed": 3, "positions": two_rows(14.0)} | options
        simulation = Simulation(self.system, device="cpu", plan=plan, **options)
        velocities = simulation.state.velocities.clone()
        velocities[:, :40, 1] += 0.5 * towards
        velocities[:, 40:, 1] -= 0.5 * towards
        simulation.state = replace(simulation.state, velocities=velocities)
        return simulation


@pytest.fixture
def simulated(system, monkeypatch) -> Simulated:
    made = Simulated(system)
    monkeypatch.setattr(tile_search, "_search", listed_by_torch)
    monkeypatch.setattr("flashschnet_lab.system.build_force_field", made.force_field)
    return made


def search_of(simulation: Simulation) -> TileSearch:
    finder = simulation.force_field._finder
    assert isinstance(finder, TileFinder)
    return finder.search


class Frames:
    """A reporter that keeps the frames and the states they belong to."""

    def __init__(self) -> None:
        self.frames, self.then = [], lambda frame: None

    def __call__(self, frame) -> None:
        self.frames.append(frame)
        self.then(frame)


@pytest.mark.parametrize(
    ("options", "run_ahead"),
    [
        ({}, 0),
        ({}, 1),
        ({"integrator": "verlet", "replicas": 1}, 1),
        ({"integrator": "brownian", "friction": 50.0}, 0),
        ({"langevin": "cpu"}, 1),
    ],
    ids=["langevin", "ahead", "verlet", "brownian", "fused"],
)
def test_steps_without_room_are_made_again_to_the_bit(simulated, same, options, run_ahead):
    if options.get("langevin") == "cpu":
        pytest.importorskip("numba")
    found = []
    for complete in (True, False):
        frames = Frames()
        each = simulated.start(complete=complete, report_every=40, reporters=[frames], **options)
        each._run_ahead = run_ahead
        if options.get("integrator") == "brownian":  # it has no velocities: the rows start near
            before = search_of(each).capacity
            search_of(each).capacity = before if complete else 1
        room = search_of(each).capacity
        each.run(STEPS)
        assert complete or search_of(each).capacity > room
        found.append((each, frames.frames))
    (enough, expected), (bounded, seen) = found
    assert same(enough.state, bounded.state)
    assert torch.equal(enough.state.failed_step, bounded.state.failed_step)
    assert [frame.step for frame in seen] == [frame.step for frame in expected]
    for one, other in zip(expected, seen, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.potential_energy, other.potential_energy)
    assert bounded.state.step == STEPS


def test_no_step_looks_whether_there_was_room(simulated, monkeypatch):
    simulation = simulated.start()
    looks = []
    call = TileSearch.__call__
    monkeypatch.setattr(
        TileSearch,
        "__call__",
        lambda s, x, *, look=True: looks.append(look) or call(s, x, look=look),
    )
    simulation.run(STEPS)
    assert len(looks) > STEPS
    assert not any(looks)
    simulation.force_field(simulation.state.positions)
    assert looks[-1]


def test_a_guard_does_not_stop_a_replica_for_what_was_made_again(simulated, monkeypatch):
    def not_a_number(positions, tiles):
        energy, gradient = energy_of_tiles(positions, tiles)
        full = tiles.count == tiles.most_tiles
        return energy * (torch.nan if tiles.most_tiles == 1 and full.any() else 1.0), gradient

    simulation = simulated.start()
    simulation.force_field._evaluate = not_a_number
    search_of(simulation).capacity = 1
    simulation.run(20)
    assert simulation.state.step == 20
    assert not simulation.failures()


def test_a_guard_still_stops_what_had_room(simulated):
    simulation = simulated.start()
    simulation.state.velocities[1, 7] = 1e6
    with pytest.raises(SimulationStopped, match="replica 1 left physics at step 1: bead 7"):
        simulation.run(20)


def test_a_reporter_sees_the_state_of_its_frame(simulated):
    frames = Frames()
    simulation = simulated.start(reporters=[frames], report_every=30)
    simulation._run_ahead = 1
    states: list[State] = []
    frames.then = lambda _: states.append(simulation.state)
    search_of(simulation).capacity = 1
    simulation.run(90)
    assert [state.step for state in states] == [frame.step for frame in frames.frames]
    for state, frame in zip(states, frames.frames, strict=True):
        np.testing.assert_array_equal(state.positions.numpy(), frame.positions)


def test_a_reporter_may_evaluate_forces_meanwhile(simulated, same):
    ends = []
    for complete in (True, False):
        frames = Frames()
        simulation = simulated.start(complete=complete, reporters=[frames], report_every=30)
        simulation._run_ahead = 1
        near = torch.from_numpy(two_rows(3.0)).float().expand(2, -1, -1)
        frames.then = lambda _, s=simulation, x=near: s.force_field(x)
        simulation.run(STEPS)
        ends.append(simulation.state)
    assert same(*ends)


def test_stopping_leaves_only_steps_that_had_room(simulated, same):
    frames = Frames()
    simulation = simulated.start(reporters=[frames], report_every=20)
    simulation._run_ahead = 1
    search_of(simulation).capacity = 1
    frames.then = lambda frame: simulation.stop() if frame.step == 60 else None
    simulation.run(STEPS)
    expected = simulated.start(complete=True)
    expected.run(60)
    assert same(simulation.state, expected.state)


def test_live_frames_are_right(simulated):
    steps = [frame.step for frame in simulated.start().iterate(60, 25)]
    assert steps == [25, 50, 60]


def test_a_restart_counts_at_its_first_step(simulated, same, tmp_path):
    first = simulated.start()
    first.run(60)
    save_checkpoint(first, tmp_path / "c")
    second = restore(tmp_path / "c", simulated.system, plan=first.plan, device="cpu")
    assert search_of(second).capacity == 0
    for simulation in (first, second):
        simulation.run(STEPS - 60)
    assert same(first.state, second.state)


def test_another_plan_counts_anew(simulated):
    simulation = simulated.start()
    simulation.run(10)
    simulation.use_plan(simulation.plan)
    assert search_of(simulation).capacity == 0
    simulation.run(10)
    assert search_of(simulation).capacity > 0
    assert simulation.state.step == 20


def test_room_grows_by_what_was_needed_and_is_reported(simulated, caplog):
    simulation = simulated.start()
    finder = simulation.force_field._finder
    finder.search.capacity = 16
    with caplog.at_level(logging.INFO):
        finder.grow(20)
    assert finder.search.capacity == 26
    assert "room for 16 of 20; it has room for 26 now" in caplog.text


def test_room_is_not_trusted_beyond_twice_what_it_was(simulated):
    finder = simulated.start().force_field._finder
    finder.search.capacity = 16
    finder.grow(1000)  # of beads that went astray
    assert finder.search.capacity == 41  # a quarter more than twice


def test_a_force_field_alone_never_leaves_out_a_tile(simulated):
    simulation = simulated.start()
    search_of(simulation).capacity = 1
    near = torch.from_numpy(two_rows(3.0)).float().expand(2, -1, -1)
    bounded = simulation.force_field(near)
    simulated.complete = True
    expected = simulated.force_field([simulated.system] * 2, plan=simulation.plan)(near)
    assert torch.equal(bounded.energy, expected.energy)
    assert torch.equal(bounded.forces, expected.forces)


def most_tiles_in(finder: TileFinder, positions: Tensor) -> int:
    """Return the room of a search of rows that are near each other, which needs more than 1."""
    finder.search.capacity = 1
    return finder.find(positions).most_tiles


def test_searches_look_again_after_an_error_and_always_in_other_threads(simulated):
    finder = simulated.start(replicas=1).force_field._finder
    near = torch.from_numpy(two_rows(3.0)).float()
    with finder.look_later(), ThreadPoolExecutor(1) as another:
        assert most_tiles_in(finder, near) == 1
        assert another.submit(most_tiles_in, finder, near).result() > 1
    with pytest.raises(KeyboardInterrupt), finder.look_later():
        raise KeyboardInterrupt
    assert most_tiles_in(finder, near) > 1


def tiny(sequence: str) -> System:
    state = torch.random.get_rng_state()
    torch.manual_seed(7)
    network = SchNet(
        SchNetShape(
            hidden=16, channels=16, blocks=1, radial_functions=8, output_widths=(8,), cutoff=CUTOFF
        )
    )
    torch.random.set_rng_state(state)
    protein = build_chain(sequence, "extended")
    return System(protein, Model("tiny", default_prior("five_bead"), network), protein.positions)


def bounded(force_field: ForceField, capacity: int = 0) -> TileFinder:
    """Let the tiles of a force field run short."""
    search = TileSearch(force_field.batch.sizes, CUTOFF, DEVICE, room=0, unit=1)
    search.capacity = capacity
    force_field._finder = TileFinder(DEVICE, search)
    return force_field._finder


@needs_kernels
@pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
def test_kernels_of_a_batch_of_different_molecules_do_not_see_the_room():
    long, short = tiny("ALKEG"), tiny("AG")
    batch = [long, replace(short, model=long.model)]
    force_field = build_force_field(
        batch, device=DEVICE, plan=parse_plan("flash-float32", "cuda"), deterministic=True
    )
    x = torch.from_numpy(np.concatenate([s.protein.positions for s in batch])).float().to(DEVICE)
    expected = force_field(x)
    finder = bounded(force_field, capacity=1)
    with finder.look_later():
        wrong = force_field(x)
    assert int(finder.shortage()) > 1
    assert not torch.equal(wrong.forces, expected.forces)
    again = force_field(x)  # outside, it looks
    assert torch.equal(again.energy, expected.energy)
    assert torch.equal(again.forces, expected.forces)
    assert finder.search.capacity > 1


@needs_kernels
@pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
def test_the_search_of_these_tests_is_that_of_the_kernels():
    for sizes in ((80,), (20, 33)):
        x = torch.from_numpy(two_rows(5.0)[: sum(sizes)]).float()
        for capacity in (1, 2, 6):
            search = TileSearch(sizes, CUTOFF, DEVICE, room=0)
            search.capacity = capacity
            found = search(x.to(DEVICE), look=False)
            short = torch.zeros(1, dtype=torch.int32)
            layout = tile_search.lay_out(sizes, CPU)
            expected = listed_by_torch(x, layout, CUTOFF, capacity, short)
            assert found.count.tolist() == expected.count.tolist()
            for row, count in enumerate(expected.count.tolist()):
                assert found.column[row, :count].tolist() == expected.column[row, :count].tolist()
            assert int(search.shortage) == int(short)


def shape_of_splits() -> list[tuple[str, Callable[[Tiles], int]]]:
    from flashschnet_kernels.filter_table import triton as table
    from flashschnet_kernels.message_passing import triton as fused

    return [("table", lambda tiles: table.splits_of(tiles, 4)), ("fused", fused._splits)]


def test_the_order_of_sums_does_not_depend_on_the_room():
    layout = tile_search.lay_out((800,), CPU)
    none = torch.zeros(0, dtype=torch.int32)
    for name, splits in shape_of_splits():
        found = {
            splits(Tiles(layout, none, none.new_zeros(layout.row_blocks, n), none, none, none))
            for n in (1, 16, 64)
        }
        assert len(found) == 1, name


@needs_gpu
@pytest.mark.parametrize("name", ["exact", "fast", "flash-float32"])
def test_captured_steps_that_ran_short_are_the_same_to_the_bit(name):
    from flashschnet_lab.loading import load_system

    system, plan, found = load_system("1enh"), parse_plan(name, "cuda"), []
    for capture, room, capacity in ((False, 128, 0), (True, 0, 0), (True, 0, 16)):
        each = Simulation(system, 2, plan=plan, capture=capture, seed=2)
        device = each.state.positions.device
        search = TileSearch((system.protein.beads,) * 2, 15.0, device, room=room)
        search.capacity = search.capacity or capacity
        each.force_field._finder = TileFinder(device, search)
        assert each.captures == capture
        each.run(230)
        found.append(each.state)
        assert room or search.capacity > 16
    for other in found[1:]:
        for field in ("positions", "velocities", "forces", "energy", "kinetic", "failed_step"):
            assert torch.equal(getattr(found[0], field), getattr(other, field)), field
