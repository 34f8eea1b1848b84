"""The sum over pairs into beads, against a loop."""

from __future__ import annotations

import pytest
import torch

from flashschnet_kernels.aggregation.reference import aggregate, gather, scatter_add
from tests.kernels.cases import CASES

BEADS, FEATURES = 7, 5
RECEIVERS = {
    "empty": [],
    "one": [3],
    "hub": [2] * 20,
    "mixed": [0, 6, 3, 3, 0, 5, 3, 1, 6, 6, 0],
}


def values_for(receiver: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(receiver), FEATURES, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("case", RECEIVERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loop(case, dtype):
    receiver = torch.tensor(RECEIVERS[case], dtype=torch.int64)
    values = values_for(receiver, dtype)
    expected = torch.zeros(BEADS, FEATURES, dtype=dtype)
    for bead, row in zip(RECEIVERS[case], values, strict=True):
        expected[bead] += row
    found = scatter_add(values, receiver, BEADS)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected)


def test_beads_that_receive_nothing_are_zero():
    found = scatter_add(torch.ones(2, FEATURES), torch.tensor([1, 1]), BEADS)
    assert found[1].tolist() == [2.0] * FEATURES
    assert found.count_nonzero() == FEATURES


def test_non_contiguous_values():
    receiver = torch.tensor(RECEIVERS["mixed"])
    wide = values_for(receiver, torch.float64).repeat(1, 2)
    for values in (wide[:, ::2], wide.T.contiguous().T):
        assert not values.is_contiguous()
        assert torch.equal(
            scatter_add(values, receiver, BEADS), scatter_add(values.contiguous(), receiver, BEADS)
        )


def test_the_input_is_left_alone():
    receiver = torch.tensor(RECEIVERS["mixed"])
    values = values_for(receiver, torch.float64)
    before = values.clone()
    scatter_add(values, receiver, BEADS)
    assert torch.equal(values, before)


def test_gradient():
    receiver = torch.tensor(RECEIVERS["mixed"])
    values = values_for(receiver, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: scatter_add(v, receiver, BEADS).square(), values)


def test_a_receiver_that_is_no_bead_is_refused():
    with pytest.raises((IndexError, RuntimeError)):
        scatter_add(torch.ones(1, FEATURES), torch.tensor([BEADS]), BEADS)


@pytest.mark.parametrize("name", CASES)
def test_edges_are_gathered_by_sender_and_summed_by_receiver(name):
    case = CASES[name]
    edges = case.edges()
    features = case.random(case.beads, torch.float64)
    gathered = gather(features, edges)
    adjacency = torch.zeros(case.beads, case.beads, dtype=torch.float64)
    adjacency[edges.receiver, edges.sender] = 1.0
    assert torch.equal(gathered, features[edges.sender])
    torch.testing.assert_close(aggregate(gathered, edges), adjacency @ features)
