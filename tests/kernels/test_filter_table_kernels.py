"""Sums over tiles of pairs with filters from a table, against the definition in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from flashschnet_kernels.filter_table.pack import pack_table
from flashschnet_kernels.neighbors.reference import pairs_within
from tests.kernels.cases import CASES, CUTOFF, KINDS, Case, case_from, poisoned, scattered
from tests.kernels.tables import by_definition, sizes_of_terms, table_of
from tests.kernels.tolerances import SIXTEEN_BIT, assert_as_exact_as_eager, assert_within

pytest.importorskip("triton")

FORMS = ("cubic", "compact")


@pytest.fixture
def operator(triton_device):
    from flashschnet_kernels.filter_table import triton

    return triton


def whole(case: Case) -> Case:
    """Return the case with all pairs within the cutoff: tiles cannot leave one out."""
    if not case.beads:
        return case
    pairs = pairs_within(case.positions, case.molecule_sizes, CUTOFF)
    return replace(case, pairs=pairs)


def tiles_of(case: Case, device: torch.device):
    from flashschnet_kernels.neighbors.tiles import TileSearch

    search = TileSearch(case.molecule_sizes, CUTOFF, device)
    return search(case.coordinates(torch.float32, device))


def by_kernel(
    operator, case: Case, table, block: int, device: torch.device, halves: bool = False
) -> tuple[Tensor, ...]:
    tiles = tiles_of(case, device)
    x = case.coordinates(torch.float32, device).requires_grad_()
    h = case.random(case.beads, torch.float32, device, seed=1).requires_grad_()
    packed = pack_table(table.to(device), halves=halves)
    s = operator.convolution_coordinates(x, tiles, packed.knots)
    messages = operator.pass_messages(h, s, tiles, packed, block)
    g = case.random(case.beads, torch.float32, device, seed=2)
    return messages.detach(), *torch.autograd.grad(messages, (h, x), g)


def check(case: Case, table, block: int, found: tuple[Tensor, ...]) -> None:
    exact = by_definition(case, table, torch.float64, block)
    eager = by_definition(case, table, torch.float32, block)
    scales = sizes_of_terms(case, table, block)
    for parts in zip((part.cpu() for part in found), eager, exact, scales, strict=True):
        assert_as_exact_as_eager(*parts)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_against_the_definition(operator, triton_device, name, form, kind):
    case = whole(CASES[name])
    table = table_of(case, kind, form)
    with poisoned():
        found = by_kernel(operator, case, table, 1, triton_device)
    check(case, table, 1, found)


@pytest.mark.parametrize("name", CASES)
def test_pieces_in_sixteen_bit(operator, triton_device, name):
    """Against the definition with coefficients that are float16: what is left is arithmetic."""
    case = whole(CASES[name])
    table = table_of(case, form="compact")
    rounded = replace(table, coefficients=table.coefficients.half().float())
    with poisoned():
        found = by_kernel(operator, case, table, 1, triton_device, halves=True)
    exact = by_definition(case, rounded, torch.float64, 1)
    scales = sizes_of_terms(case, rounded, 1)
    for part, wanted, scale in zip(found, exact, scales, strict=True):
        assert_within(part, wanted, SIXTEEN_BIT["float16"] * scale)


def test_which_tables_become_sixteen_bit():
    case = CASES["one pair"]
    compact, cubic = (table_of(case, form=form) for form in ("compact", "cubic"))

    def words(table, factor: float = 1.0) -> tuple[torch.dtype, int]:
        scaled = replace(table, coefficients=table.coefficients * factor)
        packed = pack_table(scaled, halves=True).words
        return packed.dtype, packed.shape[3]

    assert words(compact) == (torch.float16, 3)
    assert words(compact, 1e6) == words(compact, 1e-6) == (torch.float32, 2)
    assert words(cubic) == (torch.float32, 3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stretch", [0.0, 5.0 / CUTOFF])
@pytest.mark.parametrize("pieces", [1, 600])
def test_every_kind_of_table(operator, triton_device, form, stretch, pieces):
    case = whole(replace(case_from(scattered(20, 9.0, seed=6), (13, 7)), channels=40))
    table = table_of(case, form=form, stretch=stretch, pieces=pieces)
    check(case, table, 0, by_kernel(operator, case, table, 0, triton_device))


def test_slopes_of_blocks_add_up(operator, triton_device):
    case = whole(replace(case_from(scattered(20, 9.0, seed=6), (13, 7)), channels=32))
    table = table_of(case)
    tiles = tiles_of(case, triton_device)
    packed = pack_table(table.to(triton_device))
    x = case.coordinates(torch.float32, triton_device)
    h, g = (case.random(case.beads, torch.float32, triton_device, seed=s) for s in (1, 2))
    s = operator.tile_pairs.coordinates(x, tiles, packed.knots)

    def slopes(block: int, into: Tensor | None = None) -> Tensor:
        result = torch.zeros(1, *s.shape, device=s.device) if into is None else into.clone()
        operator.launch_backward(h, g, s, tiles, packed, block, result, None, add=into is not None)
        return result

    together = slopes(1, into=slopes(0))
    assert_within(together, (slopes(0).double() + slopes(1).double()).cpu(), 1e-5)
    assert together.abs().max() > 0.1


def test_same_bits_every_run(operator, triton_device):
    case = whole(case_from(scattered(30, 9.0, seed=3), (18, 12)))
    table = table_of(case)
    first = by_kernel(operator, case, table, 1, triton_device)
    for a, b in zip(first, by_kernel(operator, case, table, 1, triton_device), strict=True):
        assert torch.equal(a, b)


def test_coincident_beads_are_not_hidden(operator, triton_device):
    positions = scattered(9, 6.0, seed=2)
    positions[5] = positions[2]
    case = whole(case_from(positions))
    messages, _, forces = by_kernel(operator, case, table_of(case), 0, triton_device)
    assert messages.isfinite().all()
    assert not forces[2].isfinite().all()
    assert not forces[5].isfinite().all()


def test_second_order_is_refused(operator, triton_device):
    case = whole(case_from(scattered(6, 4.0, seed=2)))
    tiles = tiles_of(case, triton_device)
    x = case.coordinates(torch.float32, triton_device).requires_grad_()
    packed = pack_table(table_of(case).to(triton_device))
    h = case.random(case.beads, torch.float32, triton_device)
    s = operator.convolution_coordinates(x, tiles, packed.knots)
    energy = operator.pass_messages(h, s, tiles, packed, 0).sum()
    with pytest.raises(RuntimeError):
        torch.autograd.grad(energy, x, create_graph=True)[0].sum().backward()


def test_what_it_cannot_do_is_refused(operator, triton_device):
    case = whole(case_from(scattered(6, 4.0, seed=2)))
    tiles = tiles_of(case, triton_device)
    packed = pack_table(table_of(case).to(triton_device))
    x = case.coordinates(torch.float32, triton_device)
    s = operator.convolution_coordinates(x, tiles, packed.knots)
    for features in (
        case.random(case.beads, torch.float64, triton_device),
        case.random(case.beads, torch.float32, triton_device)[:, :3],
    ):
        with pytest.raises(ValueError, match="float32 with 16 channels"):
            operator.pass_messages(features, s, tiles, packed, 0)


def test_beyond_the_cutoff_is_the_piece_that_is_zero(operator, triton_device):
    case = case_from(torch.tensor([[0.0, 0, 0], [CUTOFF - 1e-3, 0, 0], [0, CUTOFF, 0]]).double())
    tiles = tiles_of(case, triton_device)
    knots = table_of(case).knots
    x = case.coordinates(torch.float32, triton_device)
    s = operator.tile_pairs.coordinates(x, tiles, knots)[0, 0].cpu()
    assert s[0, 1] <= knots.pieces - 0.5
    assert s[0, 2] == s[1, 0] == s[0, 0] == s[7, 7] == knots.pieces
