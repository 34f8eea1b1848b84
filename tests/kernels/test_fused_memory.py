"""The memory model of the fused convolution against what its kernels really allocate."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch

from flashschnet_kernels.plan import parse_plan
from flashschnet_lab.loading import default_prior
from flashschnet_lab.measure import table_tiles, tiling
from flashschnet_lab.measure.bytes import predicted_peak_bytes, sizes_of, stage_costs
from flashschnet_lab.measure.memory import _Ledger, peak_bytes
from flashschnet_lab.measure.work import directed_edges
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.system import Model, System, build_force_field

TOLERANCE = 0.15
REPLICAS_ON_A_GPU = 32
"""Times as many there, where every tensor takes a multiple of 512 bytes."""
SHAPES = {
    "two blocks": SchNetShape(
        hidden=16, channels=16, blocks=2, radial_functions=12, output_widths=(16,)
    ),
    "padded": SchNetShape(
        hidden=16, channels=24, blocks=1, radial_functions=12, output_widths=(16,)
    ),
}


class KernelLedger(_Ledger):
    """Follows the tensors of a program, without those of Triton's interpreter."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ == "set_":  # another view of an argument
            return func(*args, **(kwargs or {}))
        gc.collect()  # arguments of the last launch, held in a cycle
        return super().__torch_dispatch__(func, types, args, kwargs)


def system_of(sequence: str, shape: SchNetShape) -> System:
    generator = torch.random.get_rng_state()
    torch.manual_seed(2)
    network = SchNet(shape)
    torch.random.set_rng_state(generator)
    protein = build_chain(sequence, "helix")
    return System(protein, Model("tiny", default_prior("five_bead"), network))


def peaks(system: System, name: str, replicas: int, device: torch.device) -> tuple[int, int]:
    """Return the predicted and the measured peak."""
    replicas *= REPLICAS_ON_A_GPU if device.type == "cuda" else 1
    plan = parse_plan(name, "cuda")
    force_field = build_force_field([system] * replicas, plan=plan, device=device)
    x = torch.from_numpy(system.protein.positions).float().to(device)
    x = x.expand(replicas, -1, -1).contiguous()
    with _Ledger():
        force_field(x)  # packs the weights, which stay, and imports what a ledger needs
    if device.type == "cuda":
        measured = peak_bytes(lambda: force_field(x), device)
    else:
        ledger = KernelLedger()
        gc.collect()
        gc.freeze()  # collecting then looks at little
        with ledger:
            force_field(x)
        gc.unfreeze()
        measured = ledger.peak
    sizes = sizes_of(system, replicas, directed_edges(system))
    shape = system.model.network.shape
    return predicted_peak_bytes(stage_costs(shape, sizes, plan)), measured


@pytest.mark.parametrize("name", ["flash-float32", "message_passing", "flash"])
@pytest.mark.parametrize("shape", SHAPES)
def test_peak(shape, name, triton_device):
    predicted, measured = peaks(system_of("AGPWYK", SHAPES[shape]), name, 2, triton_device)
    assert predicted == pytest.approx(measured, rel=TOLERANCE)


def test_peak_of_a_molecule_with_tiles_out_of_range(triton_device):
    system = system_of("AGPWYKAGPWYKVLI", SHAPES["two blocks"])
    predicted, measured = peaks(system, "flash-float32", 1, triton_device)
    assert predicted == pytest.approx(measured, rel=TOLERANCE)


def test_the_peak_is_linear_in_replicas(triton_device):
    system = system_of("AGPW", SHAPES["two blocks"])
    one, two, three = (peaks(system, "flash-float32", n, triton_device)[1] for n in (1, 2, 3))
    assert three - two == pytest.approx(two - one, rel=0.1)


def test_tiles_are_cut_as_the_model_says(triton_device):
    from flashschnet_kernels.filter_table import triton as table
    from flashschnet_kernels.message_passing import triton
    from flashschnet_kernels.neighbors import tiles
    from flashschnet_kernels.nodes import parts

    assert (tiles.ROWS, tiles.COLUMNS, tiles.ROOM) == (tiling.SIDE, tiling.SIDE, tiling.ROOM)
    assert triton.PROGRAMS == tiling.PROGRAMS
    for name in ("PROGRAMS", "MANY_PROGRAMS", "TILES_OF_A_SPLIT"):
        assert getattr(table, name) == getattr(tiling, name)
    assert parts.MOST_BYTES == table_tiles.MOST_COLUMN_BYTES
    for name in ("LANES", "FEWEST_PROGRAMS", "MANY_PROGRAMS"):
        assert getattr(parts, name) == getattr(table_tiles, name)
    for sequence, replicas in (("AGPWYK", 1), ("AGPWYKVLIA", 3), ("AGPWYKAGPWYKVLI", 2)):
        system = system_of(sequence, SHAPES["two blocks"])
        sizes = sizes_of(system, replicas, directed_edges(system))
        x = torch.from_numpy(system.protein.positions).float().to(triton_device)
        search = tiles.TileSearch((sizes.beads,) * replicas, 15.0, triton_device)
        found = search(x.repeat(replicas, 1))
        expected = tiling.tiling(sizes)
        assert found.layout.row_blocks == expected.row_blocks
        assert found.layout.candidates == expected.candidates
        assert found.most_tiles == expected.most_tiles
        assert triton._splits(found) == expected.splits
        assert table.splits_of(found, 4) == expected.table_splits(4)
        assert int(found.count.sum()) == pytest.approx(expected.active, rel=0.12)
