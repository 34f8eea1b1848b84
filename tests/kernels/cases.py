"""The inputs that every edge-level operator is tested with.

All numbers are exact in the narrowest dtype that they are used in, so that an operator in float32
and its reference in float64 see the same input.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType

import pytest
import torch
from torch import Tensor

from flashschnet_kernels.edges import Edges, edges_from_pairs
from flashschnet_kernels.message_passing.filter_network import FilterNetwork
from flashschnet_kernels.neighbors.reference import pairs_within
from flashschnet_kernels.radial_basis.parameters import RadialParameters

CUTOFF = 15.0
SKIN = 1.0
"""The lists hold pairs up to CUTOFF + SKIN, as a Verlet list does: some contribute nothing."""

KINDS = ("gaussian", "exp_normal")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """Beads, their edges, and the widths of what is computed on them.

    Attributes:
        positions: [beads, 3] float64, in angstrom, exact in float32.
        molecule_sizes: beads of each molecule, laid end to end.
        pairs: [2, pairs] int64, i < j; not always all neighbours (see "hub").
        functions: size of the radial basis.
        channels: width of features and messages.
        strided: hand every tensor over as a non-contiguous view.
        lower: the lower cutoff in angstrom.
        biased: the second layer of the filter network has a bias.
    """

    positions: Tensor
    molecule_sizes: tuple[int, ...]
    pairs: Tensor
    functions: int = 8
    channels: int = 16
    strided: bool = False
    lower: float = 0.0
    biased: bool = False

    @property
    def beads(self) -> int:
        """Number of beads of all molecules."""
        return self.positions.shape[0]

    def view(self, tensor: Tensor) -> Tensor:
        """Return `tensor`, as a non-contiguous view if the case asks for one."""
        return strided(tensor) if self.strided else tensor

    def coordinates(self, dtype: torch.dtype, device: torch.device = CPU) -> Tensor:
        """Return the positions [beads, 3]."""
        return self.view(self.positions.to(device, dtype))

    def edges(self, dtype: torch.dtype = torch.int64, device: torch.device = CPU) -> Edges:
        """Return both directions of the pairs."""
        edges = edges_from_pairs(self.pairs, self.beads)
        parts = (edges.receiver, edges.sender, edges.row_start, edges.reverse)
        return Edges(*(self.view(part.to(device, dtype)) for part in parts))

    def random(
        self, rows: int, dtype: torch.dtype, device: torch.device = CPU, seed: int = 0
    ) -> Tensor:
        """Return normal numbers [rows, channels], exact in bfloat16 and float16."""
        generator = torch.Generator().manual_seed(seed)
        numbers = torch.randn(rows, self.channels, generator=generator).to(torch.bfloat16)
        return self.view(numbers.to(device, dtype))

    def basis(self, kind: str, dtype: torch.dtype, device: torch.device = CPU) -> RadialParameters:
        """Return a radial basis as the networks start with it."""
        first = self.lower if kind == "gaussian" else math.exp(self.lower - CUTOFF)
        last = CUTOFF if kind == "gaussian" else 1.0
        centres = torch.linspace(first, last, self.functions)  # float32
        spacing = (last - first) / max(1, self.functions - 1)
        widths = torch.full((self.functions,), 0.5 / spacing**2)
        return RadialParameters(
            kind=kind,
            centres=self.view(centres.to(device, dtype)),
            widths=self.view(widths.to(device, dtype)),
            alpha=5.0 / (CUTOFF - self.lower),
            cutoff=CUTOFF,
            lower=self.lower,
        )

    def filter_network(
        self, kind: str, dtype: torch.dtype, device: torch.device = CPU, seed: int = 7
    ) -> FilterNetwork:
        """Return a filter network with random weights, exact in float32."""
        generator = torch.Generator().manual_seed(seed)

        def random(*shape: int) -> Tensor:
            weights = torch.randn(shape, generator=generator) / math.sqrt(shape[-1])
            return self.view(weights.to(device, dtype))

        c, f = self.channels, self.functions
        layers = (random(c, f), random(c), random(c, c))
        bias = random(c) if self.biased else None
        return FilterNetwork(*layers, self.basis(kind, dtype, device), bias)


def loaded(operator: str, implementation: str, request: pytest.FixtureRequest) -> ModuleType:
    """Return the module of an implementation, or skip where its compiler is not installed."""
    if implementation == "triton":
        request.getfixturevalue("triton_device")
    if implementation == "cpu":
        pytest.importorskip("numba")
    return importlib.import_module(f"flashschnet_kernels.{operator}.{implementation}")


def strided(tensor: Tensor) -> Tensor:
    """Return the values of `tensor` as every second element of a larger one."""
    wide = tensor.repeat_interleave(2, dim=-1)
    return wide[..., ::2]


@contextmanager
def poisoned() -> Iterator[None]:
    """Fill what torch.empty returns with NaN (integers: their largest), so that gaps show."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)  # fill_uninitialized_memory is on by default
    try:
        assert torch.empty(3).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def scattered(beads: int, radius: float, seed: int) -> Tensor:
    """Return beads in a ball of `radius` angstrom, no two closer than 0.7 angstrom."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.zeros(0, 3)
    while len(chosen) < beads:
        point = (torch.rand(3, generator=generator) * 2.0 - 1.0) * radius
        if point.norm() < radius and (chosen - point).norm(dim=1).gt(0.7).all():
            chosen = torch.cat((chosen, point[None]))
    return chosen.double()


def case_from(positions: Tensor, molecule_sizes: tuple[int, ...] | None = None) -> Case:
    """Return a case with all pairs within CUTOFF + SKIN."""
    sizes = molecule_sizes or (len(positions),)
    return Case(positions, sizes, pairs_within(positions, sizes, CUTOFF + SKIN))


def _on_a_line(*x: float) -> Tensor:
    positions = torch.zeros(len(x), 3, dtype=torch.float64)
    positions[:, 0] = torch.tensor(x)
    return positions


def _star(leaves: int) -> Case:
    case = case_from(scattered(leaves + 1, 12.0, seed=3))
    hub = leaves // 2
    return replace(case, pairs=case.pairs[:, (case.pairs == hub).any(0)])


_ODD = replace(case_from(scattered(23, 16.0, seed=2)), functions=13, channels=21)

CASES: dict[str, Case] = {
    "no beads": Case(_on_a_line(), (0,), torch.zeros(2, 0, dtype=torch.int64)),
    "one bead": case_from(_on_a_line(0.0)),
    "one pair": case_from(_on_a_line(0.0, 3.8)),
    "hub": _star(37),
    "odd sizes": _ODD,
    "non-contiguous": replace(_ODD, strided=True),
    "replica boundary": case_from(scattered(7, 9.0, seed=4).repeat(3, 1), (7, 7, 7)),
    "all in range": case_from(scattered(17, 7.0, seed=5)),
    "none in range": case_from(_on_a_line(0.0, 40.0, 80.0, 120.0, 160.0)),
    # 15 and 30 are exact, 14.75 is just inside and 15.25 just beyond.
    "at the cutoff": case_from(_on_a_line(0.0, 15.0, 30.0, 44.75, 60.0, 75.25)),
    "lower cutoff": replace(_ODD, lower=3.0, biased=True, strided=True),
    # 3 and 15 apart, a quarter inside and beyond, and one pair that only the lower cutoff parts.
    "at both cutoffs": replace(
        case_from(_on_a_line(0.0, 3.0, 15.0, 17.75, 33.0, 36.25, 51.0, 51.5)),
        lower=3.0,
        biased=True,
    ),
    "a bias alone": replace(case_from(scattered(9, 7.0, seed=5)), biased=True),
}
"""Name to case. Directed edges: at most 272."""
