"""Repulsion of all pairs in one pass, against the list of pairs in float64."""

from __future__ import annotations

import pytest
import torch

from flashschnet_kernels.priors import reference

SIZES = (21, 1, 40, 40)
KINDS = (0, 1, 2, 2)


@pytest.fixture(scope="module")
def kernel(triton_device):
    return pytest.importorskip("flashschnet_kernels.priors.triton")


@pytest.fixture(scope="module")
def molecules():
    """Positions, sigma matrices of the kinds, and the list of pairs with their sigma."""
    generator = torch.Generator().manual_seed(4)
    positions = torch.rand(sum(SIZES), 3, generator=generator, dtype=torch.float64) * 12.0
    matrices = []
    for size in (21, 1, 40):
        sigma = torch.rand(size, size, generator=generator, dtype=torch.float64) + 3.0
        keep = torch.rand(size, size, generator=generator) < 0.8
        upper = torch.triu(torch.where(keep, sigma, 0.0), diagonal=1)
        matrices.append(upper + upper.T)
    pairs, sigmas, counts, first = [], [], [], 0
    for size, kind in zip(SIZES, KINDS, strict=True):
        found = torch.triu(matrices[kind]).nonzero()
        pairs.append(found + first)
        sigmas.append(matrices[kind][found[:, 0], found[:, 1]])
        counts.append(len(found))
        first += size
    return positions, matrices, torch.cat(pairs), torch.cat(sigmas), counts


def _exact(molecules):
    positions, _, pairs, sigma, counts = molecules
    x = positions.clone().requires_grad_()
    values = reference.repulsion(x, pairs, sigma)
    energy = torch.stack([part.sum() for part in values.split(counts)])
    weight = torch.arange(1.0, len(SIZES) + 1, dtype=torch.float64)
    return energy.detach(), torch.autograd.grad((energy * weight).sum(), x)[0], weight


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 3e-6), (torch.float64, 1e-12)])
def test_energy_and_gradient(kernel, triton_device, molecules, dtype, limit):
    energy, gradient, weight = _exact(molecules)
    matrices = tuple(m.to(triton_device, dtype) for m in molecules[1])
    layout = kernel.lay_out(SIZES, KINDS, matrices)
    runs = []
    for _ in range(2):
        x = molecules[0].to(triton_device, dtype).requires_grad_()
        found = kernel.repulsion(x, layout)
        (slope,) = torch.autograd.grad((found * weight.to(triton_device)).sum(), x)
        runs.append((found.detach(), slope))
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])
    found, slope = (t.cpu().double() for t in runs[0])
    assert float((found - energy).norm() / energy.norm()) < limit
    assert float((slope - gradient).norm() / gradient.norm()) < limit


def test_second_derivatives_are_refused(kernel, triton_device, molecules):
    matrices = tuple(m.to(triton_device) for m in molecules[1])
    layout = kernel.lay_out(SIZES, KINDS, matrices)
    x = molecules[0].to(triton_device).requires_grad_()
    energy = kernel.repulsion(x, layout).sum()
    with pytest.raises(RuntimeError, match="create_graph"):
        torch.autograd.grad(energy, x, create_graph=True)


def test_a_molecule_that_is_too_large_is_refused(kernel, triton_device, monkeypatch):
    monkeypatch.setattr(kernel, "MOST_BEADS", 8)
    with pytest.raises(ValueError, match="priors=reference"):
        kernel.lay_out((9,), (0,), (torch.zeros(9, 9, device=triton_device),))
