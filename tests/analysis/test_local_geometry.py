"""Bond lengths, angles and dihedrals against mdtraj and against the priors' definition."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest
import torch

from flashschnet_lab.analysis import local_geometry as geometry
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_sequence
from flashschnet_lab.potentials.priors import BONDED
from flashschnet_lab.proteins.mdtraj_io import to_mdtraj_topology
from flashschnet_lab.system import System, build_force_field


@pytest.fixture(scope="module")
def system() -> System:
    return load_sequence("GAWPK")


@pytest.fixture(scope="module")
def frames(system: System) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0.0, 0.2, (4, system.protein.beads, 3))
    return system.protein.positions + noise  # [frames, beads, 3]


def test_against_mdtraj(system: System, frames: np.ndarray) -> None:
    trajectory = mdtraj.Trajectory(frames / 10.0, to_mdtraj_topology(system.protein))
    topology = system.protein.topology
    expected = {
        "bonds": 10.0 * mdtraj.compute_distances(trajectory, topology.bonds),
        "angles": np.degrees(mdtraj.compute_angles(trajectory, topology.angles)),
        "dihedrals": np.degrees(mdtraj.compute_dihedrals(trajectory, topology.dihedrals)),
    }
    for family, values in expected.items():
        found = geometry.internal_coordinates(frames, getattr(topology, family))
        apart = found - values
        if family == "dihedrals":
            apart = (apart + 180.0) % 360.0 - 180.0
        assert np.abs(apart).max() < 5e-3, family  # mdtraj works in float32


@pytest.mark.parametrize("family", BONDED)
def test_energies_are_those_of_the_priors(system: System, frames: np.ndarray, family: str) -> None:
    priors = build_force_field([system], dtype=torch.float64).priors
    assert priors is not None
    exact = priors.per_term(torch.from_numpy(frames[0]))[family].numpy()
    values = geometry.internal_coordinates(frames[:1], getattr(system.protein.topology, family))[0]
    found = [
        geometry.prior_energy(system, family, term, [value])[0] for term, value in enumerate(values)
    ]
    np.testing.assert_allclose(found, exact, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(("family", "width"), [("bonds", 0.6), ("angles", 60.0)])
def test_a_stiff_term_spreads_as_theory_says(system: System, family: str, width: float) -> None:
    k, centre = system.model.prior.rows(  # type: ignore[union-attr]
        family,
        system.protein,
        getattr(system.protein.topology, family),
        getattr(system.protein.topology, f"{family[:-1]}_terms"),
    )[3]
    middle = centre if family == "bonds" else np.degrees(np.arccos(centre))
    at = np.linspace(middle - width / 2, middle + width / 2, 4001)
    density = geometry.boltzmann_density(system, family, 3, at, 300.0)
    assert density.sum() * (at[1] - at[0]) == pytest.approx(1.0)
    mean = (at * density).sum() / density.sum()
    spread = np.sqrt(((at - mean) ** 2 * density).sum() / density.sum())
    stiffness = 2 * k * (1.0 if family == "bonds" else np.sin(np.radians(middle)) ** 2)
    theory = np.sqrt(0.0019872 * 300.0 / stiffness)
    if family == "angles":
        theory = np.degrees(theory)
    assert spread == pytest.approx(theory, rel=0.02)


def test_a_picture_has_a_panel_per_term(system: System, frames: np.ndarray) -> None:
    pytest.importorskip("matplotlib")
    terms = {"a bond": ("bonds", 0), "a twist": ("dihedrals", 1)}
    figure = geometry.draw_local_geometry(system, frames, terms, 300.0)
    assert [axes.get_title() for axes in figure.axes] == list(terms)


def test_refusals(system: System) -> None:
    with pytest.raises(UserError, match="no family 'springs'"):
        geometry.prior_energy(system, "springs", 0, [1.0])
