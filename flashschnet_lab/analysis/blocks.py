"""Trajectories piece by piece: what an analysis holds in memory does not grow with the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.store import ALL_FRAMES, Trajectory

BLOCK_BYTES = 8_000_000
"""Of float32 positions in one block; measures need some copies of it in float64."""

Watch = Callable[[int, int], None]
"""Called with the conformations that are done and their number in all."""


@dataclass(frozen=True)
class Block:
    """Neighbouring frames of neighbouring replicas.

    Attributes:
        rows: where its frames stand among the chosen ones.
        replicas: which copies of the molecule.
        positions: [frames, replicas, beads, 3] float32, angstrom.
    """

    rows: slice
    replicas: slice
    positions: np.ndarray

    @property
    def place(self) -> tuple[slice, slice]:
        """Where its values belong in an array [chosen frames, replicas]."""
        return self.rows, self.replicas

    @property
    def finite(self) -> np.ndarray:
        """Conformations without a coordinate that is no number, [frames, replicas] bool.

        A replica that a guard stopped may end in some that are none.
        """
        return np.isfinite(self.positions).all((-1, -2))


def choose_frames(trajectory: Trajectory, skip_ps: float = 0.0, every: int = 1) -> slice:
    """Return the frames from a time on, one of every so many, start and stop filled in.

    Args:
        trajectory: what is read.
        skip_ps: simulated time at the start to leave out, picoseconds.
        every: stride in frames.

    Raises:
        UserError: nothing is left, or a stride below 1.
    """
    if every < 1:
        raise UserError(f"frames cannot be taken every {every}; 1 takes all of them")
    start = int(np.searchsorted(trajectory.times_ps, skip_ps - 1e-9)) if trajectory.frames else 0
    if start >= trajectory.frames:
        end = trajectory.times_ps[-1] if trajectory.frames else 0.0
        raise UserError(
            f"{trajectory.path} has no frames after the first {skip_ps:g} ps: it ends at "
            f"{end:g} ps; skip less or run longer"
        )
    return slice(start, trajectory.frames, every)


def count_frames(trajectory: Trajectory, frames: slice = ALL_FRAMES) -> int:
    """Return how many frames a slice takes of a trajectory."""
    return len(range(*trajectory.frame_slice(frames).indices(trajectory.frames)))


def blocks(
    trajectory: Trajectory, frames: slice = ALL_FRAMES, watch: Watch | None = None
) -> Iterator[Block]:
    """Yield all conformations in blocks of at most about `BLOCK_BYTES`, whole chunks each.

    Args:
        trajectory: what is read.
        frames: which frames.
        watch: called after each block, when its values are there.

    Raises:
        UserError: `frames` runs backwards.
    """
    chosen = trajectory.frame_slice(frames)
    count, done = count_frames(trajectory, frames), 0
    total = count * trajectory.replicas
    rows_at_once, replicas_at_once = _sizes(trajectory)
    for row in range(0, count, rows_at_once):
        rows = slice(row, min(row + rows_at_once, count))
        start = chosen.start + rows.start * chosen.step
        stop = min(chosen.start + rows.stop * chosen.step, chosen.stop)
        for first in range(0, trajectory.replicas, replicas_at_once):
            replicas = slice(first, min(first + replicas_at_once, trajectory.replicas))
            positions = trajectory.block(slice(start, stop, chosen.step), replicas)
            yield Block(rows, replicas, positions)
            done += positions.shape[0] * positions.shape[1]
            if watch is not None:
                watch(done, total)


def _sizes(trajectory: Trajectory) -> tuple[int, int]:
    """Return how many frames and replicas a block has: whole chunks, all replicas if they fit."""
    frames, replicas = trajectory.chunk
    conformation = trajectory.beads * 3 * 4
    chunks = max(1, BLOCK_BYTES // (frames * replicas * conformation))
    at_once = min(trajectory.replicas, replicas * chunks)
    rows = max(1, BLOCK_BYTES // (frames * at_once * conformation)) * frames
    return rows, at_once
