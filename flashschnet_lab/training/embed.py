"""Make a protein of the library from a structure file: computed conformations, no copied ones.

    python -m flashschnet_lab.training.embed NAME TITLE STRUCTURE.pdb OUT.json

The reference is the structure relaxed with its own structure-based potential; the starts are
conformations of that potential at 300 K, 8 ps after the reference, one per replica.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from flashschnet_lab.loading import structure_based_model
from flashschnet_lab.proteins.embedded import write_embedded
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.system import System
from flashschnet_lab.training.data import sample

TEMPERATURE = 300.0
STARTS = 8
STEPS = 2000


def relax(protein: Protein) -> Protein:
    """Return a protein relaxed with its own structure-based potential, centred at the origin."""
    system = System(protein, structure_based_model(protein))
    simulation = Simulation(system, dtype="float64", device="cpu", minimise=True)
    simulation.minimise(force_tolerance=0.5, iterations=3000)
    return protein.with_positions(simulation.state.positions[0].numpy())


def folded_starts(protein: Protein, starts: int, device: torch.device) -> np.ndarray:
    """Return folded conformations [starts, beads, 3] at 300 K from a relaxed protein."""
    system = System(protein, structure_based_model(protein))
    native = np.repeat(protein.positions[None], starts, axis=0)
    temperatures = np.full(starts, TEMPERATURE)
    frames = sample(
        system, native, temperatures, steps=STEPS, every=STEPS, discard=0, seed=1, device=device
    )
    return frames.double().numpy()


def main(arguments: Sequence[str]) -> None:
    """Write one library file: name, title, structure file, output."""
    from flashschnet_lab.proteins.mapping import read_protein

    name, title, structure, out = arguments
    protein = relax(replace(read_protein(structure), name=name, report=()))
    origin: dict[str, object] = {
        "structure_sha256": hashlib.sha256(Path(structure).read_bytes()).hexdigest(),
        "reference": "relaxed with the structure-based potential of the structure",
        "starts": f"structure-based potential at {TEMPERATURE:g} K, {STEPS} steps of 4 fs",
    }
    write_embedded(
        Path(out), protein, folded_starts(protein, STARTS, torch.device("cpu")), title, origin
    )


if __name__ == "__main__":
    main(sys.argv[1:])
