"""The classical terms: energies by hand, signs, periods and gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from flashschnet_kernels.priors import reference as terms
from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.proteins.mdtraj_io import to_mdtraj_topology

ALL_FOUR = torch.tensor([[0, 1, 2, 3]])


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def twisted(degrees: float) -> torch.Tensor:
    """Four beads with this dihedral angle: seen along the middle bond, the last turns clockwise."""
    phi = math.radians(degrees)
    return tensor([[1, 0, 0], [0, 0, 0], [0, 0, 1.5], [math.cos(phi), math.sin(phi), 1.5]])


def angle_of(degrees: float) -> float:
    return math.degrees(terms.dihedral_angles(twisted(degrees), ALL_FOUR).item())


def test_bonds_by_hand():
    x = tensor([[0, 0, 0], [3, 4, 0], [3, 4, 2]])
    bonds = torch.tensor([[0, 1], [2, 1]])
    energy = terms.harmonic_bonds(x, bonds, tensor([2, 10]), tensor([4, 1]))
    assert energy.tolist() == pytest.approx([2.0 * (5.0 - 4.0) ** 2, 10.0 * (2.0 - 1.0) ** 2])


@pytest.mark.parametrize(("end", "cos"), [((0, 7, 0), 0.0), ((5, 0, 0), 1.0), ((-1, 0, 0), -1.0)])
def test_angles_by_hand(end, cos):
    x = tensor([[2, 0, 0], [0, 0, 0], end])
    energy = terms.cosine_angles(x, torch.tensor([[0, 1, 2]]), tensor([3.0]), tensor([0.25]))
    assert energy.item() == pytest.approx(3.0 * (cos - 0.25) ** 2)


def test_the_apex_is_in_the_middle():
    x = tensor([[1, 0, 0], [0, 0, 0], [0, 1, 0]])
    k, cos0 = tensor([1.0]), tensor([0.0])
    assert terms.cosine_angles(x, torch.tensor([[0, 1, 2]]), k, cos0).item() == pytest.approx(0.0)
    assert terms.cosine_angles(x, torch.tensor([[1, 0, 2]]), k, cos0).item() == pytest.approx(0.5)


@pytest.mark.parametrize("degrees", [-179.0, -120.0, -90.0, -1.0, 0.0, 45.0, 90.0, 135.0, 180.0])
def test_dihedral_angle_by_hand(degrees):
    assert angle_of(degrees) == pytest.approx(degrees, abs=1e-9)


def test_a_mirror_image_turns_the_sign_and_reading_backwards_does_not():
    x = twisted(70.0)
    mirrored = x * tensor([1, -1, 1])
    backwards = torch.tensor([[3, 2, 1, 0]])
    assert terms.dihedral_angles(mirrored, ALL_FOUR).item() == pytest.approx(-math.radians(70.0))
    assert terms.dihedral_angles(x, backwards).item() == pytest.approx(math.radians(70.0))


def test_dihedral_sign_is_that_of_mdtraj():
    mdtraj = pytest.importorskip("mdtraj")
    embedded = embedded_protein("trpcage")
    dihedrals = embedded.protein.topology.dihedrals
    trajectory = mdtraj.Trajectory(embedded.starts / 10.0, to_mdtraj_topology(embedded.protein))
    expected = mdtraj.compute_dihedrals(trajectory, dihedrals)
    for x, angles in zip(embedded.starts, expected, strict=True):
        found = terms.dihedral_angles(torch.from_numpy(x), torch.from_numpy(dihedrals)).numpy()
        difference = np.angle(np.exp(1j * (found - angles)))  # mdtraj works in float32
        assert np.abs(difference).max() < 1e-3


def test_l_amino_acids_have_negative_phi():
    protein = embedded_protein("1enh").protein  # helices: phi about -60 degrees
    phi = [name.endswith("_phi") for name in protein.topology.dihedral_terms]
    index = torch.from_numpy(protein.topology.dihedrals[phi])
    angles = terms.dihedral_angles(torch.from_numpy(protein.positions), index)
    assert (angles < 0).double().mean() > 0.9


def test_fourier_dihedrals_by_hand():
    phi = math.radians(70.0)
    k1, k2 = (0.5, -1.0, 0.25), (2.0, 0.3, -0.7)
    energy = terms.fourier_dihedrals(
        twisted(70.0), ALL_FOUR, tensor([1.5]), tensor([k1]), tensor([k2])
    )
    expected = 1.5 + sum(
        k1[n - 1] * math.sin(n * phi) + k2[n - 1] * math.cos(n * phi) for n in (1, 2, 3)
    )
    assert energy.item() == pytest.approx(expected)


def test_dihedrals_are_periodic_and_smooth_at_180_degrees():
    parameters = tensor([0.3]), tensor([[1.0, -0.5, 0.2]]), tensor([[0.4, 0.8, -1.1]])

    def energy_and_forces(degrees: float) -> tuple[torch.Tensor, torch.Tensor]:
        x = twisted(degrees).requires_grad_()
        energy = terms.fourier_dihedrals(x, ALL_FOUR, *parameters).sum()
        return energy.detach(), torch.autograd.grad(energy, x)[0]

    for a, b in ((180.0, -180.0), (25.0, 385.0), (180.0 - 1e-7, 180.0 + 1e-7)):
        for one, other in zip(energy_and_forces(a), energy_and_forces(b), strict=True):
            torch.testing.assert_close(one, other, rtol=0.0, atol=1e-7)


def test_repulsion_by_hand():
    x = tensor([[0, 0, 0], [0, 0, 2], [6, 8, 0]])
    pairs = torch.tensor([[0, 1], [2, 0]])
    energy = terms.repulsion(x, pairs, tensor([4.0, 5.0]))
    assert energy.tolist() == pytest.approx([64.0, 1.0 / 64.0])


def test_distances_by_hand():
    x = tensor([[0, 0, 0], [3, 4, 0], [1, 2, 2]])
    assert terms.distances(x, torch.tensor([[0, 1], [2, 0]])).tolist() == pytest.approx([5.0, 3.0])


TERMS = {
    "bonds": lambda x: terms.harmonic_bonds(
        x, torch.tensor([[0, 1], [1, 2]]), tensor([2, 3]), tensor([1.0, 1.2])
    ),
    "angles": lambda x: terms.cosine_angles(
        x, torch.tensor([[0, 1, 2], [1, 2, 3]]), tensor([2, 3]), tensor([-0.3, 0.4])
    ),
    "dihedrals": lambda x: terms.fourier_dihedrals(
        x,
        torch.tensor([[0, 1, 2, 3], [3, 1, 4, 0]]),
        tensor([0.5, 1.0]),
        tensor([[1.0, 0.5, 0.2], [0.1, 0.2, 0.3]]),
        tensor([[0.4, -0.5, 0.2], [0.7, 0.1, -0.3]]),
    ),
    "repulsion": lambda x: terms.repulsion(x, torch.tensor([[0, 3], [1, 4]]), tensor([2.0, 1.5])),
}


@pytest.mark.parametrize("family", TERMS)
def test_gradients_are_finite_differences(family):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(TERMS[family], x)
    assert torch.autograd.gradgradcheck(TERMS[family], x)


@pytest.mark.parametrize("family", TERMS)
def test_rotation_and_translation_change_nothing(family):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    rotation = rotation * rotation.det().sign()  # no reflection: a dihedral has a hand
    moved = x @ rotation.T + tensor([10.0, -20.0, 5.0])
    torch.testing.assert_close(TERMS[family](moved), TERMS[family](x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("family", TERMS)
def test_energies_have_the_dtype_of_the_positions(family):
    empty = torch.zeros(0, 4, dtype=torch.int64)
    x = twisted(30.0).float()
    nothing = torch.zeros(0)
    empties = {
        "bonds": lambda: terms.harmonic_bonds(x, empty[:, :2], nothing, nothing),
        "angles": lambda: terms.cosine_angles(x, empty[:, :3], nothing, nothing),
        "dihedrals": lambda: terms.fourier_dihedrals(
            x, empty, nothing, torch.zeros(0, 3), torch.zeros(0, 3)
        ),
        "repulsion": lambda: terms.repulsion(x, empty[:, :2], nothing),
    }
    energy = empties[family]()
    assert energy.shape == (0,)
    assert energy.dtype == torch.float32
