"""A system for tests that is quick to move: priors, a small network, and a five-bead protein."""

from __future__ import annotations

import torch

from flashschnet_lab.loading import default_prior
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.system import Model, System


def tiny_system() -> System:
    """Return a helix of six residues with a network of 16 channels, the same every time."""
    generator = torch.random.get_rng_state()
    torch.manual_seed(2)
    shape = SchNetShape(hidden=16, channels=16, blocks=2, radial_functions=12, output_widths=(16,))
    network = SchNet(shape)
    torch.random.set_rng_state(generator)
    protein = build_chain("AGPWYK", "helix")
    return System(protein, Model("tiny", default_prior("five_bead"), network))
