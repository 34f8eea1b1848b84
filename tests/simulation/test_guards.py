"""Guards: what leaves physics is stopped, named and kept at its last good frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.guards import SimulationStopped


def test_nan_stops_one_replica_and_names_it(chain):
    simulation = Simulation(chain, 3, device="cpu")
    simulation.run(5)
    good = simulation.state.positions.clone()
    simulation.state.velocities[1, 4, 0] = float("nan")
    with pytest.raises(SimulationStopped, match=r"replica 1 left physics at step 6: bead 4 \(A:"):
        simulation.run(5)
    torch.testing.assert_close(simulation.state.positions[1], good[1])
    assert torch.isfinite(simulation.state.positions).all()
    assert not torch.equal(simulation.state.positions[0], good[0])


def test_the_others_go_on_if_asked(chain):
    simulation = Simulation(chain, 2, device="cpu", keep_going=True)
    simulation.state.velocities[0, 2] = 1e5
    simulation.run(20)
    (failure,) = simulation.failures()
    assert (failure.replica, failure.step, failure.bead) == (0, 1, 2)
    assert failure.bead_label == chain.protein.label(2)
    assert simulation.state.step == 20


def test_all_failed_is_the_end_even_if_asked_to_go_on(chain):
    simulation = Simulation(chain, 2, device="cpu", keep_going=True)
    simulation.state.velocities[:] = float("inf")
    with pytest.raises(SimulationStopped, match="1 more replicas"):
        simulation.run(5)


def test_a_guarded_replica_does_not_disturb_its_neighbour(chain):
    calm, troubled = (Simulation(chain, 2, device="cpu", keep_going=True) for _ in range(2))
    troubled.state.velocities[1, 0] = 1e4
    calm.run(10)
    troubled.run(10)
    torch.testing.assert_close(
        calm.state.positions[0], troubled.state.positions[0], rtol=0, atol=1e-6
    )


def test_nanometres_are_recognised(chain):
    with pytest.raises(UserError, match="nanometres"):
        Simulation(chain, device="cpu", positions=chain.protein.positions * 0.1)


def test_a_clashing_start_is_refused_and_minimise_mends_it(chain):
    clashing = chain.protein.positions.copy()
    clashing[3] = clashing[-2] + 0.4
    with pytest.raises(UserError, match="--minimise"):
        Simulation(chain, device="cpu", positions=clashing)
    mended = Simulation(chain, device="cpu", positions=clashing, minimise=True)
    mended.run(20)


def test_positions_that_are_not_numbers(chain):
    broken = chain.protein.positions.copy()
    broken[7] = np.nan
    with pytest.raises(UserError, match="bead 7"):
        Simulation(chain, device="cpu", positions=broken)


def test_too_large_a_time_step_says_so(tiny):
    simulation = Simulation(tiny, 2, device="cpu", timestep_fs=20.0)
    with pytest.raises(SimulationStopped, match="smaller time step than 20 fs"):
        simulation.run(2000)


def test_two_beads_in_one_place_are_named(chain):
    start = chain.protein.positions.copy()
    start[7] = start[2]
    with pytest.raises(UserError, match=r"beads 2 .* and 7 .*same place"):
        Simulation(chain, device="cpu", positions=start)
