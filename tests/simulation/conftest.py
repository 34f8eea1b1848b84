"""Small systems for simulation tests."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashschnet_lab.loading import default_prior
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.system import Model, System


@pytest.fixture(scope="session")
def tiny() -> System:
    """Four residues with priors and a small random network."""
    torch.manual_seed(7)
    network = SchNet(
        SchNetShape(hidden=16, channels=16, blocks=2, radial_functions=12, output_widths=(16,))
    )
    protein = build_chain("AGPW", "extended")
    return System(protein, Model("tiny", default_prior("five_bead"), network), protein.positions)


@pytest.fixture(scope="session")
def chain() -> System:
    """Six residues with priors alone: cheap."""
    protein = build_chain("ALKEGS", "helix")
    return System(protein, Model("chain", default_prior("five_bead")), protein.positions)


def states_equal(a, b) -> bool:
    """Whether two states are the same to the bit."""
    names = ("positions", "velocities", "forces", "energy", "kinetic")
    return a.step == b.step and all(torch.equal(getattr(a, n), getattr(b, n)) for n in names)


@pytest.fixture(scope="session")
def same():
    """`states_equal`, as a fixture."""
    return states_equal


@pytest.fixture
def ramp() -> np.ndarray:
    """Some distinct temperatures."""
    return np.array([200.0, 300.0, 400.0])
