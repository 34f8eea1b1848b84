"""Neighbour search against a double loop: any sizes, any block, nothing left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashschnet_kernels.neighbors import reference
from flashschnet_kernels.neighbors.reference import pairs_within
from flashschnet_lab.proteins.embedded import embedded_protein

SIZES = [(12,), (7, 7, 7), (3, 9, 1, 5), (1,), (1, 1), (2, 1), (4, 4, 5)]


def brute_force(positions: torch.Tensor, sizes: tuple[int, ...], cutoff: float) -> list:
    x, first, pairs = positions.double().numpy(), 0, []
    for size in sizes:
        for i in range(first, first + size):
            for j in range(i + 1, first + size):
                if np.linalg.norm(x[i] - x[j]) < cutoff:
                    pairs.append([i, j])
        first += size
    return pairs


def blob(beads: int, edge: float = 10.0, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return edge * torch.rand(beads, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_brute_force(sizes, dtype):
    positions = blob(sum(sizes)).to(dtype)
    pairs = pairs_within(positions, sizes, 5.0)
    assert pairs.dtype == torch.int64
    assert pairs.shape[0] == 2
    assert pairs.T.tolist() == brute_force(positions, sizes, 5.0)


@pytest.mark.parametrize("sizes", SIZES)
def test_blocks_change_nothing(monkeypatch, sizes):
    positions = blob(sum(sizes))
    whole = pairs_within(positions, sizes, 5.0)
    for rows in (1, 3, 4):
        monkeypatch.setattr(reference, "ROWS_PER_BLOCK", rows)
        assert torch.equal(pairs_within(positions, sizes, 5.0), whole)


def test_replicas_of_a_protein():
    starts = embedded_protein("trpcage").starts
    replicas, beads, _ = starts.shape
    pairs = pairs_within(torch.from_numpy(starts).view(-1, 3), (beads,) * replicas, 15.0)
    found = 0
    for replica, x in enumerate(starts):
        r = np.linalg.norm(x[:, None] - x[None], axis=-1)
        i, j = np.nonzero(np.triu(r < 15.0, 1))
        own = pairs[:, pairs[0] // beads == replica]
        np.testing.assert_array_equal(own.numpy(), np.stack((i, j)) + replica * beads)
        found += len(i)
    assert pairs.shape[1] == found


def test_replicas_on_top_of_each_other_do_not_meet():
    one = blob(6)
    pairs = pairs_within(one.repeat(3, 1), (6, 6, 6), 5.0)
    assert torch.equal(pairs[0] // 6, pairs[1] // 6)


def test_a_dense_blob_is_not_truncated():
    beads = 500
    pairs = pairs_within(blob(beads, edge=1.0), (beads,), 15.0)
    assert torch.equal(pairs, torch.triu_indices(beads, beads, 1))


@pytest.mark.parametrize("sizes", [(20,), (5, 5), (5, 6)])
def test_none_in_range(sizes):
    positions = 100.0 * torch.arange(sum(sizes), dtype=torch.float64)[:, None].expand(-1, 3)
    assert pairs_within(positions, sizes, 15.0).shape == (2, 0)


def test_a_pair_at_the_cutoff_is_outside():
    positions = torch.tensor([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]], dtype=torch.float64)
    assert pairs_within(positions, (2,), 5.0).shape == (2, 0)
    assert pairs_within(positions, (2,), 5.0 + 1e-12).shape == (2, 1)


@pytest.mark.parametrize("sizes", [(6, 6), (12,)])
def test_non_contiguous_positions(sizes):
    positions = blob(24)[::2]
    assert not positions.is_contiguous()
    assert torch.equal(
        pairs_within(positions, sizes, 5.0), pairs_within(positions.contiguous(), sizes, 5.0)
    )


def test_positions_may_require_a_gradient():
    pairs = pairs_within(blob(5).requires_grad_(), (5,), 5.0)
    assert not pairs.requires_grad


@pytest.mark.parametrize("sizes", [(5,), (3, 3), (2, 4), (5, 7)])
def test_sizes_that_do_not_add_up_are_refused(sizes):
    with pytest.raises(RuntimeError):
        pairs_within(blob(8), sizes, 5.0)
