"""Gather and sum over compressed rows on GPU (or interpreter) and CPU, against the reference."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashschnet_kernels.aggregation import reference
from flashschnet_kernels.edges import Edges, edges_from_pairs
from tests.kernels.cases import CASES, CPU, Case, case_from, loaded, poisoned
from tests.kernels.tolerances import assert_as_exact_as_eager

DTYPES = (torch.float16, torch.float32, torch.float64)


@pytest.fixture(params=["triton", "cpu"])
def fused(request):
    """A fused implementation and the device of its tensors."""
    module = loaded("aggregation", request.param, request)
    device = request.getfixturevalue("triton_device") if request.param == "triton" else CPU
    return module, device


def evaluate(module, case: Case, dtype, device=CPU, index=torch.int64):
    """Return what is gathered and aggregated, and the gradients of both."""
    edges = case.edges(index, device)
    results = []
    rows = (case.beads, len(edges.receiver))
    for operator, inputs, outputs in ((module.gather, *rows), (module.aggregate, *rows[::-1])):
        x = case.random(inputs, dtype, device).requires_grad_()
        y = operator(x, edges)
        weight = case.random(outputs, dtype, device, seed=1)
        results += [y.detach(), torch.autograd.grad(y, x, weight)[0]]
    return results


def check(module, device, case, dtype, index=torch.int64):
    exact, eager = (evaluate(reference, case, d) for d in (torch.float64, dtype))
    with poisoned():
        found = evaluate(module, case, dtype, device, index)
    gathered, gathered_gradient, summed, summed_gradient = zip(found, eager, exact, strict=True)
    assert torch.equal(gathered[0].cpu(), gathered[1])
    assert torch.equal(summed_gradient[0].cpu(), summed_gradient[1])
    # Every sum is of normal numbers; a cancelled one may be as small as one likes.
    assert_as_exact_as_eager(*gathered_gradient, scale=4.0)
    assert_as_exact_as_eager(*summed, scale=4.0)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cases(fused, name, dtype):
    if fused[0].__name__.endswith("cpu") and dtype == torch.float16:
        pytest.skip("float16 on a CPU is for the reference")
    check(*fused, CASES[name], dtype)


def test_bfloat16_on_a_gpu(request):
    module = loaded("aggregation", "triton", request)
    if not torch.cuda.is_available():
        pytest.skip("Triton's interpreter truncates to bfloat16 instead of rounding")
    check(module, torch.device("cuda"), CASES["hub"], torch.bfloat16)


def test_int32_indices(fused):
    for name in ("odd sizes", "non-contiguous"):
        check(*fused, CASES[name], torch.float32, torch.int32)


def test_more_edges_and_channels_than_fit_a_tile(request, monkeypatch):
    module = loaded("aggregation", "triton", request)
    for name, size in (("ROWS", 8), ("TILE", 4), ("MOST_CHANNELS", 8)):
        monkeypatch.setattr(module, name, size)
    check(module, request.getfixturevalue("triton_device"), CASES["hub"], torch.float32)


def test_the_sum_is_in_float32_for_float16(request):
    module = loaded("aggregation", "triton", request)
    device = request.getfixturevalue("triton_device")
    case = CASES["hub"]
    edges = case.edges(device=device)
    values = torch.ones(len(edges.receiver), 2, dtype=torch.float16, device=device)
    # 2048 + 1 is 2048 in float16, however often one adds.
    values[edges.row_start[:-1]] = 2048.0
    degree = edges.row_start.diff()
    found = module.aggregate(values, edges)
    expected = torch.where(degree > 0, 2047.0 + degree, 0.0).half()
    assert torch.equal(found[:, 0], expected)


def test_same_bits_every_run(fused):
    module, device = fused
    first, second = (
        evaluate(module, CASES["all in range"], torch.float32, device) for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_molecule_alone_and_in_a_batch_give_the_same_bits(fused):
    module, device = fused
    batch = CASES["replica boundary"]
    alone = case_from(batch.positions[:7])
    edges, all_edges = alone.edges(device=device), batch.edges(device=device)
    values = batch.random(len(all_edges.receiver), torch.float32, device)
    one = module.aggregate(values[: len(edges.receiver)], edges)
    assert torch.equal(one, module.aggregate(values, all_edges)[:7])


def test_gradients_with_stride_zero(fused):
    module, device = fused
    edges = CASES["odd sizes"].edges(device=device)
    features = torch.randn(edges.beads, 3, device=device, requires_grad=True)
    module.gather(features, edges).sum().backward()
    degree = edges.row_start.diff().float()
    assert torch.equal(features.grad, degree[:, None].expand(-1, 3))


def test_second_order_is_refused(fused):
    module, device = fused
    edges = CASES["one pair"].edges(device=device)
    x = torch.ones(2, 3, device=device, requires_grad=True)
    for operator in (module.gather, module.aggregate):
        with pytest.raises(RuntimeError, match="first derivatives only"):
            torch.autograd.grad(operator(x, edges).square().sum(), x, create_graph=True)


def test_rows_of_other_edges_are_refused(fused):
    module, device = fused
    edges = CASES["one pair"].edges(device=device)
    with pytest.raises(ValueError, match=r"features must be \[2, channels\]"):
        module.gather(torch.ones(3, 4, device=device), edges)
    with pytest.raises(ValueError, match=r"values must be \[2, channels\].*edges"):
        module.aggregate(torch.ones(3, 4, device=device), edges)
    with pytest.raises(ValueError, match="channels"):
        module.aggregate(torch.ones(2, device=device), edges)


def test_other_dtypes_are_refused_on_a_cpu(request):
    module = loaded("aggregation", "cpu", request)
    edges = CASES["one pair"].edges()
    for operator in (module.gather, module.aggregate):
        with pytest.raises(TypeError, match="float16"):
            operator(torch.ones(2, 4, dtype=torch.float16), edges)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, Edges]:
    beads = draw(st.integers(1, 14))
    every = torch.combinations(torch.arange(beads)).T.reshape(2, -1)
    kept = draw(st.lists(st.booleans(), min_size=every.shape[1], max_size=every.shape[1]))
    return beads, every[:, torch.tensor(kept, dtype=torch.bool)]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(graph=graphs(), channels=st.integers(1, 9))
def test_any_size_and_density(fused, graph, channels):
    beads, pairs = graph
    positions = torch.zeros(beads, 3, dtype=torch.float64)
    case = replace(Case(positions, (beads,), pairs), channels=channels)
    assert case.edges().beads == edges_from_pairs(pairs, beads).beads
    check(*fused, case, torch.float32)
