"""The envelope and the two radial bases: formulas by hand, and smoothness at the cutoff."""

from __future__ import annotations

import math

import pytest
import torch

from flashschnet_kernels.radial_basis.parameters import RadialParameters
from flashschnet_kernels.radial_basis.reference import (
    cosine_envelope,
    exp_normal_basis,
    filter_envelope,
    filter_envelope_slope,
    gaussian_basis,
    radial_basis,
)

CUTOFF = 15.0
DISTANCES = [0.0, 0.3, 3.8, 7.5, 14.999, 15.0, 15.001, 40.0]


def envelope_by_hand(r: float) -> float:
    return 0.5 * (math.cos(math.pi * r / CUTOFF) + 1.0) if r < CUTOFF else 0.0


def distances(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(DISTANCES, dtype=dtype)


def gaussian(r: torch.Tensor) -> torch.Tensor:
    centres = torch.tensor([0.0, 5.0, 10.0], dtype=r.dtype)
    return gaussian_basis(r, centres, torch.tensor(-0.02, dtype=r.dtype), CUTOFF)


def exp_normal(r: torch.Tensor) -> torch.Tensor:
    centres = torch.tensor([0.01, 0.5, 1.0], dtype=r.dtype)
    betas = torch.tensor([30.0, 20.0, 10.0], dtype=r.dtype)
    return exp_normal_basis(r, centres, betas, 1.0 / 3.0, CUTOFF)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_envelope_by_hand(dtype):
    found = cosine_envelope(distances(dtype), CUTOFF)
    assert found.dtype == dtype
    expected = torch.tensor([envelope_by_hand(r) for r in DISTANCES], dtype=dtype)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_envelope_at_special_points():
    found = cosine_envelope(torch.tensor([0.0, 7.5, 15.0, 15.1], dtype=torch.float64), CUTOFF)
    assert found.tolist() == pytest.approx([1.0, 0.5, 0.0, 0.0], abs=1e-15)
    assert found[2:].tolist() == [0.0, 0.0]


def test_envelope_and_its_slope_vanish_at_the_cutoff():
    step = 1e-6
    r = torch.tensor([CUTOFF - step, CUTOFF, CUTOFF + step], dtype=torch.float64).requires_grad_()
    envelope = cosine_envelope(r, CUTOFF)
    (slope,) = torch.autograd.grad(envelope.sum(), r)
    assert envelope.abs().max() < 1e-13  # quadratic in the step
    # Linear in the step: C'(cutoff - step) = -pi^2 / (2 cutoff^2) step.
    assert slope[0].item() == pytest.approx(-(math.pi**2) / (2 * CUTOFF**2) * step, rel=1e-3)
    assert slope[1:].tolist() == [0.0, 0.0]


LOWER = 3.0


def test_the_hump_by_hand():
    """0 at both cutoffs, 1 in the middle, 1/2 between; and its slope."""
    r = torch.tensor([0.0, 2.999, 3.0, 6.0, 9.0, 12.0, 15.0, 15.1], dtype=torch.float64)
    found = filter_envelope(r, LOWER, CUTOFF)
    assert found.tolist() == pytest.approx([0.0, 0.0, 0.0, 0.5, 1.0, 0.5, 0.0, 0.0], abs=1e-15)
    steep = math.pi / 12.0
    slope = filter_envelope_slope(r, LOWER, CUTOFF)
    expected = [0.0, 0.0, 0.0, steep, 0.0, -steep, 0.0, 0.0]
    assert slope.tolist() == pytest.approx(expected, abs=1e-15)
    inside = torch.linspace(3.1, 14.9, 30, dtype=torch.float64).requires_grad_()
    (exact,) = torch.autograd.grad(filter_envelope(inside, LOWER, CUTOFF).sum(), inside)
    torch.testing.assert_close(filter_envelope_slope(inside.detach(), LOWER, CUTOFF), exact)


def test_without_a_lower_cutoff_the_filter_has_the_envelope_of_the_basis():
    r = distances()
    assert torch.equal(filter_envelope(r, 0.0, CUTOFF), cosine_envelope(r, CUTOFF))


@pytest.mark.parametrize("kind", ["gaussian", "exp_normal"])
def test_a_basis_with_a_lower_cutoff_by_hand(kind):
    numbers = torch.tensor([[0.01, 0.5, 1.0], [30.0, 20.0, 10.0]], dtype=torch.float64)
    basis = RadialParameters(kind, *numbers, 0.4, CUTOFF, LOWER)

    def by_hand(r: float, centre: float, width: float) -> float:
        u = math.exp(0.4 * (LOWER - r)) if kind == "exp_normal" else r
        return envelope_by_hand(r) * math.exp(-width * (u - centre) ** 2) if r >= LOWER else 0.0

    expected = [[by_hand(r, *pair) for pair in numbers.T.tolist()] for r in DISTANCES]
    found = radial_basis(distances(), basis)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_a_lower_cutoff_beyond_the_upper_one_is_refused():
    one = torch.ones(1)
    with pytest.raises(ValueError, match="lower cutoff of 15.0 A must lie between 0"):
        RadialParameters("gaussian", one, one, 0.0, CUTOFF, CUTOFF)


def test_gaussian_basis_by_hand():
    expected = [
        [envelope_by_hand(r) * math.exp(-0.02 * (r - centre) ** 2) for centre in (0.0, 5.0, 10.0)]
        for r in DISTANCES
    ]
    torch.testing.assert_close(gaussian(distances()), torch.tensor(expected, dtype=torch.float64))


def test_exp_normal_basis_by_hand():
    expected = [
        [
            envelope_by_hand(r) * math.exp(-beta * (math.exp(-r / 3.0) - centre) ** 2)
            for centre, beta in ((0.01, 30.0), (0.5, 20.0), (1.0, 10.0))
        ]
        for r in DISTANCES
    ]
    torch.testing.assert_close(exp_normal(distances()), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("basis", [gaussian, exp_normal])
def test_bases_and_their_slopes_vanish_beyond_the_cutoff(basis):
    r = torch.tensor([CUTOFF, CUTOFF + 1e-9, 99.0], dtype=torch.float64).requires_grad_()
    values = basis(r)
    (slope,) = torch.autograd.grad(values.sum(), r)
    assert values.count_nonzero() == 0
    assert slope.count_nonzero() == 0


@pytest.mark.parametrize("basis", [gaussian, exp_normal])
def test_no_pairs(basis):
    assert basis(torch.zeros(0, dtype=torch.float64)).shape == (0, 3)


@pytest.mark.parametrize("basis", [gaussian, exp_normal])
def test_first_and_second_gradients(basis):
    r = torch.tensor([0.5, 3.8, 9.0, 14.0, 17.0], dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(basis, r)
    assert torch.autograd.gradgradcheck(basis, r)


@pytest.mark.parametrize("basis", [gaussian, exp_normal])
def test_float32_stays_close(basis):
    r = torch.linspace(0.5, 16.0, 200, dtype=torch.float64)
    found = basis(r.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), basis(r), rtol=0.0, atol=2e-6)
