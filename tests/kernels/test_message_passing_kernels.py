"""The fused convolution on GPU (or in Triton's interpreter) and CPU, against the reference."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd.functional import jvp
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flashschnet_kernels.message_passing import reference
from flashschnet_kernels.message_passing.filter_network import FilterNetwork, pack
from flashschnet_kernels.neighbors.reference import pairs_within
from flashschnet_kernels.radial_basis.reference import expand
from tests.kernels.cases import (
    CASES,
    CPU,
    CUTOFF,
    KINDS,
    Case,
    case_from,
    loaded,
    poisoned,
    scattered,
)
from tests.kernels.tolerances import (
    SIXTEEN_BIT,
    SPLIT_HALVES,
    assert_as_exact_as_eager,
    assert_within,
)

PRECISIONS = ("float32", "float16", "bfloat16")
DTYPES = (torch.float32, torch.float64)


def _icosahedron() -> Tensor:
    """A bead with twelve neighbours that do not see each other."""
    golden = (1.0 + math.sqrt(5.0)) / 2.0
    corners = [(0.0, a, b * golden) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
    points = [p[k:] + p[:k] for p in corners for k in range(3)]
    directions = torch.tensor([(0.0, 0.0, 0.0), *points], dtype=torch.float64)
    return (directions * (14.5 / math.hypot(1.0, golden))).float().double()


ALL_CASES = CASES | {
    "lonely molecules": case_from(scattered(9, 5.0, seed=8), (1, 6, 1, 1)),
    "hub that alone sees the others": case_from(_icosahedron()),
    "two row blocks": replace(case_from(scattered(16, 9.0, seed=9)), channels=24, functions=20),
}


@pytest.fixture
def triton_kernels(request):
    """The Triton implementation and the device of its tensors."""
    return loaded("message_passing", "triton", request), request.getfixturevalue("triton_device")


def network_of(case: Case, kind: str, dtype: torch.dtype, device=CPU, seed: int = 7):
    """Return a filter network with random weights, exact in float32."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        weights = torch.randn(shape, generator=generator) / math.sqrt(shape[-1])
        return case.view(weights.to(device, dtype))

    c, f = case.channels, case.functions
    return FilterNetwork(random(c, f), random(c), random(c, c), case.basis(kind, dtype, device))


def filters_of(network: FilterNetwork, rbf: Tensor, envelope: Tensor) -> Tensor:
    """Return W(r_ij) [pairs, channels], as the definition has it."""
    hidden = torch.tanh(rbf @ network.first_weight.T + network.first_bias)
    return envelope[:, None] * (hidden @ network.second_weight.T)


def inputs_of(case: Case, dtype: torch.dtype, device=CPU) -> tuple[Tensor, Tensor, Tensor]:
    """Return positions, features and the gradient of the messages."""
    x = case.coordinates(dtype, device).requires_grad_()
    h = case.random(case.beads, dtype, device).requires_grad_()
    return x, h, case.random(case.beads, dtype, device, seed=1)


def gradients(m: Tensor, h: Tensor, x: Tensor, g: Tensor) -> list[Tensor]:
    return [m.detach(), *torch.autograd.grad(m, (h, x), g)]


def by_reference(case: Case, kind: str, dtype: torch.dtype, network=None) -> list[Tensor]:
    """Return messages and gradients to features and positions, in plain PyTorch."""
    x, h, g = inputs_of(case, dtype)
    network = network or network_of(case, kind, dtype)
    _, rbf, envelope = expand(x, *case.pairs, network.basis)
    return gradients(
        reference.pass_messages(h, filters_of(network, rbf, envelope), case.pairs), h, x, g
    )


def by_triton(triton_kernels, case, kind, precision, atomic=False, network=None) -> list[Tensor]:
    """Return the same of the tiles."""
    from flashschnet_kernels.message_passing.tile_geometry import measure_tiles
    from flashschnet_kernels.neighbors.tiles import TileSearch

    module, device = triton_kernels
    x, h, g = inputs_of(case, torch.float32, device)
    network = network or network_of(case, kind, torch.float32, device)
    tiles = TileSearch(case.molecule_sizes, CUTOFF, device)(x)
    pairs = measure_tiles(x, tiles, CUTOFF, atomic=atomic)
    m = module.pass_messages(h, pairs, pack(network, precision), atomic=atomic)
    return gradients(m, h, x, g)


