"""Which table of filters a network needs: the smallest one whose force error is small enough.

The error is measured, not estimated: forces of the network alone, with the table in the place of
the filter networks, against the network itself, both in float64, on real conformations.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from flashschnet_kernels.filter_table.knots import Knots
from flashschnet_kernels.filter_table.table import FORMS, FilterTable, build_table, piece_bytes
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.schnet import SchNet
from flashschnet_lab.potentials.table_errors import TableJudge, filter_networks

PIECES = (
    *(256, 320, 384, 448, 512, 640, 768, 896, 1024),
    *(1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096),
    *(5120, 6144, 7168, 8192),
)
"""Sizes of a table that are tried."""

STRETCHES = (0.0, 2.0, 3.0, 4.0, 5.0)
"""Stretches that are tried, times the cutoff (see `Knots`)."""

SHORTEST_DISTANCE = 1.0
"""Angstrom; pieces below it are not counted, even where a pair of displaced beads is closer."""

_VERIFIED = 4
"""Tables that are judged on all pairs before the search gives up."""
_STRETCHES_SEARCHED = 2
"""Stretches for which the pieces are searched: those that promise most."""
_PROBE = 768
"""Pieces of the table that tells what a stretch promises."""


@dataclass(frozen=True)
class PrecisionClass:
    """A promise about forces, and what it asks of a table.

    Attributes:
        name: "exact", "balanced" or "fast".
        promise: largest relative force error of the network in a simulation.
        table_tolerance: of it, what the table may take on the worst conformation that it is judged
            on; the rest is for rounding.
        form: of the table; a steep network for which none of it is exact enough gets a cubic one.
    """

    name: str
    promise: float
    table_tolerance: float
    form: str


CLASSES = {
    kind.name: kind
    for kind in (
        PrecisionClass("exact", 1e-5, 6e-6, "cubic"),
        PrecisionClass("balanced", 1e-4, 7e-5, "cubic"),
        PrecisionClass("fast", 3e-3, 8e-4, "compact"),
    )
}
"""Name to precision class, the most exact first."""


@dataclass(frozen=True, eq=False)
class CompiledTable:
    """A table that keeps what its precision class promises, and how that is known.

    Attributes:
        table: on the CPU.
        precision_class: its name.
        achieved_error: relative force error on the worst conformation.
        verified_on: names of the conformations.
        digest: of the network (`network_digest`).
    """

    table: FilterTable
    precision_class: str
    achieved_error: float
    verified_on: tuple[str, ...]
    digest: str


def class_of(name: str) -> PrecisionClass:
    """Return a precision class by name.

    Raises:
        UserError: an unknown name, with the known ones.
    """
    if name not in CLASSES:
        raise UserError(f"precision class {name!r} is unknown; known: {', '.join(CLASSES)}")
    return CLASSES[name]


def network_digest(network: SchNet) -> str:
    """Return a SHA-256 (hex) over the shape and all weights of a network, in float32."""
    sha = hashlib.sha256(repr(network.shape).encode())
    for name, tensor in sorted(network.state_dict().items()):
        numbers = tensor.detach().cpu().float().contiguous().numpy()
        sha.update(name.encode() + numbers.tobytes())
    return sha.hexdigest()


def choose_table(judge: TableJudge, precision_class: str) -> CompiledTable:
    """Return the smallest table that is exact enough for a precision class.

    Small are the pieces at distances that occur: those fill the caches. A sample of the pairs
    leads to it, the winner is judged on all.

    Args:
        judge: knows the network and the conformations.
        precision_class: a key of `CLASSES`.

    Raises:
        UserError: an unknown class, or no table that is tried is exact enough, with its error.
    """
    wanted = class_of(precision_class)
    achieved = []
    for form in forms_of(wanted):
        search = _Search(judge, wanted, form)
        for knots in search.candidates()[:_VERIFIED]:
            table = search.table(knots)
            error = judge.error(table)
            if error <= wanted.table_tolerance:
                digest = network_digest(judge.network)
                return CompiledTable(table, wanted.name, error, judge.names, digest)
            achieved.append(error)
    raise UserError(
        f"no table of filters is exact enough for the class {wanted.name!r}: the best of those "
        f"tried has a force error of {min(achieved):.1e}, and {wanted.table_tolerance:.0e} is "
        "wanted; use --plan flash-float32, which computes the filters"
    )


def forms_of(kind: PrecisionClass) -> tuple[str, ...]:
    """Return the forms that a table of a class may have, the preferred one first."""
    return tuple(dict.fromkeys((kind.form, "cubic")))


class _Search:
    """Tables of one network, class and form, built when they are asked for."""

    def __init__(self, judge: TableJudge, wanted: PrecisionClass, form: str) -> None:
        self._judge, self._wanted, self._form = judge, wanted, form
        self._networks = filter_networks(judge.network)
        self._cutoff, self._lower = judge.network.shape.cutoff, judge.network.shape.cutoff_lower
        self._shortest = max(SHORTEST_DISTANCE, self._lower, judge.shortest)
        self._built: dict[Knots, FilterTable] = {}

    def table(self, knots: Knots) -> FilterTable:
        if knots not in self._built:
            self._built[knots] = build_table(self._networks, knots, self._form)
        return self._built[knots]

    def candidates(self) -> list[Knots]:
        """Return tables that are likely exact enough, the smallest first, or else the largest."""
        stretches = sorted(STRETCHES, key=self._predicted_size)[:_STRETCHES_SEARCHED]
        found = [knots for stretch in stretches for knots in self._good(stretch)]
        found.sort(key=self._size)
        return found or [self._knots(PIECES[-1], stretch) for stretch in stretches]

    def _good(self, stretch: float) -> list[Knots]:
        """Return the smallest table of a stretch that is good on the sample, and all larger ones.

        The larger ones come next where the sample takes for just enough what is not.
        """
        low, high = 0, len(PIECES)
        while low < high:
            middle = (low + high) // 2
            good = self._error(PIECES[middle], stretch) <= self._wanted.table_tolerance
            low, high = (low, middle) if good else (middle + 1, high)
        return [self._knots(pieces, stretch) for pieces in PIECES[low:]]

    def _predicted_size(self, stretch: float) -> float:
        """Return about how many pieces a stretch needs, from one table and the order of its error.

        Slopes of cubics are wrong by the third power of the spacing, those of parabolas by the
        second.
        """
        order = FORMS[self._form] - 1
        ratio = self._error(_PROBE, stretch) / self._wanted.table_tolerance
        return self._size(self._knots(_PROBE, stretch)) * ratio ** (1.0 / order)

    def _error(self, pieces: int, stretch: float) -> float:
        return self._judge.estimate(self.table(self._knots(pieces, stretch)))

    def _size(self, knots: Knots) -> float:
        return knots.pieces_between(self._shortest, self._cutoff)

    def _knots(self, pieces: int, stretch: float) -> Knots:
        return Knots.ending_at(self._lower, pieces, stretch / self._cutoff, self._cutoff)


def table_bytes(table: FilterTable, nearest: float = 0.0) -> int:
    """Return the bytes that kernels read of a table, of pieces beyond a distance in angstrom."""
    pieces = table.knots.pieces_between(nearest, table.knots.cutoff)
    return round(pieces * piece_bytes(table.form)) * table.channels * table.blocks
