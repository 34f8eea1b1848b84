"""Measures of tempering: series that fit together, and a record that comes back as it was."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from flashschnet_lab.analysis.structure import c_alpha_indices, rmsd
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import structure_based_model
from flashschnet_lab.measure.tempering import (
    measure,
    observed,
    recorded_by,
    recorded_surface,
    recorded_tempering,
    surface_at,
    throughput,
)
from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.exchange import Tempering
from flashschnet_lab.system import System


@pytest.fixture(scope="module")
def hairpin() -> System:
    """Chignolin with its structure-based potential: cheap."""
    protein = embedded_protein("chignolin").protein
    return System(protein, structure_based_model(protein), protein.positions)


def test_series_are_those_of_the_frames(hairpin):
    simulation = Simulation(hairpin, 4, device="cpu")
    tempering = Tempering(simulation, (300.0, 320.0), every=10)
    run = observed(tempering, 60, every=20)
    assert run.steps.tolist() == [20, 40, 60]
    np.testing.assert_allclose(run.times_ps, [0.08, 0.16, 0.24])
    alphas = c_alpha_indices(hairpin.protein)
    last = rmsd(simulation.state.positions, hairpin.reference, alphas)
    np.testing.assert_allclose(run.rmsd[-1], last, atol=1e-5)
    assert run.contacts.shape == run.energies.shape == (3, 4)
    assert ((run.contacts >= 0.0) & (run.contacts <= 1.0)).all()
    np.testing.assert_array_equal(run.temperatures, run.exchanges.temperatures_at(run.steps))
    surface = surface_at(run, 300.0, skip=1, bins=5)
    assert np.exp(-surface.free_energy[np.isfinite(surface.free_energy)]).sum() >= 1.0


def test_a_reference_is_needed(hairpin):
    simulation = Simulation(replace(hairpin, reference=None), 2, device="cpu")
    with pytest.raises(UserError, match="reference"):
        observed(Tempering(simulation, (300.0, 320.0)), 10)


def test_throughput_is_positive(hairpin):
    rates = throughput(hairpin, [1, 2], device="cpu", seconds=0.01)
    assert len(rates) == 2 and min(rates) > 0.0


def test_a_record_is_json_and_keeps_its_surface(hairpin):
    found = measure(hairpin, ladders=1, time_ps=2.0, counts=[1], seconds=0.01)
    again = json.loads(json.dumps(found, allow_nan=False))
    surface = recorded_surface(again)
    assert surface.free_energy.shape == tuple(len(edges) - 1 for edges in surface.edges)
    assert np.nanmin(surface.free_energy) == 0.0
    assert len(again["tempering"]["acceptance"]) == len(again["tempering"]["ladder"]) - 1
    assert again["throughput"]["replicas"] == [1]


def test_the_record_that_comes_with_the_package():
    found = recorded_tempering()
    assert recorded_by(found).startswith("NVIDIA H200, 20")
    surface = recorded_surface(found)
    assert np.nanmin(surface.free_energy) == 0.0
    assert surface.minimum[0] < 1.0
    assert surface.minimum[1] > 0.8
    assert len(found["throughput"]["replicas"]) > 3
    with pytest.raises(UserError, match="h200"):
        recorded_tempering("none")
