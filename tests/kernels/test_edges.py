"""Edges in compressed rows: sorted, complete, and each with its opposite."""

from __future__ import annotations

import pytest
import torch

from flashschnet_kernels.edges import edges_from_pairs
from tests.kernels.cases import CASES


@pytest.mark.parametrize("name", CASES)
def test_both_directions_of_every_pair(name):
    case = CASES[name]
    edges = edges_from_pairs(case.pairs, case.beads)
    found = set(zip(edges.receiver.tolist(), edges.sender.tolist(), strict=True))
    pairs = {tuple(pair) for pair in case.pairs.T.tolist()}
    assert found == pairs | {(j, i) for i, j in pairs}
    assert len(edges.receiver) == 2 * len(pairs)
    assert torch.equal(edges.pairs(), case.pairs)


@pytest.mark.parametrize("name", CASES)
def test_rows(name):
    case = CASES[name]
    edges = edges_from_pairs(case.pairs, case.beads)
    assert edges.beads == case.beads
    assert edges.row_start[0] == 0
    assert edges.row_start[-1] == len(edges.receiver)
    for i in range(case.beads):
        row = slice(edges.row_start[i], edges.row_start[i + 1])
        assert edges.receiver[row].eq(i).all()
        assert edges.sender[row].diff().gt(0).all()  # ascending, no edge twice


@pytest.mark.parametrize("name", CASES)
def test_opposite_edges(name):
    edges = edges_from_pairs(CASES[name].pairs, CASES[name].beads)
    assert torch.equal(edges.receiver[edges.reverse], edges.sender)
    assert torch.equal(edges.sender[edges.reverse], edges.receiver)
    assert torch.equal(edges.reverse[edges.reverse], torch.arange(len(edges.receiver)))


def test_order_and_direction_of_the_pairs_do_not_matter():
    case = CASES["odd sizes"]
    order = torch.randperm(case.pairs.shape[1], generator=torch.Generator().manual_seed(1))
    one = edges_from_pairs(case.pairs, case.beads)
    other = edges_from_pairs(case.pairs[:, order].flip(0), case.beads)
    for name in ("receiver", "sender", "row_start", "reverse"):
        assert torch.equal(getattr(one, name), getattr(other, name))
