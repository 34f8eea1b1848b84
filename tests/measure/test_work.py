"""What is measured: molecules of any size and files, with a network lent to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.work import (
    benchmark_system,
    directed_edges,
    lent_model,
    system_of_beads,
)
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.proteins.mdtraj_io import write_pdb
from flashschnet_lab.system import build_force_field


@pytest.mark.parametrize("beads", [24, 101, 270, 400])
def test_a_molecule_of_any_size(beads):
    system = system_of_beads(beads)
    x = system.protein.positions
    assert x.shape == (beads, 3)
    apart = np.linalg.norm(x[:, None] - x[None], axis=-1) + 9.0 * np.eye(beads)
    assert apart.min() > 1.0
    if beads > 200:
        assert 120 < directed_edges(system) / beads < 240  # like a protein's
    forces = build_force_field([system])(torch.from_numpy(x).float()).forces
    assert forces.norm(dim=1).max() < 500.0


def test_too_few_beads():
    with pytest.raises(UserError, match="at least 24"):
        system_of_beads(7)


def test_a_library_protein_keeps_its_own_network():
    assert benchmark_system("chignolin").model.network_types == "per_bead"


def test_a_file_gets_a_network(tmp_path):
    write_pdb(tmp_path / "chain.pdb", build_chain("AGPWYKCM", "helix"))
    system = benchmark_system(tmp_path / "chain.pdb")
    assert system.model.network is not None
    assert "benchmarks" in system.model.name


def test_the_lent_network_is_the_trained_one_by_type():
    donor = embedded_protein("1enh").protein
    lent = lent_model(donor).network
    own = benchmark_system("1enh").model.network
    assert torch.equal(
        lent.blocks[0].filter_network[0].weight, own.blocks[0].filter_network[0].weight
    )
    row = own.embedding.weight[torch.from_numpy(donor.bead_types == 21)].mean(0)
    assert torch.allclose(lent.embedding.weight[21], row)
