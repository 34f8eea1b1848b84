"""A small protein with a small network, and the device that everything runs on."""

from __future__ import annotations

import pytest
import torch

from flashschnet_lab.loading import default_prior
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.system import Model, System


@pytest.fixture(scope="session")
def cpu() -> torch.device:
    return torch.device("cpu")


@pytest.fixture(scope="session")
def system() -> System:
    generator = torch.random.get_rng_state()
    torch.manual_seed(2)
    shape = SchNetShape(hidden=16, channels=16, blocks=2, radial_functions=12, output_widths=(16,))
    network = SchNet(shape)
    torch.random.set_rng_state(generator)
    return System(
        build_chain("AGPWYK", "helix"), Model("tiny", default_prior("five_bead"), network)
    )
