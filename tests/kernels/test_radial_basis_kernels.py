"""The fused radial basis on GPU (or in Triton's interpreter) and CPU, against the reference."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.autograd.functional import jvp

from flashschnet_kernels.radial_basis import reference
from flashschnet_kernels.radial_basis.reference import filter_envelope, radial_basis
from tests.kernels.cases import (
    CASES,
    CPU,
    CUTOFF,
    KINDS,
    Case,
    case_from,
    loaded,
    poisoned,
    strided,
)
from tests.kernels.tolerances import assert_as_exact_as_eager

DTYPES = (torch.float32, torch.float64)


@pytest.fixture(params=["triton", "cpu"])
def fused(request):
    """A fused implementation and the device of its tensors."""
    module = loaded("radial_basis", request.param, request)
    device = request.getfixturevalue("triton_device") if request.param == "triton" else CPU
    return module, device


def weights_of(case: Case, dtype: torch.dtype, device: torch.device):
    """Random gradients of r_ij, rbf and envelope, exact in float32."""
    count = 2 * case.pairs.shape[1]
    generator = torch.Generator().manual_seed(5)
    shapes = ((count,), (count, case.functions), (count,))
    return [
        case.view(torch.randn(shape, generator=generator).to(device, dtype)) for shape in shapes
    ]


def evaluate(module, case, kind, dtype, device=CPU, index=torch.int64, with_edges=False):
    """Return r_ij, rbf, envelope and a gradient with respect to the positions."""
    positions = case.coordinates(dtype, device).requires_grad_()
    edges = case.edges(index, device)
    basis = case.basis(kind, dtype, device)
    outputs = module.expand(
        positions, edges.receiver, edges.sender, basis, edges if with_edges else None
    )
    (gradient,) = torch.autograd.grad(outputs, positions, weights_of(case, dtype, device))
    return [*(output.detach() for output in outputs), gradient]


def gradient_scale(case: Case, kind: str) -> float:
    """Largest sum over the edges of a bead of the sizes of all terms of dE/dr."""
    basis = case.basis(kind, torch.float64)
    r_ij, _, _, _ = evaluate(reference, case, kind, torch.float64)
    one = torch.ones_like(r_ij)
    _, rbf_slope = jvp(lambda r: radial_basis(r, basis), r_ij, one)
    _, envelope_slope = jvp(lambda r: filter_envelope(r, case.lower, CUTOFF), r_ij, one)
    weights = [weight.abs() for weight in weights_of(case, torch.float64, CPU)]
    terms = weights[0] + (weights[1] * rbf_slope.abs()).sum(1) + weights[2] * envelope_slope.abs()
    sums = terms.new_zeros(case.beads + 1).index_add_(0, case.edges().receiver, terms)
    return sums.max().item()


def check(module, device, case, kind, dtype, index=torch.int64, with_edges=False):
    exact = evaluate(reference, case, kind, torch.float64)
    eager = evaluate(reference, case, kind, dtype)
    with poisoned():
        found = evaluate(module, case, kind, dtype, device, index, with_edges)
    scales = (None, 1.0, 1.0, gradient_scale(case, kind))
    for result, same_dtype, double, scale in zip(found, eager, exact, scales, strict=True):
        assert_as_exact_as_eager(result, same_dtype, double, scale)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_edges", [False, True], ids=["scattered", "rows"])
def test_cases(fused, name, kind, dtype, with_edges):
    check(*fused, CASES[name], kind, dtype, with_edges=with_edges)


@pytest.mark.parametrize("with_edges", [False, True])
def test_int32_indices(fused, with_edges):
    for name in ("odd sizes", "non-contiguous"):
        case = CASES[name]
        check(*fused, case, "exp_normal", torch.float32, torch.int32, with_edges)


@pytest.mark.parametrize("kind", KINDS)
def test_unordered_pairs(fused, kind):
    module, device = fused
    case, results = CASES["odd sizes"], []
    for expand, dtype, place in (
        (module.expand, torch.float32, device),
        (reference.expand, torch.float32, CPU),
        (reference.expand, torch.float64, CPU),
    ):
        positions = case.coordinates(dtype, place).requires_grad_()
        i, j = case.pairs.to(place)
        _, rbf, _ = expand(positions, i, j, case.basis(kind, dtype, place))
        results.append(torch.autograd.grad(rbf.sum(), positions)[0])
    assert_as_exact_as_eager(*results, scale=gradient_scale(case, kind))


@pytest.mark.parametrize("with_edges", [False, True])
def test_more_edges_and_functions_than_fit_a_tile(request, monkeypatch, with_edges):
    module = loaded("radial_basis", "triton", request)
    monkeypatch.setattr(module, "ROW_EDGES", 16)
    monkeypatch.setattr(module, "MOST_FUNCTIONS", 4)
    device = request.getfixturevalue("triton_device")
    case = replace(CASES["hub"], functions=11)
    check(module, device, case, "gaussian", torch.float32, with_edges=with_edges)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("used", [(0,), (1,), (2,), (1, 2)])
def test_gradient_of_some_outputs(fused, kind, used):
    module, device = fused
    case = CASES["at the cutoff"]

    def gradient(expand, dtype, place):
        positions = case.coordinates(dtype, place).requires_grad_()
        edges = case.edges(device=place)
        outputs = expand(positions, edges.receiver, edges.sender, case.basis(kind, dtype, place))
        # The gradient of a sum has stride 0, as none that a network sends has.
        return torch.autograd.grad(sum(outputs[k].sum() for k in used), positions)[0]

    results = (
        gradient(module.expand, torch.float32, device),
        gradient(reference.expand, torch.float32, CPU),
        gradient(reference.expand, torch.float64, CPU),
    )
    assert_as_exact_as_eager(*results, scale=1.0)


def test_envelope_keeps_its_digits_at_the_cutoff(fused):
    module, device = fused
    below = 2.0 ** -torch.arange(1.0, 16.0)  # 15 - below is exact in float32
    positions = torch.zeros(16, 3)
    positions[1:, 0] = CUTOFF - below
    sender = torch.arange(1, 16)
    basis = CASES["one pair"].basis("gaussian", torch.float32, device)
    r_ij, _, found = module.expand(
        positions.to(device), torch.zeros_like(sender).to(device), sender.to(device), basis
    )
    # A GPU's square root may be off by one bit, and that changes much of what is left below 15.
    exact = torch.sin(0.5 * torch.pi * (CUTOFF - r_ij.cpu().double()) / CUTOFF) ** 2
    torch.testing.assert_close(found.cpu().double(), exact, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("with_edges", [False, True])
def test_same_bits_every_run(fused, with_edges):
    module, device = fused
    if device.type == "cuda" and not with_edges:
        pytest.skip("atomics add in any order; the position gradient by rows does not")
    arguments = (module, CASES["all in range"], "exp_normal", torch.float32, device)
    first, second = (evaluate(*arguments, with_edges=with_edges) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_molecule_alone_and_in_a_batch_give_the_same_bits(fused):
    module, device = fused
    batch = CASES["replica boundary"]
    alone = case_from(batch.positions[:7])
    results = []
    for case in (alone, batch):
        positions = case.coordinates(torch.float32, device).requires_grad_()
        edges = case.edges(device=device)
        basis = case.basis("exp_normal", torch.float32, device)
        outputs = module.expand(positions, edges.receiver, edges.sender, basis, edges)
        weight = torch.linspace(-1.0, 1.0, alone.functions, device=device)
        (gradient,) = torch.autograd.grad((outputs[1] * weight).sum(), positions)
        results.append([*outputs, gradient])
    for one, many in zip(*results, strict=True):
        assert torch.equal(one, many[: len(one)])


def test_coincident_beads_give_no_nan(fused):
    module, device = fused
    case = replace(CASES["one pair"], positions=torch.zeros(2, 3, dtype=torch.float64))
    for with_edges in (False, True):
        results = evaluate(module, case, "gaussian", torch.float32, device, with_edges=with_edges)
        assert all(result.isfinite().all() for result in results)
        assert results[3].count_nonzero() == 0


def test_second_order_is_refused(fused):
    module, device = fused
    case = CASES["one pair"]
    positions = case.coordinates(torch.float64, device).requires_grad_()
    edges = case.edges(device=device)
    basis = case.basis("gaussian", torch.float64, device)
    outputs = module.expand(positions, edges.receiver, edges.sender, basis)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(outputs[1].sum(), positions, create_graph=True)


def test_what_it_cannot_do_is_refused(fused):
    module, device = fused
    case = CASES["one pair"]
    positions = case.coordinates(torch.float32, device)
    edges = case.edges(device=device)
    i, j = edges.receiver, edges.sender
    basis = case.basis("gaussian", torch.float32, device)
    trainable = replace(basis, widths=basis.widths.clone().requires_grad_())
    with pytest.raises(RuntimeError, match='radial_basis="reference"'):
        module.expand(positions, i, j, trainable)
    with pytest.raises(TypeError, match="float16"):
        module.expand(positions.half(), i, j, basis)
    with pytest.raises(TypeError, match="dtype of the positions"):
        module.expand(positions.double(), i, j, basis)
    with pytest.raises(ValueError, match="beads, 3"):
        module.expand(positions[:, :2], i, j, basis)
    with pytest.raises(ValueError, match="one length"):
        module.expand(positions, i[:1], j, basis)
    with pytest.raises(ValueError, match="edges has 2 edges of 2 beads"):
        module.expand(positions.repeat(2, 1), i, j, basis, edges)


# Points of a lattice of 2.5 angstrom: many distances are 15 angstrom to the last bit.
lattice = st.lists(st.tuples(*[st.integers(0, 8)] * 3), unique=True, min_size=0, max_size=12).map(
    lambda points: 2.5 * torch.tensor(points, dtype=torch.float64).reshape(-1, 3)
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    positions=lattice,
    spread=st.sampled_from([0.5, 1.0, 4.0]),
    functions=st.integers(2, 9),
    kind=st.sampled_from(KINDS),
    with_edges=st.booleans(),
)
def test_any_size_and_density(fused, positions, spread, functions, kind, with_edges):
    if len(positions) == 0:
        case = replace(CASES["no beads"], functions=functions)
    else:
        case = replace(case_from(positions * spread), functions=functions)
    check(*fused, case, kind, torch.float32, with_edges=with_edges)


def test_strided_views_are_not_contiguous():
    for shape in ((5,), (5, 3)):
        tensor = torch.randn(shape)
        assert not strided(tensor).is_contiguous()
        assert torch.equal(strided(tensor), tensor)
