"""Tiles of neighbours: which blocks of beads have a pair within the cutoff, found on the device.

Beads that follow each other in a chain are close in space, so the matrix of pairs of a molecule is
cut into tiles of `ROWS` x `COLUMNS` beads and only tiles with a pair within the
cutoff are kept. Each unordered pair lies in one tile: row block I owns the column blocks I, I + 1,
... up to half way round the molecule (a circulant), so that all row blocks own about as many. The
list is made anew at every step, which costs next to nothing, and therefore cannot miss a pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from flashschnet_kernels.ahead_of_time import Specialisation

ROWS = 8
COLUMNS = 8
ROOM = 128
"""Tiles of a row block up to which all get their room: molecules of up to 2,040 beads."""
_STEP = 16  # tiles that one pass of the search looks at
_TURNED = 128  # candidates that one pass over the tiles found looks at


@dataclass(frozen=True)
class TileLayout:
    """How the beads of a batch are cut into row blocks; fixed for a batch.

    Attributes:
        first_bead: [row blocks] int32, first bead of each row block.
        molecule_start: [row blocks] int32, first bead of its molecule.
        molecule_end: [row blocks] int32, one past the last bead of its molecule.
        molecule_block: [row blocks] int32, first row block of its molecule.
        molecule_blocks: [row blocks] int32, row blocks of its molecule.
        candidates: tiles that a row block can own at most.
        beads: of the batch.
    """

    first_bead: Tensor
    molecule_start: Tensor
    molecule_end: Tensor
    molecule_block: Tensor
    molecule_blocks: Tensor
    candidates: int
    beads: int

    @property
    def row_blocks(self) -> int:
        """Number of row blocks of all molecules."""
        return self.first_bead.shape[0]


@dataclass(frozen=True)
class Tiles:
    """The tiles with a pair within the cutoff, at one set of positions.

    Attributes:
        layout: of the batch.
        count: [row blocks] int32, tiles that each row block owns.
        column: [row blocks, most_tiles] int32, first bead of each tile's columns.
        slot: [row blocks, candidates] int32, by candidate: its place in `column`, or -1.
        incoming_count: [row blocks] int32, tiles whose columns are the beads of a row block.
        incoming: [row blocks, candidates] int32, where these are: row block * most_tiles + place.
    """

    layout: TileLayout
    count: Tensor
    column: Tensor
    slot: Tensor
    incoming_count: Tensor
    incoming: Tensor

    @property
    def most_tiles(self) -> int:
        """Tiles of one row block that there is room for."""
        return self.column.shape[1]


def lay_out(molecule_sizes: tuple[int, ...], device: torch.device) -> TileLayout:
    """Cut the beads of molecules laid end to end into row blocks."""
    sizes = torch.tensor(molecule_sizes, dtype=torch.int64)
    blocks = (sizes + ROWS - 1) // ROWS
    ends = sizes.cumsum(0)
    starts = ends - sizes
    first_block = blocks.cumsum(0) - blocks
    molecule = torch.repeat_interleave(torch.arange(len(sizes)), blocks)
    place = torch.arange(len(molecule)) - first_block[molecule]

    def on_device(values: Tensor) -> Tensor:
        return values.to(device=device, dtype=torch.int32)

    most = int(blocks.max()) // 2 + 1 if len(blocks) else 0
    return TileLayout(
        first_bead=on_device(starts[molecule] + place * ROWS),
        molecule_start=on_device(starts[molecule]),
        molecule_end=on_device(ends[molecule]),
        molecule_block=on_device(first_block[molecule]),
        molecule_blocks=on_device(blocks[molecule]),
        candidates=most,
        beads=int(ends[-1]) if len(ends) else 0,
    )


def needs_host(largest_molecule: int, room: int = ROOM) -> bool:
    """Whether the host looks at every search of such a molecule: see `TileSearch`."""
    blocks = -(-largest_molecule // ROWS)
    return blocks // 2 + 1 > room


class TileSearch:
    """Finds the tiles of a batch at every set of positions; complete every time.

    A molecule of up to 2,040 beads gets room for all tiles it can have: one launch, and the
    host never looks. A larger one gets room for as many as were ever needed and a quarter more: the
    host looks at the largest count of each search, and one that did not fit is done again.

    Args:
        molecule_sizes: beads of each molecule; they lie end to end.
        cutoff: in the unit of the positions.
        device: where the positions are.
        room: tiles of a row block up to which all get their room.
    """

    def __init__(
        self,
        molecule_sizes: tuple[int, ...],
        cutoff: float,
        device: torch.device,
        room: int = ROOM,
    ) -> None:
        self.layout = lay_out(molecule_sizes, device)
        self.cutoff = cutoff
        self.complete = self.layout.candidates <= room
        self.capacity = self.layout.candidates if self.complete else room

    def __call__(self, positions: Tensor) -> Tiles:
        """Return the tiles with a pair closer than the cutoff, from [beads, 3]; same every run."""
        positions = positions.detach().contiguous()
        while True:
            tiles = _search(positions, self.layout, self.cutoff, self.capacity)
            if self.complete or self.layout.row_blocks == 0:
                return tiles
            needed = int(tiles.count.max())
            if needed <= self.capacity:
                return tiles
            self.capacity = min(needed + needed // 4 + 1, self.layout.candidates)


def _search(positions: Tensor, layout: TileLayout, cutoff: float, capacity: int) -> Tiles:
    blocks = layout.row_blocks
    count = torch.empty(blocks, dtype=torch.int32, device=positions.device)
    column = torch.empty(blocks, capacity, dtype=torch.int32, device=positions.device)
    slot = torch.empty(blocks, layout.candidates, dtype=torch.int32, device=positions.device)
    incoming_count, incoming = torch.empty_like(count), torch.empty_like(slot)
    if blocks:
        _find[(blocks,)](
            positions,
            layout.first_bead,
            layout.molecule_start,
            layout.molecule_end,
            layout.molecule_block,
            layout.molecule_blocks,
            count,
            column,
            slot,
            cutoff * cutoff,
            capacity,
            layout.candidates,
            ROWS,
            COLUMNS,
            _STEP,
            num_warps=4,
        )
        _turn[(blocks,)](
            slot,
            layout.molecule_block,
            layout.molecule_blocks,
            incoming_count,
            incoming,
            capacity,
            layout.candidates,
            _TURNED,
            num_warps=4,
        )
    return Tiles(layout, count, column, slot, incoming_count, incoming)


@triton.jit
def _find(
    positions,  # [beads, 3]
    first_bead,
    molecule_start,
    molecule_end,
    molecule_block,
    molecule_blocks,
    count,
    column,
    slot,
    cutoff_squared,
    capacity,
    most_candidates,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STEP: tl.constexpr,
):
    """Write count, column and slot of one row block; grid (row blocks,). Deterministic.

    `count` is true even where it is above the capacity; then `column` lacks the rest.
    """
    row = tl.program_id(0)
    start, end = tl.load(molecule_start + row), tl.load(molecule_end + row)
    blocks = tl.load(molecule_blocks + row)
    local = row - tl.load(molecule_block + row)
    i = tl.load(first_bead + row) + tl.arange(0, ROWS)
    in_i = i < end
    at_i = positions + i.to(tl.int64) * 3
    x_i = tl.load(at_i, mask=in_i, other=0.0)
    y_i = tl.load(at_i + 1, mask=in_i, other=0.0)
    z_i = tl.load(at_i + 2, mask=in_i, other=0.0)
    candidates = blocks // 2 + 1
    wide_row = row.to(tl.int64)
    found = 0
    for first in range(0, candidates, STEP):
        candidate = first + tl.arange(0, STEP)
        other = (local + candidate) % blocks
        # Half way round an even circle both blocks would own the tile: the lower one does.
        owned = (candidate < candidates) & ((2 * candidate < blocks) | (local < other))
        tile = start + other * ROWS  # [STEP]
        j = tl.reshape(tile[:, None] + tl.arange(0, COLUMNS)[None, :], [STEP * COLUMNS])
        in_j = j < end
        at_j = positions + j.to(tl.int64) * 3
        dx = x_i[:, None] - tl.load(at_j, mask=in_j, other=0.0)[None, :]
        dy = y_i[:, None] - tl.load(at_j + 1, mask=in_j, other=0.0)[None, :]
        dz = z_i[:, None] - tl.load(at_j + 2, mask=in_j, other=0.0)[None, :]

        near = (dx * dx + dy * dy + dz * dz < cutoff_squared) & (i[:, None] != j[None, :])
        near = near & in_i[:, None] & in_j[None, :]
        hits = tl.max(near.to(tl.int32), axis=0)  # [STEP * COLUMNS]
        active = owned & (tl.max(tl.reshape(hits, [STEP, COLUMNS]), axis=1) > 0)
        flag = active.to(tl.int32)
        place = found + tl.cumsum(flag, axis=0) - flag
        tl.store(column + wide_row * capacity + place, tile, mask=active & (place < capacity))
        at = slot + wide_row * most_candidates + candidate
        tl.store(at, tl.where(active, place, -1), mask=candidate < candidates)
        found += tl.sum(flag, axis=0)
    tl.store(count + row, found)


@triton.jit
def _turn(
    slot,
    molecule_block,
    molecule_blocks,
    incoming_count,
    incoming,
    capacity,
    most_candidates,
    STEP: tl.constexpr,
):
    """List the tiles whose columns are the beads of a row block; grid (row blocks,).

    In the order of the candidates: the nearest owner before it comes first. Where `count` is above
    the capacity the list means nothing.
    """
    row = tl.program_id(0)
    start, blocks = tl.load(molecule_block + row), tl.load(molecule_blocks + row)
    line = row.to(tl.int64) * most_candidates
    found = 0
    for first in range(0, blocks // 2 + 1, STEP):
        step = first + tl.arange(0, STEP)
        known = step <= blocks // 2
        owner = start + (row - start - tl.where(known, step, 0) + blocks) % blocks
        at = slot + owner.to(tl.int64) * most_candidates + step
        place = tl.load(at, mask=known, other=-1)
        flag = (place >= 0).to(tl.int32)
        target = incoming + line + found + tl.cumsum(flag, axis=0) - flag
        tl.store(target, owner * capacity + place, mask=place >= 0)
        found += tl.sum(flag, axis=0)
    tl.store(incoming_count + row, found)


def specialisations() -> list[Specialisation]:
    """Return the variants that a `TileSearch` launches."""
    pointers = {
        name: "*i32"
        for name in (
            "first_bead",
            "molecule_start",
            "molecule_end",
            "molecule_block",
            "molecule_blocks",
            "count",
            "column",
            "slot",
        )
    }
    numbers = {"cutoff_squared": "fp32", "capacity": "i32", "most_candidates": "i32"}
    signature = {"positions": "*fp32", **pointers, **numbers}
    constants = {"ROWS": ROWS, "COLUMNS": COLUMNS, "STEP": _STEP}
    turned = dict.fromkeys(
        ("slot", "molecule_block", "molecule_blocks", "incoming_count", "incoming"), "*i32"
    )
    turned |= {"capacity": "i32", "most_candidates": "i32"}
    return [
        Specialisation(_find, signature, constants),
        Specialisation(_turn, turned, {"STEP": _TURNED}),
    ]
