"""Tables of filters: every filter network of a model as piecewise polynomials of the distance.

A filter W_c(r) C(r) is a function of one number, so a network that computes it anew for every pair
of every step does the same work over and over. A table of it, envelope included, needs a few
numbers per piece and channel. The force is the derivative of the very polynomial that gives the
energy, and neighbouring pieces meet, so a simulation conserves energy as with the network.

Two forms, both in t = s - k, from -1/2 to 1/2 within piece k:

    cubic    W = c0 + t (c1 + t (c2 + t c3)): value exact at both ends, and slope nearly
    compact  W = c0 + t (c1 + t c2): slope nearly exact at both ends

The last coefficient is one of 4096 numbers, and its code takes the lowest 12 bits of the one before
it: a piece is three words, or two, and a quarter or a third less is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flashschnet_kernels.filter_table.knots import Knots
from flashschnet_kernels.message_passing.filter_network import FilterNetwork
from flashschnet_kernels.radial_basis.reference import filter_envelope, radial_basis

FORMS = {"cubic": 4, "compact": 3}
"""Name to coefficients of a piece."""
WORDS = {"cubic": 3, "compact": 2}
"""Name to words of 32 bits that a kernel reads for a piece and channel."""
CODES = 1 << 12
"""Values that the last coefficient takes; as many of the lowest bits of the one before are its
code."""
_FEEDBACK = 0.25


@dataclass(frozen=True)
class FilterTable:
    """The filters of all blocks of a network as polynomials of the coordinate of `knots`.

    Attributes:
        knots: where the pieces lie.
        form: a key of `FORMS`.
        coefficients: [blocks, pieces + 1, 4 or 3, channels] float32, c0 first; the last piece is
            zero.
        unit: per block, the spacing of the last coefficient (c3 of the cubic form, c2 of the
            compact one): it is unit (code - 2048), and the lowest 12 bits of the coefficient before
            it are the code.
    """

    knots: Knots
    form: str
    coefficients: Tensor
    unit: tuple[float, ...]

    @property
    def blocks(self) -> int:
        """Number of interaction blocks."""
        return self.coefficients.shape[0]

    @property
    def channels(self) -> int:
        """Width of the filters."""
        return self.coefficients.shape[3]

    def to(self, device: torch.device) -> FilterTable:
        """Return the table on a device."""
        return replace(self, coefficients=self.coefficients.to(device))


def build_table(networks: Sequence[FilterNetwork], knots: Knots, form: str) -> FilterTable:
    """Return the table of some filter networks.

    Args:
        networks: of all blocks, over one radial basis; evaluated in float64, where they are.
        knots: where the pieces lie; their cutoff is that of the basis.
        form: a key of `FORMS`.

    Raises:
        ValueError: an unknown form, or a cutoff that is not the networks'.
    """
    if form not in FORMS:
        raise ValueError(f"a table has the form {' or '.join(FORMS)}, not {form!r}")
    for network in networks:
        if network.basis.cutoff != knots.cutoff:
            raise ValueError(
                f"the knots end at {knots.cutoff} A, the network's cutoff is {network.basis.cutoff}"
            )
    ends = [_ends(network, knots) for network in networks]
    values, slopes = (torch.stack(column) for column in zip(*ends, strict=True))
    pieces, unit = (_cubic if form == "cubic" else _compact)(values, slopes)
    beyond = torch.zeros_like(pieces[:, :1])
    coefficients = torch.cat([pieces, beyond], dim=1).float().contiguous()
    return FilterTable(knots, form, coefficients, tuple(unit.tolist()))


def piece_bytes(form: str) -> int:
    """Return the bytes that a kernel reads for one piece and channel."""
    return 4 * WORDS[form]


def exact_filters(network: FilterNetwork) -> Callable[[Tensor], Tensor]:
    """Return the function from distances [pairs] to filters [pairs, channels], in float64."""
    first, bias, second, centres, widths = (
        t.detach().double()
        for t in (
            network.first_weight,
            network.first_bias,
            network.second_weight,
            network.basis.centres,
            network.basis.widths,
        )
    )
    last = network.second_bias
    added = torch.zeros_like(second[:, 0]) if last is None else last.detach().double()
    basis = replace(network.basis, centres=centres, widths=widths)

    def filters(r_ij: Tensor) -> Tensor:
        hidden = torch.tanh(radial_basis(r_ij, basis) @ first.T + bias)
        envelope = filter_envelope(r_ij, basis.lower, basis.cutoff)
        return (hidden @ second.T + added) * envelope[:, None]

    return filters


def _ends(network: FilterNetwork, knots: Knots) -> tuple[Tensor, Tensor]:
    """Return W and dW/ds at the ends of all pieces, [pieces + 1, channels] float64 each."""
    r = knots.ends().to(network.first_weight.device)
    filters = exact_filters(network)
    found = torch.func.jvp(filters, (r,), (torch.ones_like(r),))
    return found[0].cpu(), (found[1] / knots.slope(r)[:, None]).cpu()


def _cubic(values: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Return [blocks, pieces, 4, channels]: cubics with these values and slopes at both ends.

    c2 and c3 are rounded first, so that c0 and c1 can still meet both values: what is lost to the
    codes is in the slopes alone, and the energy has no steps.
    """
    f0, f1, g0, g1 = values[:, :-1], values[:, 1:], slopes[:, :-1], slopes[:, 1:]
    rise = f1 - f0
    c3, code, unit = _coded(g0 + g1 - 2 * rise)
    c2 = _with_low_bits(((g1 - g0) / 2).float(), code).double()
    return torch.stack([(f0 + f1) / 2 - c2 / 4, rise - c3 / 4, c2, c3], dim=2), unit


def _compact(values: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Return [blocks, pieces, 3, channels], and the unit of c2 of every block.

    A parabola has no room for values and slopes at both ends. It takes the slopes, and the value
    where the piece after it begins, from zero at the cutoff inwards. What rounding adds up to is
    led back, a quarter per piece, so that no error builds up.
    """
    f1, g0, g1 = values[:, 1:], slopes[:, :-1], slopes[:, 1:]
    c2, code, unit = _coded((g1 - g0) / 2)
    middle = (g0 + g1) / 2
    c0, c1 = torch.empty_like(c2), torch.empty_like(c2)
    reached = torch.zeros_like(f1[:, 0])
    for piece in reversed(range(f1.shape[1])):
        wanted = middle[:, piece] + _FEEDBACK * (reached - f1[:, piece])
        c1[:, piece] = _with_low_bits(wanted.float(), code[:, piece]).double()
        c0[:, piece] = reached - c1[:, piece] / 2 - c2[:, piece] / 4
        reached = reached - c1[:, piece]
    return torch.stack([c0, c1, c2], dim=2), unit


def _coded(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return float64 values [blocks, pieces, channels] as multiples of a unit of each block.

    The multiples themselves, their codes (int32), and the units.
    """
    unit = values.abs().amax((1, 2)).clamp(min=1e-30) / (CODES // 2 - 1)
    unit = unit.float().double()
    code = (values / unit[:, None, None]).round().to(torch.int32) + CODES // 2
    return (code - CODES // 2) * unit[:, None, None], code, unit


def _with_low_bits(values: Tensor, code: Tensor) -> Tensor:
    """Return the float32 numbers nearest to `values` whose lowest bits are a code."""
    bits = values.view(torch.int32)
    return ((bits - code + CODES // 2) & -CODES | code).view(torch.float32)
