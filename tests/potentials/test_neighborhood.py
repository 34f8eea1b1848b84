"""The neighbours that a plan reads, and a list that is too small."""

from __future__ import annotations

import logging

import pytest
import torch

from flashschnet_kernels.edges import Edges
from flashschnet_kernels.neighbors import verlet
from flashschnet_kernels.neighbors.reference import pairs_within
from flashschnet_kernels.plan import parse_plan
from flashschnet_lab.potentials.neighborhood import neighbor_finder

CPU = torch.device("cpu")
SIZES = (30, 1, 22)
CUTOFF = 9.0


@pytest.fixture
def positions():
    generator = torch.Generator().manual_seed(2)
    return torch.rand(sum(SIZES), 3, generator=generator) * 20.0


def as_set(pairs):
    return {(int(i), int(j)) for i, j in pairs.T}


@pytest.mark.parametrize("name", ["baseline", "aggregation", "flash-float32"])
def test_every_plan_sees_all_neighbours(positions, name):
    finder = neighbor_finder(parse_plan(name, "cpu"), SIZES, CUTOFF, CPU)
    for shift in (0.0, 0.1, 1.0):
        x = positions + shift * torch.sin(positions)
        found = finder.find(x)
        pairs = found.pairs() if isinstance(found, Edges) else found
        within = as_set(pairs_within(x, SIZES, CUTOFF))
        assert within <= as_set(pairs)
        if name != "flash-float32":  # only the fused convolution drops what lies in the skin
            assert within == as_set(pairs)


@pytest.mark.parametrize("name", ["aggregation", "flash-float32"])
def test_a_list_that_is_too_small_grows_and_that_is_reported(positions, name, monkeypatch, caplog):
    allocate = verlet.allocate
    monkeypatch.setattr(verlet, "allocate", lambda *a, **k: allocate(*a, **k, capacity=4))
    finder = neighbor_finder(parse_plan(name, "cpu"), SIZES, CUTOFF, CPU)
    with caplog.at_level(logging.WARNING):
        found = finder.find(positions)
    pairs = found.pairs() if isinstance(found, Edges) else found
    assert as_set(pairs_within(positions, SIZES, CUTOFF)) <= as_set(pairs)
    assert "too small" in caplog.text
