"""Trajectories of made-up motions, written as a run would write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.simulation.exchange import RECORD
from flashschnet_lab.simulation.exchange_record import Exchanges, write_exchanges
from flashschnet_lab.simulation.reporters import Frame
from flashschnet_lab.simulation.run import RUN, TRAJECTORY
from flashschnet_lab.simulation.store_writer import TrajectoryWriter

STEPS_APART, PS_APART = 10, 0.04


def write_run(
    folder: Path,
    protein: Protein,
    positions: np.ndarray,
    *,
    energies: np.ndarray | None = None,
    temperatures: Sequence[float] | None = None,
    native: np.ndarray | None = None,
    exchanges: Exchanges | None = None,
    frames_per_chunk: int = 64,
) -> Path:
    """Write positions [frames, replicas, beads, 3] as a run folder and return it."""
    folder.mkdir()
    frames, replicas = positions.shape[:2]
    energies = np.zeros((frames, replicas)) if energies is None else energies
    settings: dict[str, Any] = {}
    if temperatures is not None:
        settings = {"temperatures": list(temperatures)}
    reference = None if native is None else native.tolist()
    (folder / RUN).write_text(json.dumps({"reference": reference, "settings": settings}))
    if exchanges is not None:
        write_exchanges(exchanges, folder / RECORD)
    with TrajectoryWriter.create(
        folder / TRAJECTORY,
        protein,
        replicas,
        frames_per_chunk=frames_per_chunk,
        attributes={"settings": settings, "model": "made up"},
    ) as writer:
        for index in range(frames):
            step = STEPS_APART * (index + 1)
            nothing = np.zeros(replicas)
            writer.append(
                Frame(
                    step, PS_APART * (index + 1), positions[index], energies[index], nothing,
                    nothing,
                )
            )  # fmt: skip
    return folder


def shaken(protein: Protein, frames: int, replicas: int, spread: float, seed: int) -> np.ndarray:
    """Return the protein with every bead displaced, [frames, replicas, beads, 3] float32."""
    random = np.random.default_rng(seed)
    size = spread * random.random((frames, replicas, 1, 1))
    noise = size * random.normal(size=(frames, replicas, protein.beads, 3))
    return (protein.positions + noise).astype(np.float32)