def by_blocks(case: Case, kind: str, dtype: torch.dtype) -> list[Tensor]:
    """Return the same of the implementation for a CPU."""
    from flashschnet_kernels.message_passing import cpu

    x, h, g = inputs_of(case, dtype)
    pairs = cpu.measure_pairs(x, case.view(case.pairs), CUTOFF)
    return gradients(cpu.pass_messages(h, pairs, network_of(case, kind, dtype)), h, x, g)


def sizes_of_terms(case: Case, kind: str) -> list[tuple[float, float]]:
    """Return the largest sum of absolute terms in messages and in both gradients.

    Once as they are, and once as they were if all activations of the second layer were 1.
    """
    x, h, g = (t.detach() for t in inputs_of(case, torch.float64))
    network, (i, j) = network_of(case, kind, torch.float64), case.pairs

    def filters(r: Tensor) -> Tensor:
        rows = torch.arange(len(r))
        on_a_line = torch.nn.functional.pad(torch.cat((r, 0.0 * r))[:, None], (0, 2))
        _, rbf, envelope = expand(on_a_line, rows + len(r), rows, network.basis)
        return filters_of(network, rbf, envelope)

    def largest(w: Tensor, slope: Tensor) -> list[float]:
        pull = ((g[i] * h[j]).abs() + (g[j] * h[i]).abs()).mul(slope).sum(1, keepdim=True)
        one = torch.ones(case.beads, 1, dtype=torch.float64)
        terms = ((h.abs(), w), (g.abs(), w), (one, pull))
        sums = [reference.pass_messages(*term, case.pairs) for term in terms]
        return [s.max().item() if s.numel() else 0.0 for s in sums]

    r_ij = (x[j] - x[i]).norm(dim=1)
    w, slope = jvp(filters, r_ij, torch.ones_like(r_ij))
    of_ones = network.second_weight.abs().sum(1).expand_as(w)
    return list(zip(largest(w.abs(), slope.abs()), largest(of_ones, of_ones), strict=True))


def whole(case: Case) -> Case:
    """Return the case with all its neighbours, which is what tiles hold."""
    sizes = tuple(size for size in case.molecule_sizes if size)
    return replace(case, pairs=pairs_within(case.positions, sizes, CUTOFF)) if sizes else case


def check_triton(triton_kernels, case, kind, precision, atomic=False):
    case = whole(case)
    exact = by_reference(case, kind, torch.float64)
    eager = by_reference(case, kind, torch.float32)
    with poisoned():
        found = by_triton(triton_kernels, case, kind, precision, atomic)
    sizes = sizes_of_terms(case, kind)
    for mine, theirs, true, (size, of_ones) in zip(found, eager, exact, sizes, strict=True):
        if precision == "float32":
            assert_as_exact_as_eager(mine, theirs, true, max(size, SPLIT_HALVES * of_ones))
        else:
            assert_within(mine, true, SIXTEEN_BIT[precision] * size)


@pytest.mark.parametrize("name", ALL_CASES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_cases_in_tiles(triton_kernels, name, kind, precision):
    check_triton(triton_kernels, ALL_CASES[name], kind, precision)


@pytest.mark.parametrize("name", ["no beads", "lonely molecules", "non-contiguous"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_atomic_adds(triton_kernels, name, precision):
    check_triton(triton_kernels, ALL_CASES[name], "exp_normal", precision, atomic=True)


@pytest.mark.parametrize("name", ALL_CASES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cases_on_a_cpu(name, kind, dtype):
    case = ALL_CASES[name]
    exact, eager = (by_reference(case, kind, d) for d in (torch.float64, dtype))
    with poisoned():
        found = by_blocks(case, kind, dtype)
    sizes = sizes_of_terms(case, kind)
    for mine, theirs, true, (size, _) in zip(found, eager, exact, sizes, strict=True):
        assert_as_exact_as_eager(mine, theirs, true, size)
