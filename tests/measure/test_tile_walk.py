"""The walk over tiles against all pairs, against the kernels' own search, and the IO model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashschnet_kernels.neighbors.reference import pairs_within
from flashschnet_kernels.plan import BASELINE, flash
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_system
from flashschnet_lab.measure import fused_tiles
from flashschnet_lab.measure.stages import Sizes
from flashschnet_lab.measure.tile_walk import (
    SIDES,
    baseline_bytes,
    on_chip,
    walk_tiles,
)
from flashschnet_lab.measure.tiling import tiling
from flashschnet_lab.measure.traffic import count_traffic
from flashschnet_lab.potentials.convolution import convolution
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape

SMALL = SchNetShape(hidden=16, channels=16, blocks=1, radial_functions=12, output_widths=(16,))


def coil(beads: int) -> np.ndarray:
    """Return a chain that winds about, so that some tiles have no pair within the cutoff."""
    t = 0.3 * np.arange(beads)
    return np.stack([12.0 * np.cos(t), 12.0 * np.sin(2.1 * t), 2.0 * t], axis=1)


@pytest.mark.parametrize("beads", [1, 2, 7, 8, 16, 24, 61, 96])
@pytest.mark.parametrize("side", SIDES)
def test_every_pair_is_in_one_tile(beads: int, side: int) -> None:
    positions = coil(beads)
    walk = walk_tiles(positions, side, 9.0)
    found = [np.sort(walk.neighbours(step), axis=1) for step in range(walk.tiles)]
    assert [len(pairs) for pairs in found] == walk.pairs.tolist()
    seen = sorted(map(tuple, np.concatenate([np.empty((0, 2), int), *found]).tolist()))
    expected = pairs_within(torch.from_numpy(positions), (beads,), 9.0).T
    assert seen == sorted(map(tuple, expected.tolist()))
    assert walk.pairs.min(initial=1) > 0 and walk.tiles <= walk.candidates


def test_the_rows_of_a_program_stay_together() -> None:
    walk = walk_tiles(coil(96), 4, 12.0)
    assert (np.diff(walk.row) >= 0).all()


@pytest.mark.parametrize("beads", [1, 40, 61, 64])
def test_tiles_of_eight_are_those_of_the_kernels(beads: int) -> None:
    triton = pytest.importorskip("triton")
    if not torch.cuda.is_available() and not triton.knobs.runtime.interpret:
        pytest.skip("Triton neither has a GPU nor interprets its kernels here")
    from flashschnet_kernels.neighbors.tiles import COLUMNS, ROWS, TileSearch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    x = torch.from_numpy(coil(beads)).float().to(device)
    tiles, walk = TileSearch((beads,), 9.0, device)(x), walk_tiles(coil(beads), 8, 9.0)
    assert (ROWS, COLUMNS) == (8, 8)
    assert tiles.count.tolist() == np.bincount(walk.row, minlength=walk.row_blocks).tolist()
    for row, count in enumerate(tiles.count.tolist()):
        columns = tiles.column[row, :count] // 8
        assert columns.tolist() == walk.column[walk.row == row].tolist()


def test_a_known_protein_has_the_tiles_that_the_model_of_tiles_expects() -> None:
    positions = load_system("1enh").protein.positions
    walk = walk_tiles(positions)
    model = tiling(Sizes(walk.beads, 2 * int(walk.pairs.sum())))
    assert model.active == pytest.approx(walk.tiles, rel=0.12)
    shuffled = np.random.default_rng(0).permutation(positions)
    assert walk_tiles(shuffled).fill < walk.fill


def test_bytes_are_those_of_the_io_model_and_what_it_leaves_to_the_cache() -> None:
    """The model counts features and weights once per launch, the walk as often as they are read."""
    copies, shape = 64, SchNetShape()
    walk = walk_tiles(load_system("1enh").protein.positions, 8, shape.cutoff, shape)
    sizes = Sizes(walk.beads, 2 * int(walk.pairs.sum()), copies)
    tiles = tiling(sizes, walk.tiles)
    assert tiles.splits == 1  # a program takes all tiles of its row block, as in the walk
    stage, _ = fused_tiles.block(shape, sizes, flash("cuda"), 0, tiles)
    numbers = fused_tiles._weight_bytes(shape, flash("cuda"))
    biases_and_basis = 4 * (3 * shape.channels + 2 * shape.radial_functions)
    features = 4 * sizes.all_beads * shape.channels
    indices = fused_tiles.list_bytes(tiles) + 4 * tiles.row_blocks * tiles.candidates
    once = stage.moves.read + stage.moves.written - features - numbers - indices
    cached = stage.on_chip - tiles.row_blocks * biases_and_basis
    rows = 4 * tiles.row_blocks * tiles.rows * shape.channels
    assert copies * walk.bytes_moved == once + cached + rows


def test_the_baseline_moves_what_is_counted_while_it_runs() -> None:
    positions = torch.from_numpy(coil(48)).float()
    walk = walk_tiles(positions.numpy(), 8, SMALL.cutoff, SMALL)
    pairs = pairs_within(positions, (48,), SMALL.cutoff)
    network = SchNet(SMALL).requires_grad_(False)
    convolve = convolution(network, positions, pairs, BASELINE)
    h = torch.randn(48, SMALL.channels)
    counted = count_traffic(lambda: convolve(network.blocks[0], h))  # type: ignore[arg-type]
    moved = counted.bytes_read + counted.bytes_written
    assert walk.baseline_bytes == pytest.approx(moved, rel=0.05)
    assert walk.baseline_bytes_so_far[-1] == walk.baseline_bytes
    assert baseline_bytes(SMALL, 48, pairs.shape[1]) == walk.baseline_bytes


def test_what_is_on_the_chip_grows_with_the_square_of_a_side() -> None:
    shape = SchNetShape()
    sizes = {side: on_chip(shape, side) for side in SIDES}
    for side, chip in sizes.items():
        assert chip.made == 4 * side**2 * (64 + 128 + 128)
        assert chip.weights == sizes[2].weights
        assert chip.total == sum(getattr(chip, f) for f in chip.__dataclass_fields__)


def test_a_molecule_without_pairs_moves_nothing() -> None:
    walk = walk_tiles(100.0 * coil(20), 8, 5.0)
    assert walk.tiles == 0 and walk.fill == 0.0 and walk.bytes_moved == 0
    assert walk.baseline_bytes_so_far.shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"side": 5}, "not 5"),
        ({"cutoff": 0.0}, "cutoff of 0 angstrom"),
        ({"cutoff": float("nan")}, "cutoff of nan"),
        ({"positions": np.zeros(3)}, r"not \[3\]"),
    ],
)
def test_bad_input_is_named(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        walk_tiles(**{"positions": coil(10), **arguments})
