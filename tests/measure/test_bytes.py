"""The IO model against what the code really reads, writes and allocates."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.loading import load_system
from flashschnet_lab.measure import fused
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
from flashschnet_lab.measure.traffic import count_traffic
from flashschnet_lab.measure.work import directed_edges
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.system import System, build_force_field

BYTES_TOLERANCE = 0.05
PEAK_TOLERANCE = 0.12

SHAPES = {
    "cgschnet": SchNetShape(),
    "wide basis": SchNetShape(
        hidden=64, channels=32, blocks=3, radial_functions=64, radial_basis="gaussian"
    ),
    "one block": SchNetShape(hidden=32, channels=64, blocks=1, radial_functions=8),
}
PLANS = {"baseline": KernelPlan(message_passing="edge_list"), "reference": KernelPlan()}

FLASH = SimpleNamespace(neighbors="tiles", message_passing="triton")
HALF = SimpleNamespace(neighbors="tiles", message_passing="triton", quantization="fp16")
ENH = Sizes(beads=269, directed_edges=44036, replicas=64)


def with_network(shape: SchNetShape) -> System:
    system = load_system("chignolin")
    generator = torch.random.get_rng_state()
    torch.manual_seed(1)
    model = replace(
        system.model, network=SchNet(shape), network_types="five_bead", name="random", only_for=""
    )
    torch.random.set_rng_state(generator)
    return System(system.protein, model)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_and_peak_of_plain_pytorch(shape, plan, precision, cpu):
    system, replicas = with_network(SHAPES[shape]), 2
    dtype = getattr(torch, precision)
    force_field = build_force_field([system] * replicas, plan=PLANS[plan], dtype=dtype)
    x = torch.from_numpy(system.protein.positions).to(dtype).expand(replicas, -1, -1).contiguous()
    sizes = sizes_of(system, replicas, directed_edges(system))
    costs = stage_costs(SHAPES[shape], sizes, PLANS[plan], precision=precision)

    traffic = count_traffic(lambda: force_field(x))
    read = sum(cost.bytes_read for cost in costs)
    written = sum(cost.bytes_written for cost in costs)
    assert read == pytest.approx(traffic.bytes_read, rel=BYTES_TOLERANCE)
    assert written == pytest.approx(traffic.bytes_written, rel=BYTES_TOLERANCE)
    peak = peak_bytes(lambda: force_field(x), cpu)
    assert predicted_peak_bytes(costs) == pytest.approx(peak, rel=PEAK_TOLERANCE)


def test_bytes_of_a_whole_step(system):
    simulation = Simulation(system, 3, device="cpu")
    sizes = sizes_of(system, 3, directed_edges(system))
    costs = stage_costs(system.model.network.shape, sizes, KernelPlan(), stage="step")
    steps = 64  # the noise is drawn for so many at once
    traffic = count_traffic(lambda: simulation.run(steps))
    moved = (traffic.bytes_read + traffic.bytes_written) / steps
    assert predicted_bytes(costs) == pytest.approx(moved, rel=0.1)


def test_what_stays(system, cpu):
    simulation, kept = kept_bytes(lambda: Simulation(system, 5, device="cpu"), cpu)
    assert simulation.replicas == 5
    sizes = sizes_of(system, 5, directed_edges(system))
    block_of_noise = 4 * 3 * sizes.all_beads * 64
    predicted = resident_bytes(system.model.network.shape, sizes) + block_of_noise
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
    # Every filter once per pair and not per edge, in tiles that are two thirds full, recomputed
    # for the backward pass.
    assert 1.0 < predicted_flops(half) / predicted_flops(baseline) < 1.3


def test_the_largest_tensor_of_a_fused_plan_has_no_row_per_edge():
    shape = SchNetShape()
    row_per_pair = 4 * ENH.all_edges / 2 * shape.radial_functions
    live = [cost.live_bytes for cost in stage_costs(shape, ENH, HALF)]
    assert max(live) < 0.5 * row_per_pair


@pytest.mark.parametrize(
    ("beads", "edges", "tiles"), [(49, 2352, 16), (97, 8656, 50), (269, 44036, 271)]
)
def test_tiles_as_counted_in_folded_proteins(beads, edges, tiles):
    assert fused.tiling(Sizes(beads, edges)).active == pytest.approx(tiles, rel=0.12)


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
