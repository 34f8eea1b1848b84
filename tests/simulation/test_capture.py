"""Steps as a CUDA graph: when they can be, and that they are the same steps."""

from __future__ import annotations

import pytest
import torch

from flashschnet_kernels.plan import flash, parse_plan
from flashschnet_lab.loading import load_system
from flashschnet_lab.simulation.capture import why_not
from flashschnet_lab.simulation.engine import Simulation

CUDA = torch.device("cuda")
FIELDS = ("positions", "velocities", "forces", "energy", "kinetic", "failed_step")


@pytest.mark.parametrize(
    ("plan", "integrator", "device", "reason"),
    [
        ("flash", "langevin", "cuda", ""),
        ("flash-float32", "verlet", "cuda", ""),
        ("exact", "langevin", "cuda", ""),
        ("balanced", "langevin", "cuda", ""),
        ("fast", "langevin", "cuda", ""),
        ("exact", "brownian", "cuda", "brownian"),
        ("flash", "langevin", "cpu", "GPU"),
        ("baseline", "langevin", "cuda", "neighbors=reference"),
        ("aggregation", "langevin", "cuda", "neighbors=verlet"),
        ("flash", "brownian", "cuda", "brownian"),
    ],
)
def test_what_cannot_be_captured_says_why(plan, integrator, device, reason):
    pytest.importorskip("triton")
    found = why_not(parse_plan(plan, "cuda"), True, integrator, torch.device(device))
    assert reason in found
    assert bool(found) == bool(reason)


def test_without_a_network_no_neighbours_are_found():
    assert why_not(parse_plan("baseline"), False, "langevin", CUDA) == ""


def test_a_simulation_says_why_it_launches_step_by_step(tiny):
    simulation = Simulation(tiny, device="cpu")
    assert not simulation.captures
    assert "GPU" in simulation.not_captured
    simulation.capture = False
    assert "asked for" in simulation.not_captured


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
@pytest.mark.parametrize("quantization", ["none", "fp16"])
@pytest.mark.parametrize("integrator", ["langevin", "verlet"])
def test_captured_steps_are_the_same_to_the_bit(quantization, integrator):
    system, plan = load_system("chignolin"), flash("cuda", quantization)
    captured, launched = (
        Simulation(system, 3, plan=plan, capture=capture, integrator=integrator, seed=2)
        for capture in (True, False)
    )
    assert captured.captures
    for simulation in (captured, launched):
        simulation.run(70)  # across a block of random numbers
        simulation.run(3)
    for name in FIELDS:
        assert torch.equal(getattr(captured.state, name), getattr(launched.state, name)), name
