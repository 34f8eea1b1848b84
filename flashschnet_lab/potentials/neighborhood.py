"""Who sees whom, in the form that a kernel plan reads, kept up to date from step to step."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from flashschnet_kernels.neighbors.reference import pairs_within
from flashschnet_kernels.plan import KernelPlan

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

        return _Tiles(device, TileSearch(molecule_sizes, cutoff, device))
    if plan.neighbors == "verlet":
        # Operators that work on every listed edge get the exact ones, found anew at every step.
        skin = SKIN if plan.fused else 0.0
        return _Rows(device, molecule_sizes, cutoff, skin, pairs=plan.fused)
    return _AllPairs(device, molecule_sizes, cutoff)


@dataclass(frozen=True)
class _AllPairs:
    device: torch.device
    molecule_sizes: tuple[int, ...]
    cutoff: float

    def find(self, positions: Tensor) -> Tensor:
        return pairs_within(positions, self.molecule_sizes, self.cutoff)


@dataclass(frozen=True)
class _Tiles:
    device: torch.device
    search: Any

    def find(self, positions: Tensor) -> Any:
        return self.search(positions)


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
