"""The fused convolution on GPU (or in Triton's interpreter) and CPU, against the reference."""

from __future__ import annotations

import math
from dataclasses import replace

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


def filters_of(network: FilterNetwork, rbf: Tensor, envelope: Tensor) -> Tensor:
    """Return W(r_ij) [pairs, channels], as the definition has it."""
    hidden = torch.tanh(rbf @ network.first_weight.T + network.first_bias)
    last = hidden @ network.second_weight.T
    return envelope[:, None] * (last if network.second_bias is None else last + network.second_bias)


def inputs_of(case: Case, dtype: torch.dtype, device=CPU) -> tuple[Tensor, Tensor, Tensor]:
    """Return positions, features and the gradient of the messages."""
    x = case.coordinates(dtype, device).detach().requires_grad_()
    h = case.random(case.beads, dtype, device).requires_grad_()
    return x, h, case.random(case.beads, dtype, device, seed=1)


def gradients(m: Tensor, h: Tensor, x: Tensor, g: Tensor) -> list[Tensor]:
    return [m.detach(), *torch.autograd.grad(m, (h, x), g)]


def by_reference(case: Case, kind: str, dtype: torch.dtype, network=None) -> list[Tensor]:
    """Return messages and gradients to features and positions, in plain PyTorch."""
    x, h, g = inputs_of(case, dtype)
    network = network or case.filter_network(kind, dtype)
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
    network = network or case.filter_network(kind, torch.float32, device)
    tiles = TileSearch(case.molecule_sizes, CUTOFF, device)(x)
    pairs = measure_tiles(x, tiles, CUTOFF, case.lower, atomic=atomic)
    m = module.pass_messages(h, pairs, pack(network, precision), atomic=atomic)
    return gradients(m, h, x, g)


def by_blocks(case: Case, kind: str, dtype: torch.dtype) -> list[Tensor]:
    """Return the same of the implementation for a CPU."""
    from flashschnet_kernels.message_passing import cpu

    x, h, g = inputs_of(case, dtype)
    pairs = cpu.measure_pairs(x, case.view(case.pairs), CUTOFF, case.lower)
    return gradients(cpu.pass_messages(h, pairs, case.filter_network(kind, dtype)), h, x, g)


def sizes_of_terms(case: Case, kind: str) -> list[tuple[float, float]]:
    """Return the largest sum of absolute terms in messages and in both gradients.

    Once as they are, and once as they were if all activations of the second layer were 1.
    """
    x, h, g = (t.detach() for t in inputs_of(case, torch.float64))
    network, (i, j) = case.filter_network(kind, torch.float64), case.pairs

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
    if network.second_bias is not None:
        of_ones = of_ones + network.second_bias.abs()
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


@pytest.mark.parametrize("name", ["no beads", "lonely molecules", "non-contiguous", "lower cutoff"])
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


@pytest.fixture(params=["triton", "cpu"])
def fused(request):
    """A function from case and basis to messages and gradients, in float32."""
    if request.param == "cpu":
        return lambda case, kind: by_blocks(case, kind, torch.float32)
    kernels = (
        loaded("message_passing", "triton", request),
        request.getfixturevalue("triton_device"),
    )
    return lambda case, kind: by_triton(kernels, whole(case), kind, "float32")


# Points of a lattice of 2.5 angstrom: many distances are 15 angstrom to the last bit.
lattice = st.lists(st.tuples(*[st.integers(0, 8)] * 3), unique=True, min_size=1, max_size=12).map(
    lambda points: 2.5 * torch.tensor(points, dtype=torch.float64)
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    positions=lattice,
    spread=st.sampled_from([0.5, 1.0, 4.0]),
    functions=st.integers(2, 18),
    channels=st.integers(1, 18),
    kind=st.sampled_from(KINDS),
)
def test_any_size_and_density(fused, positions, spread, functions, channels, kind):
    case = replace(case_from(positions * spread), functions=functions, channels=channels)
    case = whole(case)
    exact, eager = (by_reference(case, kind, d) for d in (torch.float64, torch.float32))
    sizes = sizes_of_terms(case, kind)
    for mine, theirs, true, (size, of_ones) in zip(
        fused(case, kind), eager, exact, sizes, strict=True
    ):
        assert_as_exact_as_eager(mine, theirs, true, max(size, SPLIT_HALVES * of_ones))


