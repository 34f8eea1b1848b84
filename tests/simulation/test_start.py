"""How a simulation begins."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.start import VELOCITY_STEP, first_state, start_positions

CPU = torch.device("cpu")


def test_replicas_start_around_the_origin(chain):
    far = chain.protein.positions + np.array([1e4, -3e4, 5.0])
    x = start_positions(chain, 3, far, CPU, torch.float32)
    assert x.shape == (3, chain.protein.beads, 3)
    assert x.dtype == torch.float32
    assert x.is_contiguous()
    centred = chain.protein.positions - chain.protein.positions.mean(0)
    np.testing.assert_allclose(x[2].numpy(), centred, atol=1e-5)


def test_every_replica_may_start_elsewhere(chain):
    apart = np.stack([chain.protein.positions, 1.1 * chain.protein.positions])
    x = start_positions(chain, 2, apart, CPU, torch.float64)
    torch.testing.assert_close(x[1], 1.1 * x[0])


def test_a_start_of_another_shape_names_both(chain):
    beads = chain.protein.beads
    words = rf"shape \(5, 3\); .* needs \({beads}, 3\) or \(2, {beads}, 3\)"
    with pytest.raises(UserError, match=words):
        start_positions(chain, 2, np.zeros((5, 3)), CPU, torch.float32)


def test_velocities_come_from_the_thermostat(chain):
    """v = sqrt(kT / m) times the noise of a step that is never reached."""
    simulation = Simulation(chain, 4, [100.0, 200.0, 300.0, 400.0], device="cpu")
    dynamics = simulation.dynamics
    state = first_state(chain.protein, dynamics, simulation.state.positions)
    noise = dynamics.noise(VELOCITY_STEP)
    torch.testing.assert_close(
        state.velocities.square(), dynamics.kT * dynamics.inverse_mass * noise.square()
    )
    assert (state.velocities.sign() == noise.sign()).all()
    assert state.step == 0
    assert (state.failed_step == -1).all()
    assert torch.equal(state.velocities, simulation.state.velocities)
