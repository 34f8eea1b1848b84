"""Tables of filters: what they hold, where they are exact, and that forces are their derivative."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from flashschnet_kernels.filter_table.knots import Knots
from flashschnet_kernels.filter_table.reference import expand, expand_with_slopes
from flashschnet_kernels.filter_table.table import (
    CODES,
    FORMS,
    FilterTable,
    build_table,
    exact_filters,
    piece_bytes,
)
from flashschnet_kernels.message_passing.filter_network import FilterNetwork
from flashschnet_kernels.radial_basis.parameters import RadialParameters

CUTOFF = 12.0
CHANNELS = 6
KINDS = ("gaussian", "exp_normal")
STRETCHES = (0.0, 3.0 / CUTOFF)
ORDER = {"cubic": 4, "compact": 2}
"""Power of the spacing by which values are wrong; the compact form is held back by rounding too."""


def networks(kind: str, blocks: int = 2) -> list[FilterNetwork]:
    """Return random filter networks over one basis."""
    generator = torch.Generator().manual_seed(3)
    functions = 10

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) / math.sqrt(shape[-1])

    if kind == "gaussian":
        centres = torch.linspace(0.0, CUTOFF, functions)
        basis = RadialParameters(kind, centres, torch.full((functions,), 0.4), 0.0, CUTOFF)
    else:
        centres = torch.linspace(math.exp(-CUTOFF), 1.0, functions)
        basis = RadialParameters(kind, centres, torch.full((functions,), 25.0), 5 / CUTOFF, CUTOFF)
    return [
        FilterNetwork(
            numbers(CHANNELS, functions), numbers(CHANNELS), numbers(CHANNELS, CHANNELS), basis
        )
        for _ in range(blocks)
    ]


def table_of(kind: str, form: str, pieces: int = 300, stretch: float = 0.2) -> FilterTable:
    return build_table(networks(kind), Knots(pieces, stretch, CUTOFF), form)


def worst(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).abs().max() / exact.abs().max())


@pytest.mark.parametrize("stretch", STRETCHES)
def test_pieces_cover_every_distance_and_one_more(stretch):
    knots = Knots(40, stretch, CUTOFF)
    ends = knots.ends()
    assert len(ends) == 41
    assert ends[0] == 0.0 and ends[-1] == CUTOFF
    assert bool((ends.diff() > 0.0).all())
    torch.testing.assert_close(knots.coordinate(ends[:-1]), torch.arange(40.0).double() - 0.5)
    r = torch.tensor([0.0, 1e-9, CUTOFF - 1e-9, CUTOFF, 2 * CUTOFF, 1e6], dtype=torch.float64)
    piece = torch.floor(knots.coordinate(r) + 0.5)
    assert piece.tolist() == [0.0, 0.0, 39.0, 40.0, 40.0, 40.0]
    assert knots.coordinate(r[3:]).tolist() == [40.0] * 3
    between = knots.pieces_between(3.0, CUTOFF)
    assert between == pytest.approx(float((ends >= 3.0).sum()), abs=1.0)
    assert knots.pieces_between(0.0, CUTOFF) == pytest.approx(40.0)


@pytest.mark.parametrize("stretch", STRETCHES)
def test_the_slope_of_the_coordinate(stretch):
    knots = Knots(40, stretch, CUTOFF)
    r = torch.linspace(0.1, CUTOFF - 0.1, 30, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(knots.coordinate(r).sum(), r)
    torch.testing.assert_close(knots.slope(r.detach()), slope)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 0.0, 15.0), "at least one piece, not 0"),
        ((8, 0.0, 0.0), "cutoff of a table must be positive, not 0"),
        ((8, 0.0, float("nan")), "must be positive"),
        ((8, -0.1, 15.0), "stretch of -0.1"),
        ((8, 9.0, 15.0), "stretch of 9.0"),
        ((8, float("nan"), 15.0), "stretch of nan"),
    ],
)
def test_knots_that_make_no_table(numbers, message):
    with pytest.raises(ValueError, match=message):
        Knots(*numbers)


@pytest.mark.parametrize("lower", [3.0, 2.9])
@pytest.mark.parametrize("stretch", [0.0, 1.0 / CUTOFF, 5.0 / CUTOFF])
def test_a_knot_lies_on_a_lower_cutoff(lower, stretch):
    knots = Knots.ending_at(lower, 256, stretch, CUTOFF)
    assert (knots.ends() - lower).abs().min() < 1e-12
    assert abs(knots.stretch - stretch) < 0.05 / CUTOFF
    assert Knots.ending_at(0.0, 256, stretch, CUTOFF) == Knots(256, stretch, CUTOFF)
    assert Knots.ending_at(3.0, 256, 0.0, CUTOFF).stretch == 0.0  # it lies there already


def test_knots_on_a_lower_cutoff_that_make_no_table():
    with pytest.raises(ValueError, match="at least two pieces"):
        Knots.ending_at(3.0, 1, 0.0, CUTOFF)


@pytest.mark.parametrize("stretch", STRETCHES)
@pytest.mark.parametrize("form", FORMS)
def test_a_table_with_a_lower_cutoff(form, stretch):
    """Nothing below it, values and slopes that meet there, and the same order of exactness."""
    lower, errors = 3.0, []
    first = networks("exp_normal")[0]
    basis = replace(first.basis, lower=lower, alpha=5.0 / (CUTOFF - lower))
    network = replace(first, basis=basis, second_bias=torch.linspace(-1.0, 1.0, CHANNELS))
    exact = exact_filters(network)
    r = torch.linspace(0.5, CUTOFF, 4001, dtype=torch.float64)
    for pieces in (128, 256):
        table = build_table([network], Knots.ending_at(lower, pieces, stretch, CUTOFF), form)
        found = expand(r, table, 0)
        near = torch.tensor([lower - 1e-7, lower + 1e-7], dtype=torch.float64)
        values, slopes = expand_with_slopes(near, table, 0)
        assert (values[1] - values[0]).abs().max() < 1e-6
        # Rounding leaves a compact slope 12 bits.
        allowed = 2 * lost_to_codes(table, 0) if form == "cubic" else 1e-3
        assert (slopes[1] - slopes[0]).abs().max() < allowed < 2e-3
        if form == "cubic":
            assert found[r < lower].abs().max() < 1e-15
        errors.append(float((found - exact(r)).abs().max()))
    assert exact(r)[r < lower].count_nonzero() == 0
    assert errors[0] / errors[1] > 0.7 * 2.0 ** ORDER[form]


def lost_to_codes(table, block: int) -> float:
    """Return how far slopes dW/dr at the ends of cubic pieces can be off: codes take 12 bits.

    There dW/ds = rise + c3 / 2 +- c2, where c3 is a multiple of the unit and c2 has 11 bits left.
    """
    c2 = table.coefficients[block, :, 2].abs().max()
    steepest = table.knots.slope(torch.zeros(1, dtype=torch.float64))
    return float((table.unit[block] / 4 + c2 * 2**-12 + 1e-6) * steepest)


@pytest.mark.parametrize("stretch", STRETCHES)
@pytest.mark.parametrize("kind", KINDS)
def test_cubic_pieces_are_exact_at_their_ends(kind, stretch):
    """Values to the rounding of float32, slopes to that of the two coefficients with codes."""
    table = table_of(kind, "cubic", 64, stretch)
    ends = table.knots.ends()[:-1]
    for block, network in enumerate(networks(kind)):
        values, slopes = expand_with_slopes(ends, table, block)
        filters = exact_filters(network)
        exact, exact_slopes = torch.func.jvp(filters, (ends,), (torch.ones_like(ends),))
        assert worst(values, exact) < 1e-6  # coefficients are float32
        assert (slopes - exact_slopes).abs().max() < lost_to_codes(table, block)
        assert worst(slopes, exact_slopes) < 2e-4


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_twice_the_pieces_are_as_much_better_as_the_order_says(kind, form):
    r = torch.linspace(0.0, CUTOFF, 1001, dtype=torch.float64)
    errors = []
    for pieces in (50, 100):
        table = table_of(kind, form, pieces)
        exact = exact_filters(networks(kind)[1])(r)
        errors.append(worst(expand(r, table, 1), exact))
    assert errors[1] < 1.5 * errors[0] / 2 ** ORDER[form]
    assert errors[1] < 5e-3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_pieces_hold_the_filter_down_to_zero(kind, form):
    """No pair is that close, but one that clashes must be pushed, not sent anywhere."""
    r = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)
    table = table_of(kind, form, 600)
    for block, network in enumerate(networks(kind)):
        exact = exact_filters(network)(r)
        assert worst(expand(r, table, block), exact) < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", FORMS)
def test_nothing_beyond_the_cutoff(form, dtype):
    r = torch.tensor([CUTOFF, CUTOFF + 1e-3, 2 * CUTOFF, 1e6], dtype=dtype, requires_grad=True)
    filters, slopes = expand_with_slopes(r, table_of("exp_normal", form), 0)
    assert filters.dtype == dtype
    assert not filters.any() and not slopes.any()
    (gradient,) = torch.autograd.grad(expand(r, table_of("exp_normal", form), 0).sum(), r)
    assert not gradient.any()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_pieces_meet(kind, form):
    """Value at the end of one piece and the begin of the next, to the rounding of coefficients.

    The compact form does so to the rounding of c0; its slopes to that of 12 bits for c2.
    """
    table = table_of(kind, form)
    c = table.coefficients.double()[:, :-1]  # [blocks, pieces, orders, channels]
    half = torch.tensor([0.5**order for order in range(c.shape[2])], dtype=torch.float64)
    right = (c * half[:, None]).sum(2)
    left = (c * (half * torch.tensor([1.0, -1.0, 1.0, -1.0])[: len(half)])[:, None]).sum(2)
    largest = float(c[:, :, 0].abs().max())
    jump = (right[:, :-1] - left[:, 1:]).abs().max()
    assert float(jump) < 2e-7 * largest
    assert float(right[:, -1].abs().max()) < 2e-7 * largest  # zero follows


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_slopes_are_the_derivative_of_the_filters(kind, form):
    table = table_of(kind, form)
    generator = torch.Generator().manual_seed(1)
    r = torch.rand(200, generator=generator, dtype=torch.float64) * CUTOFF
    s = table.knots.coordinate(r)
    r = r[(s - s.round()).abs() < 0.49].requires_grad_()  # a finite step stays within its piece
    filters, slopes = expand_with_slopes(r.detach(), table, 1)
    assert torch.equal(filters, expand(r.detach(), table, 1))
    step = 1e-5
    finite = (expand(r + step, table, 1) - expand(r - step, table, 1)) / (2 * step)
    scale = float(slopes.abs().max())
    torch.testing.assert_close(slopes, finite, rtol=0.0, atol=1e-8 * scale)
    (gradient,) = torch.autograd.grad(expand(r, table, 1).sum(), r)
    torch.testing.assert_close(slopes.sum(1), gradient, rtol=0.0, atol=1e-12 * scale)


@pytest.mark.parametrize("form", FORMS)
def test_a_piece_fits_in_a_word_less_than_it_has_coefficients(form):
    """The last one is a multiple of the block's unit; its code is in the lowest bits before it."""
    table = table_of("exp_normal", form)
    before, last = table.coefficients[:, :-1, -2], table.coefficients[:, :-1, -1]
    code = before.contiguous().view(torch.int32) & (CODES - 1)
    unit = torch.tensor(table.unit)[:, None, None]
    torch.testing.assert_close(last, (code - CODES // 2) * unit, rtol=1e-6, atol=0.0)
    assert piece_bytes(form) == 4 * (table.coefficients.shape[2] - 1)


def test_tables_hold_what_their_shape_says():
    table = table_of("gaussian", "cubic", 20)
    assert table.coefficients.shape == (2, 21, 4, CHANNELS)
    assert table.coefficients.dtype == torch.float32
    assert (table.blocks, table.channels) == (2, CHANNELS)
    assert not table.coefficients[:, -1].any()
    assert torch.equal(table.to(torch.device("cpu")).coefficients, table.coefficients)


def test_what_is_refused():
    with pytest.raises(ValueError, match="cubic or compact, not 'linear'"):
        table_of("gaussian", "linear")
    with pytest.raises(ValueError, match="knots end at 9.0 A, the network's cutoff is 12.0"):
        build_table(networks("gaussian"), Knots(8, 0.0, 9.0), "cubic")
    table = table_of("gaussian", "cubic", 8)
    for block in (-1, 2):
        with pytest.raises(ValueError, match=f"2 blocks; there is no block {block}"):
            expand(torch.ones(1), table, block)