def test_one_program_does_all_tiles_of_a_row_block(triton_kernels, monkeypatch):
    monkeypatch.setattr(triton_kernels[0], "PROGRAMS", 1)
    for precision in ("float32", "float16"):
        check_triton(triton_kernels, ALL_CASES["odd sizes"], "exp_normal", precision)


def test_weights_read_again_where_shared_memory_is_small(triton_kernels, monkeypatch):
    module, _ = triton_kernels
    monkeypatch.setattr(module, "_variant_of", lambda precision, device: module.SMALL)
    for name in ("odd sizes", "two row blocks"):
        check_triton(triton_kernels, ALL_CASES[name], "exp_normal", "float32")


@pytest.mark.filterwarnings("ignore:overflow encountered in exp2")  # tanh is 1 there
def test_weights_of_any_size(triton_kernels):
    case = whole(ALL_CASES["odd sizes"])
    size = 10.0 ** torch.linspace(-8.0, 8.0, case.channels)
    size[3] = 0.0

    def network(dtype, device):
        usual = case.filter_network("gaussian", torch.float32)
        second = (usual.second_weight * size[:, None]).to(device, dtype)
        first = (usual.first_weight * size.clamp(0.0, 100.0)[:, None]).to(device, dtype)
        basis = case.basis("gaussian", dtype, device)
        return FilterNetwork(first, usual.first_bias.to(device, dtype), second, basis)

    true = by_reference(case, "gaussian", torch.float64, network(torch.float64, CPU))[:2]
    for precision, allowed in (("float32", 3e-6), *SIXTEEN_BIT.items()):
        weights = network(torch.float32, triton_kernels[1])
        found = by_triton(triton_kernels, case, "gaussian", precision, network=weights)[:2]
        for mine, exact in zip(found, true, strict=True):  # every channel has its own scale
            rows = zip(mine.cpu().T, exact.T, strict=True)
            for channel, row in rows:
                assert_within(channel, row, 4.0 * allowed * row.abs().max().item())


