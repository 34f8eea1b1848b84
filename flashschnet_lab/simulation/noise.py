"""The random numbers of a simulation, made in blocks of many steps to save launches."""

from __future__ import annotations

import torch
from torch import Tensor

from flashschnet_kernels.langevin.reference import gaussian_noise

NUMBERS_PER_BLOCK = 1 << 20
MOST_STEPS = 64


class NoiseBlocks:
    """Standard normal numbers of every step, the same for a replica alone and in any batch.

    Args:
        seed: key of the random streams.
        streams: [replicas] int64 on the device, the stream of each replica.
        beads: of one replica.
        dtype: of the numbers.
    """

    def __init__(self, seed: int, streams: Tensor, beads: int, dtype: torch.dtype) -> None:
        self._seed, self._streams, self._beads, self._dtype = seed, streams, beads, dtype
        self.length = max(1, min(MOST_STEPS, NUMBERS_PER_BLOCK // (4 * len(streams) * beads)))
        self._kept: dict[int, Tensor] = {}

    def block(self, number: int) -> Tensor:
        """Return the noise of steps number * length onwards, [length, replicas, beads, 3]."""
        first = number * self.length
        return gaussian_noise(
            self._seed, self._streams, first, self.length, self._beads, self._dtype
        )

    def __call__(self, step: int) -> Tensor:
        """Return the noise of one step, [replicas, beads, 3]; two blocks are kept."""
        number, slot = divmod(step, self.length)
        if number not in self._kept:
            while len(self._kept) > 1:
                self._kept.pop(next(iter(self._kept)))
            self._kept[number] = self.block(number)
        return self._kept[number][slot]
