"""The noise: known answers, normal numbers, streams that depend on nothing but their counter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from flashschnet_kernels.langevin import reference
from flashschnet_kernels.langevin.reference import gaussian_noise, philox

ALL_ONES = 0xFFFFFFFF
# Random123's known-answer file, philox4x32 with ten rounds: counter, key, words.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ALL_ONES,) * 4, (ALL_ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def words_of(counter: tuple[int, ...], key: tuple[int, int]) -> list[int]:
    c0, c1, c2, c3 = (torch.tensor(c) for c in counter)
    return [int(word) for word in philox((c0, c1, c2, c3), key)]


def noise(seed=1, replicas=(0,), first_step=0, steps=1, beads=10, dtype=torch.float64):
    return gaussian_noise(seed, torch.tensor(replicas), first_step, steps, beads, dtype)


@pytest.fixture(scope="module")
def many() -> torch.Tensor:
    """[steps, replicas, beads, 3], 1.2 million numbers."""
    return noise(seed=5, replicas=range(8), steps=100, beads=500)


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_known_answers(counter, key, words):
    assert tuple(words_of(counter, key)) == words


def test_counters_broadcast():
    bead, step = torch.arange(5), torch.arange(3)[:, None]
    together = torch.stack(philox((bead, step, step, bead), (7, 8)))  # [words, steps, beads]
    for s in range(3):
        for b in range(5):
            assert together[:, s, b].tolist() == words_of((b, s, s, b), (7, 8))


def test_moments(many):
    x = many.flatten()
    error = 5.0 / math.sqrt(x.numel())  # five standard errors
    assert abs(x.mean()) < error
    assert abs(x.square().mean() - 1.0) < math.sqrt(2.0) * error
    assert abs(x.pow(3).mean()) < math.sqrt(15.0) * error
    assert abs(x.pow(4).mean() - 3.0) < math.sqrt(96.0) * error


@pytest.mark.parametrize("component", range(3))
def test_distribution(many, component):
    x = many[..., component].flatten()
    for edge in (-3.0, -1.5, -0.5, 0.0, 0.5, 1.5, 3.0):
        expected = 0.5 * (1.0 + math.erf(edge / math.sqrt(2.0)))
        error = 5.0 * math.sqrt(expected * (1.0 - expected) / x.numel())
        assert abs((x < edge).double().mean() - expected) < error


@pytest.mark.parametrize("axis", ["steps", "replicas", "beads", "components"])
def test_neighbours_are_uncorrelated(many, axis):
    dimension = ["steps", "replicas", "beads", "components"].index(axis)
    a, b = many, many.roll(1, dimension)
    error = 5.0 / math.sqrt(many.numel())
    assert abs((a * b).mean()) < error
    # Squares too: two components share one radius, which must not show.
    assert abs(((a.square() - 1.0) * (b.square() - 1.0)).mean()) < 2.0 * error


def test_seeds_are_uncorrelated():
    a, b = (noise(seed, steps=50, beads=500) for seed in (1, 2))
    assert abs((a * b).mean()) < 5.0 / math.sqrt(a.numel())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_replica_draws_the_same_alone_and_in_any_batch(dtype):
    batch = noise(replicas=range(10), steps=4, beads=20, dtype=dtype)
    assert torch.equal(batch[:, [7]], noise(replicas=[7], steps=4, beads=20, dtype=dtype))
    assert torch.equal(batch[:, [7, 2]], noise(replicas=[7, 2], steps=4, beads=20, dtype=dtype))


def test_a_step_is_the_same_in_any_block():
    together = noise(replicas=[0, 1], first_step=3, steps=9)
    for step in range(9):
        assert torch.equal(together[step], noise(replicas=[0, 1], first_step=3 + step)[0])


def test_a_bead_is_the_same_in_any_molecule():
    assert torch.equal(noise(beads=50)[:, :, :10], noise(beads=10))


def test_both_dtypes_are_made_from_the_same_bits():
    exact = noise(replicas=range(4), steps=20, beads=200)
    rounded = noise(replicas=range(4), steps=20, beads=200, dtype=torch.float32)
    assert rounded.dtype == torch.float32
    difference = (rounded.double() - exact).abs()
    assert difference.max() < 1e-3  # where u rounds near 1 the radius loses digits
    assert difference.median() < 1e-6


def test_steps_beyond_32_bits():
    edge = 1 << 32
    across = noise(first_step=edge - 2, steps=4)
    for slot in range(4):
        assert torch.equal(across[slot], noise(first_step=edge - 2 + slot)[0])
    assert not torch.equal(across[2], noise(first_step=0)[0])
    assert len({noise(first_step=step).sum().item() for step in (0, edge, 2 * edge, 1 << 62)}) == 4


def test_the_counter_is_bead_replica_step(monkeypatch):
    seen = {}

    def spy(counter, key):
        seen["counter"], seen["key"] = torch.broadcast_tensors(*counter), key
        return philox(counter, key)

    monkeypatch.setattr(reference, "philox", spy)
    noise(seed=(9 << 32) + 4, replicas=[6], first_step=(3 << 32) + 2, beads=2)
    assert [c.flatten().tolist() for c in seen["counter"]] == [[0, 1], [6, 6], [2, 2], [3, 3]]
    assert seen["key"] == (4, 9)


def test_all_64_bits_of_a_seed_count():
    seeds = [0, 1, 1 << 31, 1 << 32, 1 << 63, (1 << 64) - 1]
    numbers = [noise(seed) for seed in seeds]
    assert all(n.isfinite().all() for n in numbers)
    assert len({n.sum().item() for n in numbers}) == len(seeds)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("word", [0, ALL_ONES])
def test_extreme_words_give_finite_numbers(monkeypatch, word, dtype):
    monkeypatch.setattr(reference, "philox", lambda counter, key: [torch.tensor(word)] * 4)
    numbers = noise(dtype=dtype)
    assert numbers.isfinite().all()
    assert np.abs(numbers.numpy()).max() < 7.0