def test_same_bits_every_run(fused):
    first, second = (fused(ALL_CASES["hub"], "exp_normal") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_molecule_alone_and_in_a_batch(fused, request, monkeypatch):
    """The same bits if as many programs share a row block, and up to float32 rounding if not."""
    one = case_from(scattered(20, 9.0, seed=4))
    batch = case_from(one.positions.repeat(3, 1), (20, 20, 20))
    alone, many = fused(one, "exp_normal"), [m[:20] for m in fused(batch, "exp_normal")]
    assert all(torch.equal(a, b) for a, b in zip(alone, many, strict=True))
    if "triton" in request.node.name:
        monkeypatch.setattr(request.getfixturevalue("triton_kernels")[0], "PROGRAMS", 1)
        for other, mine in zip(fused(one, "exp_normal"), alone, strict=True):
            scale = mine.abs().max().item()
            torch.testing.assert_close(other, mine, rtol=0.0, atol=1e-6 * scale)
        assert torch.equal(fused(one, "exp_normal")[2], alone[2])  # forces are the same even then


class Watch(TorchDispatchMode):
    """Notes what operations make and what autograd keeps: shapes, and bytes of the largest."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Tensor] = []
        self.kept: list[Tensor] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: D105
        result = func(*args, **(kwargs or {}))
        self.made += [_stand_in(t) for t in tree_leaves(result) if isinstance(t, Tensor)]
        return result

    def keep(self, tensor: Tensor) -> Tensor:
        self.kept.append(_stand_in(tensor))
        return tensor


def _stand_in(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def largest(tensors: list[Tensor]) -> int:
    return max(tensor.nbytes for tensor in tensors)


def watched(run) -> Watch:
    watch = Watch()
    with watch, torch.autograd.graph.saved_tensors_hooks(watch.keep, lambda tensor: tensor):
        run()
    assert watch.made and watch.kept
    return watch


def test_nothing_per_pair_and_channel_exists_on_a_cpu():
    from flashschnet_kernels.message_passing import cpu

    case = replace(case_from(scattered(100, 7.0, seed=6)), channels=32, functions=8)
    pairs, channels = case.pairs.shape[1], case.channels
    assert pairs > 4 * cpu.PAIRS_PER_BLOCK
    watch = watched(lambda: by_blocks(case, "exp_normal", torch.float32))
    allowed = max(2 * 8 * pairs, 4 * cpu.PAIRS_PER_BLOCK * channels)  # the pairs are int64
    assert largest(watch.made) <= allowed < 4 * pairs * channels
    assert largest(watch.kept) <= 2 * 8 * pairs
    eager = watched(lambda: by_reference(case, "exp_normal", torch.float32))
    assert largest(eager.made) == largest(eager.kept) == 4 * pairs * channels


@pytest.mark.parametrize("atomic", [False, True])
def test_nothing_per_pair_and_channel_exists_in_tiles(triton_kernels, atomic):
    from flashschnet_kernels.neighbors.tiles import COLUMNS, ROWS, lay_out

    case = replace(case_from(scattered(32, 6.0, seed=6)), channels=32, functions=16)
    pairs, channels, layout = case.pairs.shape[1], case.channels, lay_out((32,), CPU)
    tiles = layout.row_blocks * layout.candidates
    watch = watched(lambda: by_triton(triton_kernels, case, "gaussian", "float32", atomic))
    # Distances are per pair; sums are per channel and column of a tile, one for eight pairs.
    distances, weights = 4 * tiles * ROWS * COLUMNS, 4 * channels * channels
    features, sums = 4 * case.beads * channels, 4 * tiles * COLUMNS * channels
    allowed = max(distances, weights, features, 0 if atomic else sums)
    assert largest(watch.made) <= allowed < 4 * pairs * channels
    assert largest(watch.kept) <= max(distances, features)


def test_only_the_wanted_gradients(triton_kernels):
    """Features of the first block do not depend on the positions; and the reverse."""
    from flashschnet_kernels.message_passing.tile_geometry import measure_tiles
    from flashschnet_kernels.neighbors.tiles import TileSearch

    module, device = triton_kernels
    case = whole(ALL_CASES["odd sizes"])
    _, to_features, to_positions = by_triton(triton_kernels, case, "gaussian", "float32")
    packed = pack(case.filter_network("gaussian", torch.float32, device), "float32")
    for wanted, expected in (("positions", to_positions), ("features", to_features)):
        x, h, g = inputs_of(case, torch.float32, device)
        x.requires_grad_(wanted == "positions")
        h.requires_grad_(wanted == "features")
        tiles = TileSearch(case.molecule_sizes, CUTOFF, device)(x)
        m = module.pass_messages(h, measure_tiles(x, tiles, CUTOFF), packed)
        (found,) = torch.autograd.grad(m, x if wanted == "positions" else h, g)
        assert torch.equal(found, expected)


def test_gradients_with_stride_zero(triton_kernels):
    from flashschnet_kernels.message_passing import cpu
    from flashschnet_kernels.message_passing.tile_geometry import measure_tiles
    from flashschnet_kernels.neighbors.tiles import TileSearch

    module, device = triton_kernels
    case = whole(ALL_CASES["all in range"])
    x, h, _ = inputs_of(case, torch.float32, device)
    network = case.filter_network("gaussian", torch.float32, device)
    tiles = TileSearch(case.molecule_sizes, CUTOFF, device)(x)
    pairs = measure_tiles(x, tiles, CUTOFF)
    m = module.pass_messages(h, pairs, pack(network, "float32"))
    found = [t.cpu() for t in torch.autograd.grad(m.sum(), (h, x))]
    y, k, _ = inputs_of(case, torch.float32)
    listed = cpu.measure_pairs(y, case.pairs, CUTOFF)
    m = cpu.pass_messages(k, listed, case.filter_network("gaussian", torch.float32))
    for mine, other in zip(found, torch.autograd.grad(m.sum(), (k, y)), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter's division
def test_coincident_beads_are_not_hidden(triton_kernels):
    """Two beads at one place have no direction: what a simulation's guards see is not a number."""
    case = replace(whole(ALL_CASES["one pair"]), positions=torch.zeros(2, 3, dtype=torch.float64))
    messages, to_features, to_positions = by_triton(triton_kernels, case, "gaussian", "float32")
    assert messages.isfinite().all() and to_features.isfinite().all()
    assert to_positions.isnan().all()


def test_second_order_is_refused(triton_kernels):
    from flashschnet_kernels.message_passing import cpu
    from flashschnet_kernels.message_passing.tile_geometry import measure_tiles
    from flashschnet_kernels.neighbors.tiles import TileSearch

    module, device = triton_kernels
    case = ALL_CASES["one pair"]
    x, h, g = inputs_of(case, torch.float32, device)
    network = case.filter_network("gaussian", torch.float32, device)
    pairs = measure_tiles(x, TileSearch((2,), CUTOFF, device)(x), CUTOFF)
    y, k, f = inputs_of(case, torch.float32)
    listed = cpu.measure_pairs(y, case.pairs, CUTOFF)
    on_cpu = cpu.pass_messages(k, listed, case.filter_network("gaussian", torch.float32))
    for m, wanted, weight in (
        (module.pass_messages(h, pairs, pack(network, "float32")), h, g),
        (pairs.r_ij, x, torch.ones_like(pairs.r_ij)),
        (on_cpu, k, f),
    ):
        with pytest.raises(RuntimeError, match="first derivatives only"):
            torch.autograd.grad(m, wanted, weight, create_graph=True)


@pytest.mark.parametrize(
    "trained", ["first_weight", "first_bias", "second_weight", "second_bias", "centres"]
)
def test_weights_that_want_a_gradient_are_refused(trained):
    from flashschnet_kernels.message_passing import cpu

    case = replace(ALL_CASES["one pair"], biased=True)
    x, h, _ = inputs_of(case, torch.float32)
    network = case.filter_network("gaussian", torch.float32)
    if trained == "centres":
        centres = network.basis.centres.clone().requires_grad_()
        network = replace(network, basis=replace(network.basis, centres=centres))
    else:
        network = replace(network, **{trained: getattr(network, trained).clone().requires_grad_()})
    listed = cpu.measure_pairs(x, case.pairs, CUTOFF)
    with pytest.raises(RuntimeError, match="train with the plan 'reference'"):
        cpu.pass_messages(h, listed, network)
    with pytest.raises(RuntimeError, match="train with the plan 'reference'"):
        pack(network, "float32")
    with torch.no_grad():  # nobody wants it here
        assert cpu.pass_messages(h, listed, network).isfinite().all()
        assert pack(network, "float16").channels == case.channels


def test_what_it_cannot_do_is_refused(triton_kernels):
    from flashschnet_kernels.message_passing.tile_geometry import measure_tiles
    from flashschnet_kernels.neighbors.tiles import TileSearch

    module, device = triton_kernels
    case = ALL_CASES["one pair"]
    x, h, _ = inputs_of(case, torch.float32, device)
    network = case.filter_network("gaussian", torch.float32, device)
    tiles = TileSearch((2,), CUTOFF, device)(x)
    pairs = measure_tiles(x, tiles, CUTOFF)
    with pytest.raises(ValueError, match="precision 'int8' is unknown; known: float32, float16"):
        pack(network, "int8")
    packed = pack(network, "float32")
    for features, at in ((h.double(), pairs), (h, measure_tiles(x.double(), tiles, CUTOFF))):
        with pytest.raises(ValueError, match="works in float32.*'reference' for float64"):
            module.pass_messages(features, at, packed)
    for precision, most in (("float32", 128), ("float16", 256)):
        wide = replace(case, channels=most + 1)
        packed = pack(wide.filter_network("gaussian", torch.float32, device), precision)
        with pytest.raises(ValueError, match=f"{most + 1} channels do not fit; at most {most}"):
            module.pass_messages(wide.random(2, torch.float32, device), pairs, packed)
