"""A whole SchNet with tabulated filters on a GPU: energy and gradient in explicit order.

No autograd and nothing that looks at the host: 18 launches for 4 blocks, besides the search for
neighbours. Nothing with a row per pair and a column per channel exists in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from flashschnet_kernels.ahead_of_time import Specialisation
from flashschnet_kernels.filter_table import tile_pairs
from flashschnet_kernels.filter_table.pack import PackedTable
from flashschnet_kernels.filter_table.triton import launch_backward, launch_forward, splits_of
from flashschnet_kernels.launching import FMA
from flashschnet_kernels.message_passing.tile_sums import Sums, partial_sums
from flashschnet_kernels.neighbors.tiles import ROWS, Tiles
from flashschnet_kernels.nodes import node_kernels
from flashschnet_kernels.nodes.pack import WHOLE, PackedNodes
from flashschnet_kernels.nodes.parts import lanes_of, work_beside

PRODUCTS = {"float32": 3, "float16": 1}
"""Precision of bead work to 16-bit products per product."""
BEADS = 16
WARPS = 4
WIDE_WARPS = 8
"""Warps of a program whose rows are wider than `WHOLE`: twice the registers."""


@dataclass(frozen=True)
class BatchFeatures:
    """What the beads of a batch bring along: their features before the first block.

    Attributes:
        x: [beads, width] float32, the embedding.
        h: [beads, message width] float32, A_0 x.
    """

    x: Tensor
    h: Tensor


def batch_features(nodes: PackedNodes, bead_types: Tensor) -> BatchFeatures:
    """Return the features of beads before the first block, from their types [beads]."""
    return BatchFeatures(nodes.embedding[bead_types], nodes.first_features[bead_types])


def evaluate(
    positions: Tensor,
    tiles: Tiles,
    start: BatchFeatures,
    nodes: PackedNodes,
    table: PackedTable,
    precision: str = "float32",
    streams: Sequence[torch.cuda.Stream] = (),
) -> tuple[Tensor, Tensor]:
    """Return the energy of every bead [beads] and its gradient [beads, 3], in kcal/mol and /A.

    Args:
        positions: [beads, 3] float32, angstrom.
        tiles: tiles with a pair within the cutoff at these positions.
        start: of the batch.
        nodes: weights of the bead work.
        table: filters, packed to the message width of the nodes.
        precision: of the bead work, a key of `PRODUCTS`; of filters, that of the table.
        streams: of `side_streams`, where parts of a large batch are worked on side by side.

    Deterministic. The gradient is that of the energy returned.

    Raises:
        ValueError: a table of another width.
    """
    if table.width != nodes.message_width:
        raise ValueError(f"a table {table.width} wide, for messages of {nodes.message_width}")
    positions = positions.contiguous()
    s = tile_pairs.coordinates(positions, tiles, table.knots)
    slices, half = table.words.shape[1], precision == "float16"
    columns = torch.bfloat16 if half else torch.float32
    x, last = start.x, nodes.blocks - 1
    buffers = _Buffers(
        x=[x, *[torch.empty_like(x)] * last],
        h=[start.h, *(torch.empty_like(start.h) for _ in range(last))],
        u=[torch.empty_like(x, dtype=torch.float16 if half else x.dtype) for _ in range(last)],
        energy=positions.new_empty(len(positions)),
        g_x=torch.empty_like(x),
        g_m=torch.empty_like(start.h),
    )
    slopes = s.new_empty(slices, *s.shape)
    work = lanes_of(tiles, table.width, columns.itemsize, slices)
    largest = tiles.part(*max(chain(*work), key=lambda rows: rows[1] - rows[0]))
    splits = splits_of(largest, slices)
    lanes = []
    for parts in work:
        # bfloat16 and not float16: a sum may be of any size.
        room = partial_sums(x, largest, splits, table.width, False, columns)
        of_lane = [(tiles.part(a, b), s[a:b], slopes[:, a:b]) for a, b in parts]
        lanes.append(partial(_evaluate_parts, of_lane, room, buffers, nodes, table, precision))
    work_beside(lanes, streams)
    energy = buffers.energy
    del lanes, room, buffers  # what follows makes room of its own
    return energy, tile_pairs.pull(positions, slopes, tiles, table.knots)


@dataclass(frozen=True)
class _Buffers:
    """What beads have in all blocks; a part of a batch works on the rows of its own beads.

    Attributes:
        x: [beads, width] of every block; those after the first lie in one place.
        h: [beads, message width] of every block.
        u: [beads, width] of every block but the last, hidden layers of the updates.
        energy: [beads].
        g_x: [beads, width], dE/dx of the block that is worked on.
        g_m: [beads, message width], dE/dm of it.
    """

    x: list[Tensor]
    h: list[Tensor]
    u: list[Tensor]
    energy: Tensor
    g_x: Tensor
    g_m: Tensor


def _evaluate_parts(
    parts: Sequence[tuple[Tiles, Tensor, Tensor]],
    room: Sums,
    buffers: _Buffers,
    nodes: PackedNodes,
    table: PackedTable,
    precision: str,
) -> None:
    """Evaluate tiles with their s and slopes, one part after another in the same room."""
    for tiles, s, slopes in parts:
        blocks = tiles.layout.row_blocks
        sums = Sums(room.rows[:blocks], room.columns[:blocks])
        _evaluate_part(tiles, s, slopes, sums, buffers, nodes, table, precision)


def _evaluate_part(
    tiles: Tiles,
    s: Tensor,
    slopes: Tensor,
    sums: Sums,
    buffers: _Buffers,
    nodes: PackedNodes,
    table: PackedTable,
    precision: str,
) -> None:
    """Write the energy and dE/ds of a part of a batch, or of all of it."""
    work, b, last = _NodeWork(tiles, sums, nodes, precision), buffers, nodes.blocks - 1
    for block in range(last):
        launch_forward(b.h[block], s, tiles, table, block, sums)
        work.forward(block, b.x[block], b.x[block + 1], b.h[block + 1], b.u[block])
    launch_forward(b.h[last], s, tiles, table, last, sums)
    work.turn(last, b.x[last], b.energy, b.g_x, b.g_m)
    for block in range(last, 0, -1):
        add = block < last
        launch_backward(b.h[block], b.g_m, s, tiles, table, block, slopes, sums, add=add)
        work.backward(block - 1, b.g_x, b.g_m, b.u[block - 1])
    launch_backward(b.h[0], b.g_m, s, tiles, table, 0, slopes, None, add=last > 0)


class _NodeWork:
    """The launches of `node_kernels` for one batch; no state of its own."""

    def __init__(self, tiles: Tiles, sums: Sums, nodes: PackedNodes, precision: str) -> None:
        layout = tiles.layout
        self._grid = (-(-layout.row_blocks * ROWS // BEADS),)
        self._sums = (sums.rows, sums.columns)
        self._weights = (nodes.matrices, nodes.scales, nodes.biases)
        self._layout = (
            layout.first_bead,
            layout.molecule_end,
            tiles.incoming_count,
            tiles.incoming,
            tiles.first_tile,
        )
        self._sizes = (
            layout.row_blocks,
            layout.candidates,
            sums.rows.shape[1],
        )
        self._output = {"LAYERS": nodes.layers, "ENERGY_BIAS": nodes.energy_bias}
        self._options = {
            "ROWS": ROWS,
            "CHANNELS": nodes.message_width,
            "WIDTH": nodes.width,
            "BEADS": BEADS,
            "PRODUCTS": PRODUCTS[precision],
            "num_warps": _warps(nodes.width),
            "num_stages": 1,
        }

    def forward(self, block: int, x: Tensor, x_next: Tensor, h: Tensor, u: Tensor) -> None:
        """From the messages of a block to the features of the next."""
        arguments = self._arguments((x, x_next, h, u), self._weights, block)
        if self._grid[0]:
            node_kernels.forward_kernel[self._grid](*arguments, **self._options, **FMA)

    def turn(self, block: int, x: Tensor, energy: Tensor, g_x: Tensor, g_m: Tensor) -> None:
        """From the messages of the last block to energies and back to dE/dm."""
        arguments = self._arguments((x, energy, g_x, g_m), self._weights, block)
        if self._grid[0]:
            node_kernels.turn_kernel[self._grid](*arguments, **self._output, **self._options, **FMA)

    def backward(self, block: int, g_x: Tensor, g_m: Tensor, u: Tensor) -> None:
        """From dE/dh of the next block to dE/dm of this one."""
        arguments = self._arguments((g_x, g_m, u), self._weights[:2], block)
        if self._grid[0]:
            node_kernels.backward_kernel[self._grid](*arguments, **self._options, **FMA)

    def _arguments(
        self, buffers: tuple[Tensor, ...], weights: tuple[Tensor, ...], block: int
    ) -> tuple[Any, ...]:
        return (*self._sums, *buffers, *weights, *self._layout, block, *self._sizes)


def _warps(width: int) -> int:
    return WARPS if width <= WHOLE else WIDE_WARPS


def specialisations() -> list[Specialisation]:
    """Return the variants that networks of the shapes of CGSchNet and TorchMD-Net launch.

    And of mlcg's C-alpha networks, 256 wide, which 16-bit plans refuse.
    """
    floats = (
        *("row_sums", "column_sums", "x_in", "x_out", "h_out", "scales", "biases"),
        *("energy_out", "g_x_out", "g_m_out", "g_x_at"),
    )
    layout = ("first_bead", "molecule_end", "incoming_count", "incoming")
    numbers = ("first_tile", "block", "row_blocks", "candidates", "splits")
    signature = dict.fromkeys(floats, "*fp32") | dict.fromkeys(layout, "*i32")
    signature |= dict.fromkeys(numbers, "i32") | {"matrices": "*fp16"}
    two = {"LAYERS": 2, "ENERGY_BIAS": False}
    found = []
    for width, outputs in ((128, (two, {"LAYERS": 1, "ENERGY_BIAS": True})), (256, (two,))):
        shape = {"ROWS": ROWS, "CHANNELS": 128, "WIDTH": width, "BEADS": BEADS}
        for precision, products in PRODUCTS.items():
            if width > WHOLE and precision == "float16":
                continue
            kept = dict.fromkeys(("u_in", "u_out"), "*fp16" if precision == "float16" else "*fp32")
            kept |= {"column_sums": "*bf16" if precision == "float16" else "*fp32"}
            for kernel, output in (
                (node_kernels.forward_kernel, {}),
                *((node_kernels.turn_kernel, output) for output in outputs),
                (node_kernels.backward_kernel, {}),
            ):
                constants = shape | {"PRODUCTS": products} | output
                own = {n: (signature | kept)[n] for n in kernel.arg_names if n not in constants}
                found.append(Specialisation(kernel, own, constants, _warps(width), num_stages=1))
    return found
