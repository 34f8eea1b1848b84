"""The IO model against what the code really reads, writes and allocates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from flashschnet_kernels.filter_table import pairs_cpu
from flashschnet_kernels.filter_table.table import WORDS
from flashschnet_kernels.message_passing import cpu as cpu_blocks
from flashschnet_kernels.nodes import pack
from flashschnet_kernels.plan import PLANS, PRECISION_CLASSES, KernelPlan, parse_plan
from flashschnet_lab.loading import load_system
from flashschnet_lab.measure import fused_blocks, table_blocks, table_tiles
from flashschnet_lab.measure.bytes import (
    Sizes,
    merged,
    predicted_bytes,
    predicted_flops,
    predicted_peak_bytes,
    resident_bytes,
    sizes_of,
    stage_costs,
)
from flashschnet_lab.measure.memory import kept_bytes, peak_bytes
from flashschnet_lab.measure.tiling import PROGRAMS, SIDE, tiling
from flashschnet_lab.measure.traffic import count_traffic
from flashschnet_lab.measure.work import directed_edges
from flashschnet_lab.potentials.fused_network import node_weights
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.potentials.tables import CLASSES
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.system import System, build_force_field

BYTES_TOLERANCE = 0.05
PEAK_TOLERANCE = 0.02
FUSED_PEAK_TOLERANCE = 0.12
"""A molecule whose pairs fill one block and a bit holds less than two whole blocks."""

SHAPES = {
    "cgschnet": SchNetShape(),
    "wide basis": SchNetShape(
        hidden=64, channels=32, blocks=3, radial_functions=64, radial_basis="gaussian"
    ),
    "one block": SchNetShape(hidden=32, channels=64, blocks=1, radial_functions=8),
}
MATERIALISED = ("radial_basis", "aggregation", "radial_basis,aggregation")
FUSED = ("message_passing", "flash-float32", "flash")

FLASH = parse_plan("flash-float32", "cuda")
HALF = parse_plan("flash", "cuda")
ENH = Sizes(beads=269, directed_edges=44036, replicas=64)


def with_network(shape: SchNetShape, protein: str = "chignolin") -> System:
    system = load_system(protein)
    generator = torch.random.get_rng_state()
    torch.manual_seed(1)
    model = replace(
        system.model, network=SchNet(shape), network_types="five_bead", name="random", only_for=""
    )
    torch.random.set_rng_state(generator)
    return System(system.protein, model)


def evaluation(system: System, plan: KernelPlan, replicas: int, precision: str = "float32"):
    """Return a second evaluation, with its lists made, and what the model says of it."""
    dtype = getattr(torch, precision)
    force_field = build_force_field([system] * replicas, plan=plan, dtype=dtype)
    x = torch.from_numpy(system.protein.positions).to(dtype).expand(replicas, -1, -1).contiguous()
    force_field(x)
    sizes = sizes_of(system, replicas, directed_edges(system))
    costs = stage_costs(system.model.network.shape, sizes, plan, precision=precision)
    return lambda: force_field(x), costs


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_and_peak_of_plain_pytorch(shape, plan, precision, cpu):
    evaluate, costs = evaluation(with_network(SHAPES[shape]), PLANS[plan], 2, precision)
    traffic = count_traffic(evaluate)
    read = sum(cost.bytes_read for cost in costs)
    written = sum(cost.bytes_written for cost in costs)
    assert read == pytest.approx(traffic.bytes_read, rel=BYTES_TOLERANCE)
    assert written == pytest.approx(traffic.bytes_written, rel=BYTES_TOLERANCE)
    peak = peak_bytes(evaluate, cpu)
    assert predicted_peak_bytes(costs) == pytest.approx(peak, rel=PEAK_TOLERANCE)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("form", ["exact", "fast"])
def test_bytes_and_peak_of_tables_in_plain_pytorch(form, precision, cpu):
    plan = KernelPlan(filters=f"table-{form}")
    evaluate, costs = evaluation(load_system("chignolin"), plan, 2, precision)
    traffic = count_traffic(evaluate)
    read = sum(cost.bytes_read for cost in costs)
    written = sum(cost.bytes_written for cost in costs)
    assert read == pytest.approx(traffic.bytes_read, rel=BYTES_TOLERANCE)
    assert written == pytest.approx(traffic.bytes_written, rel=BYTES_TOLERANCE)
    peak = peak_bytes(evaluate, cpu)
    assert predicted_peak_bytes(costs) == pytest.approx(peak, rel=BYTES_TOLERANCE)


@pytest.mark.parametrize("plan", MATERIALISED)
@pytest.mark.parametrize("shape", SHAPES)
def test_peak_of_techniques_that_keep_a_row_per_edge(shape, plan, cpu):
    evaluate, costs = evaluation(with_network(SHAPES[shape]), parse_plan(plan), 2)
    peak = peak_bytes(evaluate, cpu)
    assert predicted_peak_bytes(costs) == pytest.approx(peak, rel=PEAK_TOLERANCE)


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("plan", FUSED)
@pytest.mark.parametrize("protein", ["chignolin", "trpcage"])
def test_peak_of_the_fused_convolution_on_a_cpu(protein, plan, replicas, cpu):
    system = with_network(SHAPES["cgschnet"], protein)
    evaluate, costs = evaluation(system, parse_plan(plan), replicas)
    peak = peak_bytes(evaluate, cpu)
    assert predicted_peak_bytes(costs) == pytest.approx(peak, rel=FUSED_PEAK_TOLERANCE)
    assert cpu_blocks.PAIRS_PER_BLOCK == fused_blocks.PAIRS_PER_BLOCK


@pytest.mark.parametrize("shape", SHAPES)
def test_peak_of_the_fused_convolution_in_float64(shape, cpu):
    evaluate, costs = evaluation(
        with_network(SHAPES[shape]), parse_plan("flash-float32"), 2, "float64"
    )
    peak = peak_bytes(evaluate, cpu)
    assert predicted_peak_bytes(costs) == pytest.approx(peak, rel=PEAK_TOLERANCE)


@pytest.mark.parametrize("replicas", [1, 5])
@pytest.mark.parametrize("protein", ["chignolin", "trpcage"])
def test_room_of_a_whole_network_on_a_cpu(protein, replicas, cpu):
    """It is made at the first evaluation and kept; the second makes its results alone."""
    system, plan = load_system(protein), parse_plan("exact")
    shape, sizes = system.model.network.shape, sizes_of(system, replicas, directed_edges(system))
    x = torch.from_numpy(system.protein.positions).float().expand(replicas, -1, -1).contiguous()
    force_field = build_force_field([system] * replicas, plan=plan)
    force_field._neighbors(x.view(-1, 3))
    _, kept = kept_bytes(lambda: force_field(x), cpu, arrays=True)
    pieces = force_field._table.knots.pieces
    found = kept - table_blocks.table_bytes(shape, plan, pieces)
    predicted = predicted_peak_bytes(stage_costs(shape, sizes, plan))
    assert predicted - table_blocks.table_bytes(shape, plan) == pytest.approx(
        found, rel=FUSED_PEAK_TOLERANCE
    )
    assert peak_bytes(lambda: force_field(x), cpu) < 40 * sizes.all_beads


def test_bytes_of_a_whole_step(system):
    simulation = Simulation(system, 3, device="cpu", plan=KernelPlan())
    sizes = sizes_of(system, 3, directed_edges(system))
    costs = stage_costs(system.model.network.shape, sizes, KernelPlan(), stage="step")
    steps = 64  # the noise is drawn for so many at once
    traffic = count_traffic(lambda: simulation.run(steps))
    moved = (traffic.bytes_read + traffic.bytes_written) / steps
    assert predicted_bytes(costs) == pytest.approx(moved, rel=0.1)


@pytest.mark.parametrize("plan", ["reference", "aggregation", "flash-float32"])
def test_what_stays(plan, system, cpu):
    plan = parse_plan(plan)
    simulation, kept = kept_bytes(lambda: Simulation(system, 5, device="cpu", plan=plan), cpu)
    assert simulation.replicas == 5
    sizes = sizes_of(system, 5, directed_edges(system))
    block_of_noise = 4 * 3 * sizes.all_beads * 64
    predicted = resident_bytes(system.model.network.shape, sizes, plan) + block_of_noise
    assert predicted == pytest.approx(kept, rel=0.25)


def test_flops_are_those_of_the_matrices(system):
    from torch.utils.flop_counter import FlopCounterMode

    shape = SHAPES["cgschnet"]
    large = with_network(shape)
    force_field = build_force_field([large], plan=PLANS["baseline"])
    x = torch.from_numpy(large.protein.positions).float()[None]
    with FlopCounterMode(display=False) as counter:
        force_field(x)
    sizes = sizes_of(large, 1, directed_edges(large))
    costs = stage_costs(shape, sizes, PLANS["baseline"])
    assert predicted_flops(costs) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_a_fused_plan_moves_and_holds_little():
    shape = SchNetShape()
    baseline = stage_costs(shape, ENH, PLANS["baseline"])
    flash, half = stage_costs(shape, ENH, FLASH), stage_costs(shape, ENH, HALF)
    assert predicted_bytes(flash) < 0.02 * predicted_bytes(baseline)
    assert predicted_peak_bytes(flash) < 0.02 * predicted_peak_bytes(baseline)
    # Three 16-bit products make a float32 one.
    assert 2.5 < predicted_flops(flash) / predicted_flops(half) < 3.0
    # Every filter once per pair and not per edge, in tiles that are 70 % full, recomputed for the
    # backward pass.
    assert 1.0 < predicted_flops(half) / predicted_flops(baseline) < 1.3


@pytest.mark.parametrize("name", PRECISION_CLASSES)
def test_tables_leave_few_flops_and_much_traffic_on_the_chip(name):
    shape, plan = SchNetShape(), parse_plan(name, "cuda")
    costs, half = stage_costs(shape, ENH, plan), stage_costs(shape, ENH, HALF)
    assert predicted_flops(costs) < 0.05 * predicted_flops(half)
    assert predicted_bytes(costs) < predicted_bytes(stage_costs(shape, ENH, FLASH))
    assert predicted_peak_bytes(costs) < 1.2 * predicted_peak_bytes(half)
    # A piece of every pair, channel and block, forward and backward.
    words = table_tiles.words_of(plan)
    read = 2 * 4 * 4 * words * 128 * tiling(ENH).pairs
    on_chip = sum(cost.on_chip_bytes for cost in costs)
    assert read < on_chip < 1.5 * read
    names = [cost.name for cost in costs]
    assert names.index("block 3 message passing") < names.index("output")
    assert names.index("output") < names.index("block 3 message passing, backward")
    assert names.index("block 0 message passing, backward") < names.index("radial basis, backward")
    assert len(set(names)) == len(names)


def test_what_the_kernels_assume_is_what_the_model_assumes():
    triton = pytest.importorskip("flashschnet_kernels.filter_table.triton")
    assert table_tiles.SLICE == triton.SLICE
    assert tiling(ENH).splits == 1 and triton.PROGRAMS == PROGRAMS
    assert (pairs_cpu.SEGMENT, pairs_cpu.GROUP_BEADS) == (
        table_blocks.SEGMENT,
        table_blocks.GROUP_BEADS,
    )
    for name, kind in CLASSES.items():
        assert table_tiles.WORDS[name] == WORDS[kind.form]
    assert table_tiles.WHOLE == pack.WHOLE


@pytest.mark.parametrize(
    ("hidden", "channels", "output"),
    [(128, 128, (128, 64)), (256, 128, (128, 64)), (40, 20, (24,)), (20, 40, (11, 200))],
)
def test_weights_of_bead_work_on_a_gpu(hidden, channels, output):
    shape = SchNetShape(hidden=hidden, channels=channels, output_widths=output)
    packed = pack.pack_nodes(node_weights(SchNet(shape)))
    held = sum(part.nbytes for part in vars(packed).values() if isinstance(part, torch.Tensor))
    plan = parse_plan("exact", "cuda")
    assert table_tiles.node_weight_bytes(shape, plan) == held
    rows = packed.width + packed.message_width
    assert table_tiles.start_bytes(shape, ENH, plan) == 4 * rows * ENH.all_beads


@pytest.mark.parametrize("hidden", [128, 256])
def test_buffers_of_a_whole_network_on_a_gpu(hidden):
    """As `network_triton.evaluate` makes them, one by one."""
    shape, plan = SchNetShape(hidden=hidden), parse_plan("exact", "cuda")
    tiles, beads = tiling(ENH), ENH.all_beads
    messages, rows = 4 * 128 * beads, 4 * hidden * beads
    # h and its gradient, next x and its gradient, hidden layers.
    features = 3 * messages + messages + 2 * rows + 3 * rows
    sums = 4 * 128 * 8 * (tiles.row_blocks * tiles.table_splits(4) + tiles.rooms)
    sums *= 3 * 22 / ENH.replicas  # three parts side by side, each with room for the largest
    pairs = 4 * 64 * tiles.rooms
    costs = stage_costs(shape, ENH, plan)
    alive = {cost.name: cost.live_bytes for cost in costs}
    search = alive["neighbors"]
    expected = search + features + sums + pairs * (1 + 4) + 4 * beads
    assert alive["block 0 message passing"] == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("rows", "name"), [(8, "1enh"), (16, "1enh"), (16, "trpcage")])
def test_tiles_of_other_heights(rows, name):
    system = load_system(name)
    sizes = sizes_of(system, 1, directed_edges(system))
    found = tiling(sizes, rows=rows)
    counted = count_tiles(system.protein.positions, 15.0, rows)
    assert found.active == pytest.approx(counted, rel=0.12)
    assert found.pairs == rows * SIDE * found.active


def test_the_partial_sums_are_what_a_fixed_order_costs():
    shape, atomic = SchNetShape(), parse_plan("message_passing", "cuda")
    in_order, added = stage_costs(shape, ENH, FLASH), stage_costs(shape, ENH, atomic)
    assert predicted_peak_bytes(in_order) > 2 * predicted_peak_bytes(added)
    # Four blocks forward, three backward.
    tiles, beads = tiling(ENH), ENH.all_beads
    sums = 7 * 4 * 128 * (8 * tiles.active + beads)
    more = predicted_bytes(in_order) - predicted_bytes(added)
    assert -0.1 * sums < more < 0.3 * sums


def test_no_tensor_of_a_fused_plan_has_a_row_per_pair():
    shape = SchNetShape()
    row_per_pair = 4 * ENH.all_edges / 2 * shape.channels
    live = [cost.live_bytes for cost in stage_costs(shape, ENH, HALF)]
    assert max(live) < row_per_pair


def count_tiles(x: np.ndarray, cutoff: float, rows: int = SIDE) -> int:
    """Return the tiles with a pair within the cutoff, from all distances."""
    beads = len(x)
    near = np.zeros([rows * -(-beads // rows)] * 2, dtype=bool)
    near[:beads, :beads] = np.linalg.norm(x[:, None] - x, axis=-1) < cutoff
    np.fill_diagonal(near, False)
    blocks = len(near) // rows
    active = near.reshape(blocks, rows, len(near) // SIDE, SIDE).any((1, 3))
    active = active.reshape(blocks, blocks, rows // SIDE).sum(2)
    return int(np.triu(active).sum())


@pytest.mark.parametrize("protein", ["chignolin", "trpcage", "1enh"])
def test_tiles_as_counted_in_folded_proteins(protein):
    system = load_system(protein)
    sizes = sizes_of(system, 1, directed_edges(system))
    counted = count_tiles(system.protein.positions, 15.0)
    assert tiling(sizes).active == pytest.approx(counted, rel=0.12)
    assert tiling(sizes, counted).active == counted


def test_stages_add_up_and_merge():
    costs = stage_costs(SchNetShape(), ENH, KernelPlan(), stage="step")
    names = [cost.name for cost in costs]
    assert names.index("block 0 filter") < names.index("output") < names.index("output, backward")
    assert names.index("output, backward") < names.index("block 0 filter, backward")
    assert len(set(names)) == len(names)
    together = merged(costs)
    assert predicted_bytes(together) == predicted_bytes(costs)
    assert predicted_flops(together) == predicted_flops(costs)
    assert predicted_peak_bytes(together) == predicted_peak_bytes(costs)
    assert {"filter", "filter, backward", "integrator"} <= {cost.name for cost in together}


def test_nothing_but_priors():
    names = {cost.name for cost in stage_costs(None, Sizes(49, 0, 2, bonds=48), KernelPlan())}
    assert names == {"priors", "priors, backward"}
