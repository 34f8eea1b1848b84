"""Coordinates that forces act along: against the numpy measures, mdtraj, and finite differences."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from flashschnet_lab.analysis import structure
from flashschnet_lab.analysis.coordinates import (
    Coordinate,
    between,
    c_alpha_rmsd,
    coordinate_from_dict,
    end_to_end,
    native_contact_share,
    radius_of_gyration,
)
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_system
from flashschnet_lab.proteins.protein import Protein

pytestmark = pytest.mark.usefixtures("one_thread")

SYSTEM = load_system("chignolin")
PROTEIN, NATIVE = SYSTEM.protein, np.asarray(SYSTEM.reference)
ALPHAS = structure.c_alpha_indices(PROTEIN)
COORDINATES = {
    "distance": between(PROTEIN, 3, 30),
    "angle": between(PROTEIN, 3, 17, 30),
    "dihedral": between(PROTEIN, 3, 11, 20, 30),
    "end_to_end": end_to_end(PROTEIN),
    "gyration": radius_of_gyration(PROTEIN),
    "rmsd": c_alpha_rmsd(PROTEIN, NATIVE),
    "contacts": native_contact_share(PROTEIN, NATIVE),
}


def conformations(replicas: int = 5) -> np.ndarray:
    """Shaken folds, turned and moved at random, [replicas, beads, 3]."""
    generator = np.random.default_rng(1)
    turns = np.linalg.qr(generator.normal(size=(replicas, 3, 3)))[0]
    turns *= np.linalg.det(turns)[:, None, None]
    shaken = NATIVE + generator.normal(0.0, 1.0, size=(replicas, *NATIVE.shape))
    return shaken @ turns + generator.normal(0.0, 20.0, size=(replicas, 1, 3))


def expected(name: str, x: np.ndarray, protein: Protein = PROTEIN) -> np.ndarray:
    """What the numpy measures and mdtraj say."""
    mdtraj = pytest.importorskip("mdtraj", reason="mdtraj is not installed")
    frames = mdtraj.Trajectory(x / 10.0, None)
    pairs = structure.native_pairs(protein, NATIVE)
    return {
        "distance": lambda: np.linalg.norm(x[:, 3] - x[:, 30], axis=-1),
        "angle": lambda: mdtraj.compute_angles(frames, [[3, 17, 30]])[:, 0],
        "dihedral": lambda: mdtraj.compute_dihedrals(frames, [[3, 11, 20, 30]])[:, 0],
        "end_to_end": lambda: np.linalg.norm(x[:, ALPHAS[0]] - x[:, ALPHAS[-1]], axis=-1),
        "gyration": lambda: structure.radius_of_gyration(x, protein.masses),
        "rmsd": lambda: structure.rmsd(x, NATIVE, ALPHAS),
        "contacts": lambda: structure.native_contacts(x, NATIVE, pairs),
    }[name]()


@pytest.mark.parametrize("name", COORDINATES)
def test_values_are_those_of_the_numpy_measures(name: str) -> None:
    x = conformations()
    found = COORDINATES[name](torch.from_numpy(x))
    assert found.shape == (len(x),) and found.dtype == torch.float64
    in_float32 = 1e-5 if name in ("angle", "dihedral") else 1e-12  # mdtraj's arithmetic
    np.testing.assert_allclose(found, expected(name, x), rtol=in_float32, atol=in_float32)


@pytest.mark.parametrize("name", COORDINATES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    x = torch.from_numpy(conformations(1)).requires_grad_()
    assert torch.autograd.gradcheck(COORDINATES[name], x, eps=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", COORDINATES)
def test_a_gradient_turns_with_the_molecule_and_adds_up_to_nothing(name: str) -> None:
    """Neither a force nor a torque on the whole molecule."""
    x = torch.from_numpy(conformations()).requires_grad_()
    (slope,) = torch.autograd.grad(COORDINATES[name](x).sum(), x)
    np.testing.assert_allclose(slope.sum(1), 0.0, atol=1e-9)
    np.testing.assert_allclose(torch.linalg.cross(x.detach(), slope).sum(1), 0.0, atol=1e-9)


def test_rmsd_at_coincidence_has_a_finite_gradient_and_a_mirror_image_does_not_coincide() -> None:
    reference = NATIVE - NATIVE.mean(0)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    start = np.stack([reference, reference @ turn, reference * [1.0, 1.0, -1.0]])
    x = torch.from_numpy(start).requires_grad_()
    coordinate = c_alpha_rmsd(PROTEIN, reference)
    value = coordinate(x)
    (slope,) = torch.autograd.grad(value.square().sum(), x)
    assert slope.isfinite().all()
    np.testing.assert_allclose(value[:2].detach(), 0.0, atol=1e-12)
    np.testing.assert_allclose(slope[:2], 0.0, atol=1e-12)
    expected = structure.rmsd(start[2], reference, ALPHAS)
    assert float(value[2].detach()) == pytest.approx(float(expected)) and expected > 1.0
    (plain,) = torch.autograd.grad(coordinate(x).sum(), x)
    assert plain.isfinite().all() and plain.norm(dim=(1, 2)).max() <= 1.0  # |dRMSD/dx| <= 1/sqrt N


def test_rmsd_where_the_best_rotation_is_not_one() -> None:
    """Beads on a line: every turn about it fits as well."""
    line = np.outer(np.arange(5.0), [1.0, 2.0, 2.0]) / 3.0
    other = np.outer(np.arange(5.0) * 1.1, [0.0, 0.6, 0.8])
    arguments = {
        "reference": torch.from_numpy(line),
        "selection": torch.arange(5),
    }
    coordinate = Coordinate("rmsd", "line", 5, arguments)
    found = coordinate(torch.from_numpy(other)[None])
    np.testing.assert_allclose(found, structure.rmsd(other, line), rtol=1e-10)


def test_second_derivatives_of_rmsd_are_refused_not_wrong() -> None:
    x = torch.from_numpy(conformations(1)).requires_grad_()
    (slope,) = torch.autograd.grad(COORDINATES["rmsd"](x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_beads_in_one_place_or_on_a_line_have_no_direction_but_a_number() -> None:
    x = torch.zeros(1, PROTEIN.beads, 3, dtype=torch.float64)
    x[0, :, 0] = torch.arange(PROTEIN.beads)
    x[0, 30] = x[0, 3]
    x.requires_grad_()
    for name in ("distance", "angle", "dihedral", "contacts"):
        value = COORDINATES[name](x)
        (slope,) = torch.autograd.grad(value.sum(), x)
        assert value.isfinite().all() and slope.isfinite().all(), name


@pytest.mark.parametrize("name", COORDINATES)
def test_as_json_and_back_it_is_the_same_to_the_bit(name: str) -> None:
    x = torch.from_numpy(conformations())
    again = coordinate_from_dict(json.loads(json.dumps(COORDINATES[name].to_dict())))
    assert torch.equal(again(x), COORDINATES[name](x))
    assert (again.label, again.unit, again.period) == (
        COORDINATES[name].label, COORDINATES[name].unit, COORDINATES[name].period,
    )  # fmt: skip


def test_what_is_no_coordinate() -> None:
    with pytest.raises(UserError, match="different beads"):
        between(PROTEIN, 3, 3)
    with pytest.raises(UserError, match="different beads"):
        between(PROTEIN, 0, PROTEIN.beads)
    with pytest.raises(UserError, match="give 2, 3 or 4"):
        between(PROTEIN, 1)
    with pytest.raises(UserError, match="does not fit"):
        c_alpha_rmsd(PROTEIN, NATIVE[:5])
    with pytest.raises(UserError, match="no native contacts"):
        native_contact_share(PROTEIN, 100.0 * NATIVE)
    with pytest.raises(UserError, match="unknown"):
        Coordinate("gdt_ts", "GDT-TS", PROTEIN.beads, {})
