"""The convolution with tabulated filters on a GPU: each unordered pair once, both directions.

See `tile_kernels` for the kernels and `tile_pairs` for what all blocks share.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flashschnet_kernels.ahead_of_time import Specialisation
from flashschnet_kernels.filter_table import tile_kernels, tile_pairs
from flashschnet_kernels.filter_table.knots import Knots
from flashschnet_kernels.filter_table.pack import SLICE, PackedTable
from flashschnet_kernels.filter_table.table import FORMS, WORDS
from flashschnet_kernels.first_order import first_order
from flashschnet_kernels.launching import FMA
from flashschnet_kernels.message_passing.tile_sums import Sums, partial_sums, reduce_partials
from flashschnet_kernels.neighbors.tiles import COLUMNS, ROWS, Tiles

PART = 4
"""Columns taken at a time: with 8 rows and a slice, what the registers of one warp hold."""
PROGRAMS = 1056
"""Programs that keep a large GPU busy; with fewer row blocks, several share the tiles of one."""
MANY_PROGRAMS, TILES_OF_A_SPLIT = 4224, 20
"""A large molecule alone does better with so many, as long as each has that many candidates."""
MOST_REGISTERS = 128
"""Of a thread beside a table in float16: sixteen programs to a multiprocessor instead of twelve."""
WHOLE = 0x4B000000
"""The bits of 2^23 in float32, an argument so that the GPU keeps it in a register."""


def splits_of(tiles: Tiles, slices: int) -> int:
    """Return the programs per row block and slice: few molecules need many to fill a GPU.

    They decide the order of sums, so they must not change when the room for tiles grows.
    """
    whole, candidates = max(1, tiles.layout.row_blocks * slices), tiles.layout.candidates
    if whole >= PROGRAMS:
        return 1
    wanted = max(
        -(-PROGRAMS // whole), min(-(-MANY_PROGRAMS // whole), candidates // TILES_OF_A_SPLIT)
    )
    return min(wanted, candidates * (COLUMNS // PART))


def launch_forward(
    features: Tensor, s: Tensor, tiles: Tiles, table: PackedTable, block: int, sums: Sums
) -> None:
    """Write the partial sums of m_i = sum_j W(r_ij) h_j.

    Args:
        features: [beads, width] float32, contiguous.
        s: of `tile_pairs.coordinates`.
        tiles: of the batch.
        table: packed to the width of the features.
        block: which interaction block.
        sums: room for the partial sums, of `splits_of` splits.
    """
    slices = table.words.shape[1]
    splits = sums.rows.shape[1]
    if tiles.layout.row_blocks:
        tile_kernels.forward_kernel[(tiles.layout.row_blocks * splits, slices)](
            s,
            features,
            table.words[block],
            *_tile_arguments(tiles),
            sums.rows,
            sums.columns,
            *_scalars(table, block, tiles, splits),
            **_constants(table),
            **_registers(table, sums=True),
            **FMA,
        )


def launch_backward(
    features: Tensor,
    gradient: Tensor,
    s: Tensor,
    tiles: Tiles,
    table: PackedTable,
    block: int,
    slopes: Tensor,
    sums: Sums | None,
    *,
    add: bool,
) -> None:
    """Write dE/ds and, with `sums`, the partial sums of dE/dh, from dE/dm.

    Args:
        features, s, tiles, table, block: as for `launch_forward`.
        gradient: dE/dm [beads, width] float32, contiguous.
            With a table in float16, both are multiplied in float16, and must not be far from 1.
        slopes: [slices, *s.shape], dE/ds: written, or added to if `add`. A view, if of a part of
            a batch.
        sums: room for the partial sums of dE/dh, or None if it is not wanted.
        add: whether `slopes` holds what later blocks left.
    """
    slices = table.words.shape[1]
    splits = sums.rows.shape[1] if sums is not None else splits_of(tiles, slices)
    target = sums if sums is not None else Sums(slopes, slopes)  # not touched without
    if tiles.layout.row_blocks:
        tile_kernels.backward_kernel[(tiles.layout.row_blocks * splits, slices)](
            s,
            features,
            gradient,
            table.words[block],
            *_tile_arguments(tiles),
            slopes,
            target.rows,
            target.columns,
            *_scalars(table, block, tiles, splits),
            slopes.stride(0),
            FEATURES=sums is not None,
            ADD=add,
            **_constants(table),
            **_registers(table, sums=sums is not None),
            **FMA,
        )


def convolution_coordinates(positions: Tensor, tiles: Tiles, knots: Knots) -> Tensor:
    """Return `tile_pairs.coordinates` of positions [beads, 3], differentiable once."""
    s: Tensor = _Coordinates.apply(positions, tiles, knots)
    return s


def pass_messages(
    features: Tensor, s: Tensor, tiles: Tiles, table: PackedTable, block: int
) -> Tensor:
    """Return m_i = sum_j W(r_ij) h_j [beads, channels], differentiable once in features and s.

    Args:
        features: [beads, channels] float32.
        s: of `convolution_coordinates`.
        tiles, table, block: as for `launch_forward`.

    Raises:
        ValueError: features of another dtype or width.
    """
    if features.dtype != torch.float32 or features.shape[1] != table.channels:
        raise ValueError(
            f"features must be float32 with {table.channels} channels, not {features.dtype} with "
            f"{features.shape[1]}"
        )
    messages: Tensor = _Convolution.apply(features, s, tiles, table, block)
    return messages


class _Coordinates(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, tiles: Tiles, knots: Knots) -> Tensor:  # noqa: D102
        positions = positions.contiguous()
        ctx.save_for_backward(positions)
        ctx.tiles, ctx.knots = tiles, knots
        return tile_pairs.coordinates(positions, tiles, knots)

    @staticmethod
    @first_order
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        (positions,) = ctx.saved_tensors
        slopes = slope.contiguous()[None]
        return tile_pairs.pull(positions, slopes, ctx.tiles, ctx.knots), None, None


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, features: Tensor, s: Tensor, tiles: Tiles, table: PackedTable, block: int
    ) -> Tensor:
        h = _padded(features, table.width)
        ctx.save_for_backward(h, s)
        ctx.tiles, ctx.table, ctx.block = tiles, table, block
        sums = _room(h, tiles, table)
        launch_forward(h, s, tiles, table, block, sums)
        return reduce_partials(sums, tiles, sums.rows.shape[1], table.channels)

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        h, s = ctx.saved_tensors
        tiles, table = ctx.tiles, ctx.table
        g = _padded(gradient, table.width)
        slopes = s.new_empty(table.words.shape[1], *s.shape)
        sums = _room(h, tiles, table) if ctx.needs_input_grad[0] else None
        launch_backward(h, g, s, tiles, table, ctx.block, slopes, sums, add=False)
        g_h = None
        if sums is not None:
            g_h = reduce_partials(sums, tiles, sums.rows.shape[1], table.channels)
        return g_h, slopes.sum(0), None, None, None


def _room(features: Tensor, tiles: Tiles, table: PackedTable) -> Sums:
    splits = splits_of(tiles, table.words.shape[1])
    return partial_sums(features, tiles, splits, table.width, atomic=False)


def _padded(values: Tensor, width: int) -> Tensor:
    """Return values [beads, channels] padded with zeros to [beads, width], contiguous."""
    return torch.nn.functional.pad(values, (0, width - values.shape[1])).contiguous()


def _tile_arguments(tiles: Tiles) -> tuple[Tensor, ...]:
    layout = tiles.layout
    return layout.first_bead, layout.molecule_end, tiles.count, tiles.column


def _scalars(table: PackedTable, block: int, tiles: Tiles, splits: int) -> tuple[Any, ...]:
    words = table.words[0, 0].numel()
    return table.unit[block], WHOLE, table.width, words, words // 4, tiles.most_tiles, splits


def _constants(table: PackedTable) -> dict[str, Any]:
    return {
        "ROWS": ROWS,
        "TILE": COLUMNS,
        "COLUMNS": PART,
        "SLICE": table.words.shape[4],
        "WORDS": table.words.shape[3],
        "num_warps": 1,
        "num_stages": 1,
    }


def _registers(table: PackedTable, *, sums: bool) -> dict[str, int]:
    """Return the option that bounds registers; kernels without sums need fewer by themselves."""
    bound = sums and table.words.dtype == torch.float16
    return {"maxnreg": MOST_REGISTERS} if bound else {}


def specialisations() -> list[Specialisation]:
    """Return the variants that a simulation launches."""
    signature = dict.fromkeys(
        ("s_at", "features", "gradient", "table", "slope_at", "row_sums", "column_sums")
        + ("positions",),
        "*fp32",
    )
    signature |= dict.fromkeys(("first_bead", "molecule_end", "count", "column"), "*i32")
    signature |= dict.fromkeys(
        ("whole", "channels", "slice_words", "slice_quads", "most_tiles", "splits", "pairs")
        + ("slices",),
        "i32",
    )
    signature |= dict.fromkeys(("unit", "scale", "stretch", "cutoff", "beyond"), "fp32")
    found = []
    for words, number, sums in (
        (WORDS["cubic"], "*fp32", "*fp32"),
        (WORDS["compact"], "*fp32", "*bf16"),
        (FORMS["compact"], "*fp16", "*bf16"),
    ):
        shape = {"ROWS": ROWS, "TILE": COLUMNS, "COLUMNS": PART, "SLICE": SLICE, "WORDS": words}
        signature |= {"table": number, "column_sums": sums}
        most = MOST_REGISTERS if number == "*fp16" else None
        found.append(_variant(tile_kernels.forward_kernel, signature, shape, most=most))
        for features, add in ((True, False), (True, True), (False, True)):
            own = shape | {"FEATURES": features, "ADD": add}
            bound = most if features else None
            found.append(_variant(tile_kernels.backward_kernel, signature, own, most=bound))
    signature |= {"column_sums": "*fp32"}
    for even in (False, True):
        shape = {"ROWS": ROWS, "COLUMNS": COLUMNS, "EVEN": even}
        for kernel in (tile_pairs.coordinate_kernel, tile_pairs.pull_kernel):
            found.append(_variant(kernel, signature, shape, num_warps=tile_pairs.WARPS))
    return found


def _variant(
    kernel: Any,
    signature: dict[str, str],
    constants: dict[str, Any],
    num_warps: int = 1,
    most: int | None = None,
) -> Specialisation:
    own = {n: signature[n] for n in kernel.arg_names if n not in constants}
    return Specialisation(
        kernel,
        own,
        constants,
        num_warps=num_warps,
        num_stages=1,
        most_registers=most,
        multiples=("channels", "slice_words", "pairs"),
    )
