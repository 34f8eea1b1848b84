"""The continuous-filter convolution, against a dense double loop over all beads."""

from __future__ import annotations

import pytest
import torch

from flashschnet_kernels.message_passing import IMPLEMENTATIONS

CHANNELS = 5
CASES = {  # beads, unordered pairs
    "no pairs": (4, []),
    "one pair": (4, [(1, 3)]),
    "hub": (9, [(4, j) for j in range(9) if j != 4]),
    "all": (7, [(i, j) for i in range(7) for j in range(i + 1, 7)]),
    "one bead": (1, []),
    "two molecules": (6, [(0, 1), (1, 2), (3, 4), (3, 5), (4, 5)]),
}


@pytest.fixture(params=IMPLEMENTATIONS)
def pass_messages(request):
    """Every implementation as a function of features, one filter per pair, and pairs."""
    implementation = IMPLEMENTATIONS[request.param]

    def convolve(features, filters, pairs):
        links = implementation.links(pairs)
        rows = torch.cat([filters] * (links.shape[1] // max(1, pairs.shape[1]) or 1))
        return implementation.pass_messages(features, rows, links)

    return convolve


def case(name: str, dtype: torch.dtype = torch.float64):
    beads, pairs = CASES[name]
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(beads, CHANNELS, generator=generator, dtype=torch.float64)
    filters = torch.randn(len(pairs), CHANNELS, generator=generator, dtype=torch.float64)
    index = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    return features.to(dtype), filters.to(dtype), index


def dense(features: torch.Tensor, filters: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """m_i = sum_j W_ij h_j with W [beads, beads, channels], zero where there is no pair."""
    beads = len(features)
    w = torch.zeros(beads, beads, CHANNELS, dtype=features.dtype)
    for (i, j), row in zip(pairs.T.tolist(), filters, strict=True):
        w[i, j] = w[j, i] = row
    messages = torch.zeros_like(features)
    for i in range(beads):
        for j in range(beads):
            messages[i] += w[i, j] * features[j]
    return messages


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_double_loop(pass_messages, name, dtype):
    inputs = case(name, dtype)
    found = pass_messages(*inputs)
    assert found.dtype == dtype
    torch.testing.assert_close(found, dense(*inputs))


def test_order_and_direction_of_the_pairs_do_not_matter(pass_messages):
    features, filters, pairs = case("all")
    order = torch.randperm(pairs.shape[1], generator=torch.Generator().manual_seed(1))
    turned = pass_messages(features, filters[order], pairs[:, order].flip(0))
    torch.testing.assert_close(turned, pass_messages(features, filters, pairs))


def test_molecules_do_not_hear_each_other(pass_messages):
    features, filters, pairs = case("two molecules")
    changed = features.clone()
    changed[3:] = 0.0
    before, after = (pass_messages(x, filters, pairs) for x in (features, changed))
    assert torch.equal(before[:3], after[:3])
    assert torch.equal(after[3:], torch.zeros(3, CHANNELS, dtype=torch.float64))


def test_non_contiguous_input(pass_messages):
    features, filters, pairs = case("all")
    inputs = (
        features.repeat(1, 2)[:, ::2],
        filters.T.contiguous().T,
        pairs.repeat_interleave(2, dim=1)[:, ::2],
    )
    assert not any(tensor.is_contiguous() for tensor in inputs)
    copies = (tensor.contiguous() for tensor in inputs)
    assert torch.equal(pass_messages(*inputs), pass_messages(*copies))


@pytest.mark.parametrize("name", ["no pairs", "hub", "two molecules"])
def test_first_and_second_gradients(pass_messages, name):
    features, filters, pairs = case(name)
    inputs = (features.requires_grad_(), filters.requires_grad_())
    assert torch.autograd.gradcheck(lambda h, w: pass_messages(h, w, pairs), inputs)
    assert torch.autograd.gradgradcheck(lambda h, w: pass_messages(h, w, pairs), inputs)
