"""Verlet list: neighbours out to cutoff + skin, kept as long as no pair can have come in range.

Why no pair is ever missed. Let rc be the cutoff and s the skin. A build lists every pair closer
than rc + s. A pair that it left out was at least rc + s apart. As long as no bead is further than
s/2 from where it was at the build, each end of that pair has come at most s/2 closer, so it is
still at least rc + s - s/2 - s/2 = rc apart: not a neighbour. `update` looks at every bead on every
call and builds anew as soon as one has gone further.

Rounding is part of the proof. Let u = 2^-24 be the rounding unit of float32. A squared length
(dx*dx + dy*dy) + dz*dz of float32 coordinates is a sum of positive terms and off by at most 5 u,
the length by 2.5 u, relatively, however far from the origin the molecule is; float64 is better. The
build searches to (rc + s)(1 + 16 u) and trusts displacements up to s/2 (1 - 16 u). So a pair left
out was truly at least (rc + s)(1 + 13 u) apart, a trusted bead has truly gone at most
s/2 (1 - 13 u), and the pair is now at least rc (1 + 13 u) apart: whoever computes its distance
finds more than rc. A comparison with NaN is false, and asked such that false means "build anew".
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from itertools import accumulate
from types import ModuleType

import torch
from torch import Tensor

from flashschnet_kernels.edges import Edges

IMPLEMENTATIONS = ("triton", "cpu")

SLACK = 1e-6
"""Relative widening of the build and narrowing of the skin: 16 rounding units of float32."""

BLOCK = 32
"""Consecutive beads that share a bounding box."""

PRUNE_ABOVE = 512
"""Beads of the largest molecule above which blocks of beads too far apart are passed over."""

ALWAYS_ENOUGH = 2**24
"""Ordered pairs up to which a list has room for all of them (200 MB) and cannot overflow."""

HEAD_ROOM = 1.5
"""Room of a larger list, in edges counted at its first build."""

INT32_LIMIT = 2**31 - 1
"""Largest number that fits an int32 index."""


@dataclass(frozen=True, eq=False)
class VerletList:
    """Neighbour list of a batch of molecules with fixed room, all of it on the device.

    `update` changes the tensors in place and replaces none of them, so that a captured graph may
    hold them. The first `row_start[-1]` edges are valid. If there are more edges than room, the
    list holds none at all and says so in `overflow`, which stays set: never part of the neighbours.

    Attributes:
        implementation: "triton" or "cpu".
        molecule_sizes: beads of each molecule, laid end to end.
        cutoff: in the unit of the positions.
        skin: how far beyond the cutoff the list reaches.
        molecule_start: [beads] first bead of the molecule of each bead.
        molecule_stop: [beads] one past its last bead.
        built_at: [beads, 3] positions at the last build; NaN before the first.
        boxes: [blocks, 6] lowest and highest x, y, z of each block of beads.
        counts: [beads] int32, neighbours of each bead at the last build.
        prefix: [beads + 1] int64, sums of `counts`; the last is the room that was needed.
        receiver: [capacity] as `Edges.receiver`; int32 where it fits, else int64, as all indices.
        sender: [capacity] as `Edges.sender`.
        reverse: [capacity] as `Edges.reverse`.
        row_start: [beads + 1] as `Edges.row_start`.
        stale: [1] int32, whether the last update had to build.
        overflow: [1] int32, whether a build ever needed more room than there was.
        rebuilds: [1] int64, builds so far.
    """

    implementation: str
    molecule_sizes: tuple[int, ...]
    cutoff: float
    skin: float
    molecule_start: Tensor
    molecule_stop: Tensor
    built_at: Tensor
    boxes: Tensor
    counts: Tensor
    prefix: Tensor
    receiver: Tensor
    sender: Tensor
    reverse: Tensor
    row_start: Tensor
    stale: Tensor
    overflow: Tensor
    rebuilds: Tensor

    @property
    def beads(self) -> int:
        """Number of beads, all molecules together."""
        return self.built_at.shape[0]

    @property
    def capacity(self) -> int:
        """Number of directed edges that there is room for."""
        return self.sender.shape[0]

    @property
    def largest_molecule(self) -> int:
        """Beads of the largest molecule."""
        return max(self.molecule_sizes, default=0)

    @property
    def search_radius_squared(self) -> float:
        """Pairs closer than its root are listed."""
        return ((self.cutoff + self.skin) * (1 + SLACK)) ** 2

    @property
    def trusted_displacement_squared(self) -> float:
        """A bead that has gone further than its root makes the list stale."""
        return (0.5 * self.skin * (1 - SLACK)) ** 2


def allocate(
    positions: Tensor,
    molecule_sizes: tuple[int, ...],
    cutoff: float,
    *,
    skin: float = 1.5,
    implementation: str = "triton",
    capacity: int | None = None,
) -> VerletList:
    """Make room for a list and build it at `positions`. May wait for the device.

    Args:
        positions: [beads, 3] float32 or float64, the molecules laid end to end.
        molecule_sizes: beads of each molecule; they add up to `beads`.
        cutoff: in the unit of the positions, positive.
        skin: not negative. 0 lists (almost) nothing but neighbours, and any motion makes it stale.
        implementation: "triton" or "cpu".
        capacity: room in directed edges; by default every ordered pair of beads while that is
            small, otherwise what the positions need and half as much again.

    Raises:
        RuntimeError: the sizes do not add up, or the implementation cannot run on this device.
        ValueError: an unknown implementation, a length that makes no sense, or too many beads.
        TypeError: positions of another type.
    """
    if implementation not in IMPLEMENTATIONS:
        known = ", ".join(IMPLEMENTATIONS)
        raise ValueError(f"neighbour list {implementation!r} is unknown; known: {known}")
    if not (cutoff > 0 and skin >= 0):
        raise ValueError(f"cutoff {cutoff} must be positive and skin {skin} not negative")
    if positions.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"positions must be float32 or float64, not {positions.dtype}")
    if positions.shape != (sum(molecule_sizes), 3):
        raise RuntimeError(
            f"molecules of {sum(molecule_sizes)} beads together, but positions of shape "
            f"{tuple(positions.shape)}"
        )
    every_pair = sum(n * (n - 1) for n in molecule_sizes)
    if capacity is None and every_pair <= ALWAYS_ENOUGH:
        capacity = every_pair
    verlet = _empty(positions, molecule_sizes, cutoff, skin, implementation, capacity or 0)
    update(verlet, positions)
    if capacity is None:
        verlet = grow(verlet, positions)
        verlet.rebuilds.fill_(1)
    return verlet


def update(verlet: VerletList, positions: Tensor) -> None:
    """Build the list anew, in place, if a bead has moved too far since the last build.

    On a GPU nothing waits for the device: the kernels read there whether there is work.

    Args:
        verlet: the list; changed.
        positions: [beads, 3] of the list's type and device.

    Raises:
        RuntimeError: positions of another shape, type or device.
    """
    built_at = verlet.built_at
    if (positions.shape, positions.dtype, positions.device) != (
        built_at.shape,
        built_at.dtype,
        built_at.device,
    ):
        raise RuntimeError(
            f"the list is for {built_at.dtype} positions {tuple(built_at.shape)} on "
            f"{built_at.device}, not {positions.dtype} {tuple(positions.shape)} on "
            f"{positions.device}"
        )
    if verlet.beads:
        _implementation(verlet).update(verlet, positions.detach().contiguous())


def overflowed(verlet: VerletList) -> bool:
    """Return whether any build since the allocation found more edges than room (waits)."""
    return bool(verlet.overflow.item())


def grow(verlet: VerletList, positions: Tensor) -> VerletList:
    """Return a list with more room, built at `positions`. Waits for the device.

    Steps taken since the overflow saw an empty list: repeat them from the last state before it.
    """
    every_pair = sum(n * (n - 1) for n in verlet.molecule_sizes)
    needed = int(verlet.prefix[-1])
    while True:
        capacity = min(every_pair, max(int(HEAD_ROOM * needed), verlet.capacity) + 1024)
        larger = _empty(
            positions,
            verlet.molecule_sizes,
            verlet.cutoff,
            verlet.skin,
            verlet.implementation,
            capacity,
        )
        larger.rebuilds.copy_(verlet.rebuilds)
        update(larger, positions)
        needed = int(larger.prefix[-1])  # more than before, if the positions are others
        if needed <= capacity:
            return larger


def edges(verlet: VerletList) -> Edges:
    """Return the valid part of the list, as views. Waits for the device to know its length.

    Pairs between the cutoff and cutoff + skin are among them; the envelope makes them count for
    nothing.

    Raises:
        RuntimeError: the list has overflowed.
    """
    if overflowed(verlet):
        raise RuntimeError(
            f"the neighbour list has room for {verlet.capacity} edges and needed "
            f"{int(verlet.prefix[-1])} at its last build: call grow"
        )
    count = int(verlet.row_start[-1])
    return Edges(
        verlet.receiver[:count], verlet.sender[:count], verlet.row_start, verlet.reverse[:count]
    )


def _empty(
    positions: Tensor,
    sizes: tuple[int, ...],
    cutoff: float,
    skin: float,
    implementation: str,
    capacity: int,
) -> VerletList:
    device, beads = positions.device, positions.shape[0]
    if beads > INT32_LIMIT:
        raise ValueError(f"{beads} beads; a neighbour list can number {INT32_LIMIT}")
    index = torch.int32 if capacity <= INT32_LIMIT else torch.int64
    stops = torch.tensor(list(accumulate(sizes)), dtype=index, device=device)
    lengths = torch.tensor(sizes, dtype=torch.int64, device=device)

    def room(*shape: int, dtype: torch.dtype = index) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    return VerletList(
        implementation=implementation,
        molecule_sizes=tuple(sizes),
        cutoff=float(cutoff),
        skin=float(skin),
        molecule_start=(stops - lengths.to(index)).repeat_interleave(lengths),
        molecule_stop=stops.repeat_interleave(lengths),
        built_at=torch.full_like(positions, torch.nan, memory_format=torch.contiguous_format),
        boxes=room(-(-beads // BLOCK), 6, dtype=positions.dtype),
        counts=room(beads, dtype=torch.int32),
        prefix=room(beads + 1, dtype=torch.int64),
        receiver=room(capacity),
        sender=room(capacity),
        reverse=room(capacity),
        row_start=room(beads + 1),
        stale=room(1, dtype=torch.int32),
        overflow=room(1, dtype=torch.int32),
        rebuilds=room(1, dtype=torch.int64),
    )


def _implementation(verlet: VerletList) -> ModuleType:
    return importlib.import_module(f"flashschnet_kernels.neighbors.{verlet.implementation}")
