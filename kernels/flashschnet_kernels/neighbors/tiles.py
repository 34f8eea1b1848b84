"""Tiles of neighbours: which blocks of beads have a pair within the cutoff, found on the device.

Beads that follow each other in a chain are close in space, so the matrix of pairs of a molecule is
cut into tiles of `ROWS` x `COLUMNS` beads and only tiles with a pair within the
cutoff are kept. Each unordered pair lies in one tile: row block I owns the column blocks I, I + 1,
... up to half way round the molecule (a circulant), so that all row blocks own about as many. The
list is made anew at every step, which costs next to nothing, and therefore cannot miss a pair.

Large molecules have room for fewer tiles than there can be. A search that needs more says so in
device memory, so that many searches can follow each other before the host looks at any.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import triton
import triton.language as tl
from torch import Tensor

from flashschnet_kernels.ahead_of_time import Specialisation
from flashschnet_kernels.launching import FMA

ROWS = 8
COLUMNS = 8
ROOM = 128
"""Tiles of a row block up to which all get their room: molecules of up to 2,040 beads."""
UNIT = 16
"""Room that can be too small is a multiple of this, so that more needs no other kernel variant."""
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
        molecule_rows: first row block of every molecule, known to the host.
    """

    first_bead: Tensor
    molecule_start: Tensor
    molecule_end: Tensor
    molecule_block: Tensor
    molecule_blocks: Tensor
    candidates: int
    beads: int
    molecule_rows: tuple[int, ...]

    @property
    def row_blocks(self) -> int:
        """Number of row blocks of all molecules."""
        return self.first_bead.shape[0]


@dataclass(frozen=True)
class Tiles:
    """The tiles with a pair within the cutoff, at one set of positions.

    Attributes:
        layout: of the batch.
        count: [row blocks] int32, tiles in the list of each row block.
        column: [row blocks, most_tiles] int32, first bead of each tile's columns.
        slot: [row blocks, candidates] int32, by candidate: its place in `column`, or -1.
        incoming_count: [row blocks] int32, tiles whose columns are the beads of a row block.
        incoming: [row blocks, candidates] int32, where these are: row block * most_tiles + place.
        first_row: row block of the batch that is the first here, in a part of a batch.
    """

    layout: TileLayout
    count: Tensor
    column: Tensor
    slot: Tensor
    incoming_count: Tensor
    incoming: Tensor
    first_row: int = 0

    @property
    def most_tiles(self) -> int:
        """Tiles of one row block that there is room for."""
        return self.column.shape[1]

    @property
    def first_tile(self) -> int:
        """What `incoming` counts from, less than any number in it."""
        return self.first_row * self.most_tiles

    def part(self, first: int, end: int) -> Tiles:
        """Return the tiles of some row blocks, whole molecules; nothing is copied."""
        rows, layout = slice(first, end), self.layout
        of_part = replace(
            layout,
            first_bead=layout.first_bead[rows],
            molecule_start=layout.molecule_start[rows],
            molecule_end=layout.molecule_end[rows],
            molecule_block=layout.molecule_block[rows],
            molecule_blocks=layout.molecule_blocks[rows],
        )
        return Tiles(
            of_part,
            self.count[rows],
            self.column[rows],
            self.slot[rows],
            self.incoming_count[rows],
            self.incoming[rows],
            first_row=self.first_row + first,
        )


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
        molecule_rows=tuple(first_block.tolist()),
    )


def room_for(needed: int, unit: int = UNIT) -> int:
    """Return the room for so many tiles of a row block: a quarter more, in whole units."""
    wanted = needed + needed // 4 + 1
    return -(-wanted // unit) * unit


class TileSearch:
    """Finds the tiles of a batch at every set of positions.

    A molecule of up to 2,040 beads gets room for all tiles it can have, and the host never looks.
    For a larger one the first search counts, and room is for a quarter more. Whether later searches
    had enough is looked at in each of them, and one that had not is done again; or, where a caller
    says `look=False`, nothing waits for the device and `shortage` keeps the answer until the
    caller asks. What was made from a search that ran short lacks pairs and must be thrown away.

    Args:
        molecule_sizes: beads of each molecule; they lie end to end.
        cutoff: in the unit of the positions.
        device: where the positions are.
        room: tiles of a row block up to which all get their room.
        unit: of the room of larger molecules.

    Attributes:
        complete: whether there is room for all tiles, so that none can run short.
        capacity: tiles of a row block that there is room for; 0 before the first search counts.
        shortage: [1] int32 on the device: 0, or the most tiles of a row block that a search
            without a look found and had no room for. Set it back to 0 before the first of them.
    """

    def __init__(
        self,
        molecule_sizes: tuple[int, ...],
        cutoff: float,
        device: torch.device,
        room: int = ROOM,
        unit: int = UNIT,
    ) -> None:
        self.layout = lay_out(molecule_sizes, device)
        self.cutoff = cutoff
        self.unit = unit
        self.complete = self.layout.candidates <= room
        self.capacity = self.layout.candidates if self.complete else 0
        self.shortage = torch.zeros(1, dtype=torch.int32, device=device)

    def __call__(self, positions: Tensor, *, look: bool = True) -> Tiles:
        """Return the tiles with a pair closer than the cutoff; the same in every run.

        Args:
            positions: [beads, 3].
            look: wait for the device and search again if there was no room for all. Otherwise the
                tiles without room are left out, and `shortage` says so. The first search counts,
                so it looks in any case.
        """
        positions = positions.detach().contiguous()
        if self.complete or (self.capacity and not look):
            return _search(positions, self.layout, self.cutoff, self.capacity, self.shortage)
        while True:
            # Its own, because searches that nobody has looked at yet may have left theirs.
            shortage = torch.zeros_like(self.shortage)
            tiles = _search(positions, self.layout, self.cutoff, self.capacity, shortage)
            needed = int(shortage)
            if self.capacity and not needed:
                return tiles
            self.grow(needed)

    def grow(self, needed: int) -> None:
        """Make room for so many tiles of a row block and a quarter more; never less than now."""
        self.capacity = max(self.capacity, room_for(needed, self.unit))


def _search(
    positions: Tensor, layout: TileLayout, cutoff: float, capacity: int, shortage: Tensor
) -> Tiles:
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
            shortage,
            cutoff * cutoff,
            capacity,
            layout.candidates,
            ROWS,
            COLUMNS,
            _STEP,
            num_warps=4,
            **FMA,
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
            **FMA,
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
    shortage,
    cutoff_squared,
    capacity,
    most_candidates,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STEP: tl.constexpr,
):
    """Write count, column and slot of one row block; grid (row blocks,). Deterministic.

    What is above the capacity is in none of them: whatever reads the list stays within its room.
    `shortage` is then raised to what the row block needs.
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
        listed = active & (place < capacity)
        tl.store(column + wide_row * capacity + place, tile, mask=listed)
        at = slot + wide_row * most_candidates + candidate
        tl.store(at, tl.where(listed, place, -1), mask=candidate < candidates)
        found += tl.sum(flag, axis=0)
    tl.store(count + row, tl.minimum(found, capacity))
    tl.atomic_max(shortage, found, mask=found > capacity, sem="relaxed")


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

    In the order of the candidates: the nearest owner before it comes first.
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
            "shortage",
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
