"""The bug that lessons show is exactly the one it claims to be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_sequence
from flashschnet_lab.measure.forgotten_slope import forget_envelope_slope
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.system import System, build_force_field


def system_with(**changes: object) -> System:
    """Return a short chain with a small random network, without priors."""
    torch.manual_seed(0)
    small = {"hidden": 12, "channels": 10, "blocks": 2, "radial_functions": 8}
    shape = SchNetShape(**{**small, "output_widths": (8,), **changes})  # type: ignore[arg-type]
    chain = load_sequence("GAWPK")
    return replace(chain, model=replace(chain.model, prior=None, network=SchNet(shape)))


def evaluate(system: System, positions: np.ndarray) -> tuple[float, torch.Tensor]:
    force_field = build_force_field([system], dtype=torch.float64)
    evaluation = force_field(torch.from_numpy(positions))
    return float(evaluation.energy[0]), evaluation.forces


def difference(system: System) -> float:
    """Return by which part of the force the forgetful system is off."""
    right = evaluate(system, system.protein.positions)
    forgetful = evaluate(forget_envelope_slope(system), system.protein.positions)
    assert forgetful[0] == pytest.approx(right[0], rel=1e-12)
    return float((forgetful[1] - right[1]).norm() / right[1].norm())


@pytest.mark.parametrize("radial_basis", ["exp_normal", "gaussian"])
@pytest.mark.parametrize("cutoff_lower", [0.0, 3.0])
def test_the_energy_is_right_and_the_forces_are_not(radial_basis: str, cutoff_lower: float) -> None:
    assert difference(system_with(radial_basis=radial_basis, cutoff_lower=cutoff_lower)) > 0.05


def test_an_envelope_that_hardly_moves_is_hardly_missed() -> None:
    at_15 = difference(system_with(radial_basis="gaussian"))
    assert difference(system_with(radial_basis="gaussian", cutoff=500.0)) < 0.1 * at_15


def test_finite_differences_find_it() -> None:
    system = system_with()
    x, step = system.protein.positions, np.zeros((system.protein.beads, 3))
    step[7, 1] = 1e-5
    energies = [evaluate(system, x + sign * step)[0] for sign in (1, -1)]
    exact = -(energies[0] - energies[1]) / 2e-5
    assert float(evaluate(system, x)[1][7, 1]) == pytest.approx(exact, rel=1e-6)
    forgetful = evaluate(forget_envelope_slope(system), x)[1]
    assert float(forgetful[7, 1]) != pytest.approx(exact, rel=1e-3)


def test_without_a_network_there_is_nothing_to_forget() -> None:
    with pytest.raises(UserError, match="no network"):
        forget_envelope_slope(load_sequence("GAWPK"))
