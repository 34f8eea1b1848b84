"""16-bit work on beads and filters leaves the ensemble as it is, judged by its energies.

Two runs of one plan, 64 replicas for 1 ns, are 0.02 to 0.03 apart in RMSD, radius of gyration,
native contacts and energy (`data/measurements/ensembles`).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

CUDA = torch.cuda.is_available()
if not CUDA:
    pytest.importorskip("numba")  # runs `exact` where the interpreter runs `fast`

from flashschnet_kernels.plan import parse_plan
from flashschnet_lab.analysis.ensembles import jensen_shannon_of_energies
from flashschnet_lab.loading import load_system
from flashschnet_lab.measure.ensembles import energy_differences
from flashschnet_lab.simulation.engine import Simulation

TEMPERATURE = 300.0
REPLICAS, FRAMES = (64, 20) if CUDA else (1, 2)  # the interpreter takes ten seconds for each


def test_fast_is_far_closer_to_exact_than_two_runs_are(triton_device):
    system = load_system("chignolin")
    exact = parse_plan("exact", triton_device.type)
    simulation = Simulation(
        system,
        REPLICAS,
        TEMPERATURE,
        positions=system.reference,
        device=triton_device,
        plan=exact,
    )
    simulation.run(500)
    frames = np.stack([frame.positions for frame in simulation.iterate(500 * FRAMES, every=500)])
    plans = exact, parse_plan("fast", "cuda")
    difference = energy_differences(system, plans, frames, TEMPERATURE, device=triton_device)
    assert difference.std() < 0.02
    assert jensen_shannon_of_energies(difference) < 0.01
