"""Stored runs of restrained replicas, reweighted to what a formula says of free ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

pytest.importorskip("pymbar", reason="pymbar is not installed")

import flashschnet_lab as fl
from flashschnet_kernels.plan import REFERENCE
from flashschnet_lab.analysis.coordinates import between
from flashschnet_lab.analysis.observables import Observable, observe
from flashschnet_lab.analysis.unrestrained import unrestrained_weights
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import default_prior
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.simulation.restraint import Restraint, restrain
from flashschnet_lab.simulation.run import start_run
from flashschnet_lab.simulation.store import Trajectory
from flashschnet_lab.system import Model, System
from flashschnet_lab.units import thermal_energy

pytestmark = pytest.mark.usefixtures("one_thread")

TEMPERATURE = 300.0
KT = thermal_energy(TEMPERATURE)
SPRING, REST = 4.0, 5.0  # kcal/mol/A^2, A: of the molecule itself
BEADS = (0, 2)


class Spring(nn.Module):
    """A harmonic bond between two beads, in every replica."""

    def forward(self, positions: Tensor) -> Tensor:
        x = positions.reshape(-1, 4, 3)
        r = (x[:, BEADS[0]] - x[:, BEADS[1]]).double().norm(dim=-1)
        return 0.5 * SPRING * (r - REST) ** 2


def moments() -> tuple[float, float]:
    """Mean and standard deviation of a free distance in space, p ~ r^2 exp(-U / kT)."""
    r = np.linspace(0.5, 12.0, 20_001)
    p = r**2 * np.exp(-0.5 * SPRING * (r - REST) ** 2 / KT)
    mean = np.trapezoid(r * p, r) / np.trapezoid(p, r)
    variance = np.trapezoid((r - mean) ** 2 * p, r) / np.trapezoid(p, r)
    return float(mean), float(np.sqrt(variance))


def stored(folder: Path, restraint: Restraint) -> Trajectory:
    """Return a run of replicas that move in the spring and a restraint alone."""
    protein = build_chain("G", "extended")
    system = System(protein, Model("spring", default_prior("five_bead")))
    simulation = fl.Simulation(
        system,
        restraint.replicas,
        TEMPERATURE,
        device="cpu",
        plan=REFERENCE,
        restraints=[restraint],
        report_every=10,
        timestep_fs=12.0,
        friction=5.0,
    )
    simulation.force_field.priors, simulation.force_field.contacts = None, Spring()
    simulation.restrain(*simulation.restraints)
    simulation.run(100)  # settles
    start_run(simulation, folder, 600)
    return fl.open_trajectory(folder)


def expectation(values: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """Return weighted mean, standard deviation, and the error of the mean over replicas."""
    mean = float((weights * values).sum())
    deviation = float(np.sqrt((weights * (values - mean) ** 2).sum()))
    own = weights.sum(0)
    means = (weights * values).sum(0) / own
    share = own / own.sum()
    error = float(np.sqrt((share**2 * (means - mean) ** 2).sum()))
    return mean, deviation, error


@pytest.mark.physics
def test_a_stored_run_is_reweighted_to_a_free_one(tmp_path) -> None:
    """One restraint shifts the mean by kT-sized forces; two windows either side are joined."""
    mean, spread = moments()
    coordinate = between(build_chain("G", "extended"), *BEADS)
    one = restrain(coordinate, 6.0, 1.0, replicas=48)
    run = stored(tmp_path / "one", one)
    values = run.restrained[..., 0]
    x = run.block().astype(np.float64)  # [frames, replicas, beads, 3]
    np.testing.assert_allclose(values, np.linalg.norm(x[:, :, 0] - x[:, :, 2], axis=-1), atol=1e-5)
    assert values.mean() - mean > 0.1  # held, it is elsewhere
    weights = unrestrained_weights(run.restrained, run.restraints, TEMPERATURE)
    by_hand = np.exp(run.restraint_energy / KT)
    np.testing.assert_allclose(weights, by_hand / by_hand.sum(), rtol=1e-6)
    found, deviation, error = expectation(values, weights)
    assert error < 0.025 and abs(found - mean) < 4.0 * error
    assert deviation == pytest.approx(spread, rel=0.1)

    two = restrain(coordinate, np.tile([4.2, 6.2], 24), 3.0)
    run = stored(tmp_path / "two", two)
    weights = unrestrained_weights(run.restrained, run.restraints, TEMPERATURE)
    found, deviation, error = expectation(run.restrained[..., 0], weights)
    assert abs(found - mean) < 0.04
    assert deviation == pytest.approx(spread, rel=0.06)

    length = Observable(
        "length", "length", "Å", lambda x, _: np.linalg.norm(x[..., 0, :] - x[..., 2, :], axis=-1)
    )
    table = observe(tmp_path / "two", [length])
    assert table.held is not None
    np.testing.assert_allclose(table.weights(TEMPERATURE), weights, rtol=1e-6)
    again = table.by_temperature()
    np.testing.assert_allclose(again.weights(TEMPERATURE), weights, rtol=1e-6)


def test_weights_refuse_what_does_not_fit() -> None:
    restraint = restrain(between(build_chain("G", "extended"), *BEADS), [4.0, 9.0], 30.0)
    with pytest.raises(UserError, match="frames, replicas, restraints"):
        unrestrained_weights(np.zeros((5, 3, 1)), [restraint], TEMPERATURE)
    with pytest.raises(UserError, match="frames, replicas, restraints"):
        unrestrained_weights(np.zeros((5, 2, 0)), [], TEMPERATURE)
    with pytest.raises(UserError, match="finite"):
        unrestrained_weights(np.full((5, 2, 1), np.nan), [restraint], TEMPERATURE)
