"""Prior tables: what a survey of real structures yields."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from flashschnet_lab.loading import default_prior
from flashschnet_lab.proteins.embedded import embedded_names, embedded_protein
from flashschnet_lab.proteins.mapping import read_protein
from flashschnet_lab.training.fit_priors import _fourier_fit, fit_prior_table


@pytest.mark.parametrize("mapping", ["five_bead", "ca"])
def test_the_shipped_table_can_be_made_again(shared, mapping):
    paths = sorted((shared / "pdb").glob("*.pdb"))
    table = fit_prior_table([read_protein(p, mapping=mapping) for p in paths], paths)
    shipped = default_prior(mapping)
    assert table.bonds == shipped.bonds
    assert table.provenance == shipped.provenance
    np.testing.assert_allclose(table.sigma, shipped.sigma)
    for key, values in shipped.dihedrals.items():
        np.testing.assert_allclose(table.dihedrals[key], values, atol=2e-3)


def test_a_torsion_fit_reproduces_the_moments_of_the_survey():
    rng = np.random.default_rng(0)
    angles = np.concatenate([rng.vonmises(-1.1, 8, 700), rng.vonmises(2.3, 5, 300)])
    v0, *k = _fourier_fit(angles)
    phi = torch.linspace(-math.pi, math.pi, 2001, dtype=torch.float64)[:-1]
    energy = v0 + sum(
        k[n - 1] * torch.sin(n * phi) + k[n + 2] * torch.cos(n * phi) for n in (1, 2, 3)
    )
    assert energy.min() == pytest.approx(0.0, abs=1e-3)
    assert min(abs(phi[energy.argmin()] + 1.1), abs(phi[energy.argmin()] - 2.3)) < 0.3


def test_the_shipped_table_covers_every_protein_of_the_library():
    table = default_prior("five_bead")
    for name in embedded_names():
        protein = embedded_protein(name).protein
        topology = protein.topology
        for family in ("bonds", "angles", "dihedrals"):
            index = getattr(topology, family)
            terms = getattr(topology, f"{family[:-1]}_terms")
            assert len(table.rows(family, protein, index, terms)) == len(index)
