"""Who sees whom, in the form that a kernel plan reads, kept up to date from step to step."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from flashschnet_kernels.neighbors.reference import pairs_within
from flashschnet_kernels.plan import KernelPlan

if TYPE_CHECKING:
    from flashschnet_kernels.neighbors.tiles import Tiles, TileSearch

_log = logging.getLogger(__name__)

SKIN = 0.5
"""Angstrom by which a kept list reaches beyond the cutoff: a new one every few steps, and 6 % more
pairs to look at, which the convolution drops before it works on them."""


class NeighborFinder(Protocol):
    """Finds the neighbours at any positions; holds what is kept from step to step."""

    @property
    def device(self) -> torch.device:
        """Where it works."""

    def find(self, positions: Tensor) -> Any:
        """Return the neighbours of beads [beads, 3]: pairs, `Edges` or `Tiles`."""


def neighbor_finder(
    plan: KernelPlan, molecule_sizes: tuple[int, ...], cutoff: float, device: torch.device
) -> NeighborFinder:
    """Return the finder of a plan, for molecules laid end to end."""
    if plan.neighbors == "tiles":
        from flashschnet_kernels.neighbors.tiles import TileSearch

        return TileFinder(device, TileSearch(molecule_sizes, cutoff, device))
    if plan.neighbors == "verlet":
        # Operators that work on every listed edge get the exact ones, found anew at every step.
        skin = SKIN if plan.fused else 0.0
        return _Rows(device, molecule_sizes, cutoff, skin, pairs=plan.fused)
    return _AllPairs(device, molecule_sizes, cutoff)


class TileFinder:
    """Tiles of pairs, found anew every time.

    Every search makes sure that it had room for all tiles, which waits for the device; or, within
    `look_later`, none does and the caller asks once for all of them.

    Args:
        device: where it works.
        search: of the batch.
    """

    def __init__(self, device: torch.device, search: TileSearch) -> None:
        self._device = device
        self.search = search
        self._unwatched: int | None = None  # the thread whose searches do not look

    @property
    def device(self) -> torch.device:
        """Where it works."""
        return self._device

    def find(self, positions: Tensor) -> Tiles:
        """Return the tiles at some positions [beads, 3]."""
        return self.search(positions, look=self._unwatched != threading.get_ident())

    @contextmanager
    def look_later(self) -> Iterator[None]:
        """Let no search within wait for the device; `shortage` then tells whether all had room.

        Searches of other threads meanwhile look.
        """
        self.search.shortage.zero_()
        self._unwatched = threading.get_ident()
        try:
            yield
        finally:
            self._unwatched = None

    def shortage(self) -> Tensor:
        """Return [1] int32: 0, or the tiles of a row block that a search had no room for.

        Of all searches since `look_later` began. If it is not 0, all that was made from them has to
        be made again, after `grow`.
        """
        return self.search.shortage.clone()

    def grow(self, needed: int) -> None:
        """Make room for so many tiles of a row block; this is reported.

        At most twice the room of before: what came after the first search without room saw too few
        neighbours, and where beads went from there says little about what is needed.
        """
        before = self.search.capacity
        self.search.grow(min(needed, 2 * before))
        _log.info(
            "a row of tiles had room for %d of %d; it has room for %d now",
            *(before, needed, self.search.capacity),
        )


@dataclass(frozen=True)
class _AllPairs:
    device: torch.device
    molecule_sizes: tuple[int, ...]
    cutoff: float

    def find(self, positions: Tensor) -> Tensor:
        return pairs_within(positions, self.molecule_sizes, self.cutoff)


class _Rows:
    """A Verlet list; one that overflows gets more room, and that is reported."""

    def __init__(
        self,
        device: torch.device,
        molecule_sizes: tuple[int, ...],
        cutoff: float,
        skin: float,
        pairs: bool,
    ) -> None:
        self._device = device
        self._arguments = (molecule_sizes, cutoff)
        self._skin = skin
        self._pairs = pairs
        self._list: Any = None
        self._kept: Tensor | None = None
        self._kept_build = -1

    @property
    def device(self) -> torch.device:
        return self._device

    def find(self, positions: Tensor) -> Any:
        from flashschnet_kernels.neighbors import verlet

        x = positions.detach()
        if self._list is None or self._list.built_at.dtype != x.dtype:
            implementation = "triton" if self.device.type == "cuda" else "cpu"
            self._list = verlet.allocate(
                x, *self._arguments, skin=self._skin, implementation=implementation
            )
            self._kept_build = -1
        else:
            verlet.update(self._list, x)
        if verlet.overflowed(self._list):
            self._list = verlet.grow(self._list, x)
            self._kept_build = -1
            _log.warning("the neighbour list was too small; it has room for more edges now")
        if not self._pairs:
            return verlet.edges(self._list)
        build = int(self._list.rebuilds)
        if self._kept is None or build != self._kept_build:
            self._kept = verlet.edges(self._list).pairs()
            self._kept_build = build
        return self._kept
