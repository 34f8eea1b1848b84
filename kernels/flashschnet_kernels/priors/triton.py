"""Repulsion between all pairs of a molecule in one pass, energy and gradient together.

Every bead meets every bead of its molecule: twice the arithmetic of a list of pairs, but nothing is
gathered or scattered, and no order of additions can change. Pairs that are left out have a range
of zero in a matrix that all replicas of a molecule share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from flashschnet_kernels.ahead_of_time import Specialisation
from flashschnet_kernels.first_order import first_order

ROWS = 16
COLUMNS = 64
MOST_BEADS = 4096
"""Beads of one molecule: its matrix of ranges then takes 64 MiB."""


@dataclass(frozen=True)
class RepulsionLayout:
    """The molecules of a batch and the ranges between their beads.

    Attributes:
        ranges: [values] sigma^6, the matrices [beads, beads] of the different molecules end to end;
            zero where a pair does not repel.
        first_bead: [row blocks] int32, first bead of each block of ROWS beads.
        molecule_start, molecule_end: [row blocks] int32, of the block's molecule.
        matrix_start: [row blocks] int64, where the molecule's matrix begins in `ranges`.
        molecule_of_bead: [beads] int64.
        molecule_sizes: beads of each molecule.
    """

    ranges: Tensor
    first_bead: Tensor
    molecule_start: Tensor
    molecule_end: Tensor
    matrix_start: Tensor
    molecule_of_bead: Tensor
    molecule_sizes: tuple[int, ...]


def lay_out(
    molecule_sizes: tuple[int, ...], kinds: tuple[int, ...], matrices: tuple[Tensor, ...]
) -> RepulsionLayout:
    """Return the layout of molecules that lie end to end.

    Args:
        molecule_sizes: beads of each molecule.
        kinds: for each molecule, which of the matrices is its own.
        matrices: [beads, beads] sigma in angstrom of each kind, symmetric, zero where a pair does
            not repel; on the device and in the dtype of the positions.

    Raises:
        ValueError: a molecule that is too large.
    """
    if max(molecule_sizes) > MOST_BEADS:
        raise ValueError(
            f"priors=triton takes molecules of up to {MOST_BEADS} beads, not "
            f"{max(molecule_sizes)}; use priors=reference"
        )
    device = matrices[0].device
    sizes = torch.tensor(molecule_sizes)
    ends = sizes.cumsum(0)
    starts = ends - sizes
    blocks = (sizes + ROWS - 1) // ROWS
    molecule = torch.repeat_interleave(torch.arange(len(sizes)), blocks)
    place = torch.arange(len(molecule)) - (blocks.cumsum(0) - blocks)[molecule]
    areas = torch.tensor([matrix.numel() for matrix in matrices])
    matrix_start = (areas.cumsum(0) - areas)[torch.tensor(kinds)]
    return RepulsionLayout(
        ranges=torch.cat([matrix.double().pow(6).flatten() for matrix in matrices]).to(matrices[0]),
        first_bead=(starts[molecule] + place * ROWS).int().to(device),
        molecule_start=starts[molecule].int().to(device),
        molecule_end=ends[molecule].int().to(device),
        matrix_start=matrix_start[molecule].to(device),
        molecule_of_bead=torch.repeat_interleave(torch.arange(len(sizes)), sizes).to(device),
        molecule_sizes=molecule_sizes,
    )


def repulsion(positions: Tensor, layout: RepulsionLayout) -> Tensor:
    """Return the sum of (sigma / r)^6 over the pairs of each molecule, [molecules] float64.

    Args:
        positions: [beads, 3] float32 or float64, in angstrom; differentiable once.
        layout: of the batch, `ranges` in the dtype of the positions.
    """
    energy: Tensor = _Repulsion.apply(positions, layout)
    return energy


class _Repulsion(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, layout: RepulsionLayout) -> Tensor:  # noqa: D102
        positions = positions.contiguous()
        energy = positions.new_empty(len(positions))
        gradient = torch.empty_like(positions)
        repulsion_kernel[(len(layout.first_bead),)](
            positions,
            layout.ranges,
            layout.first_bead,
            layout.molecule_start,
            layout.molecule_end,
            layout.matrix_start,
            energy,
            gradient,
            ROWS=ROWS,
            COLUMNS=COLUMNS,
            num_warps=4,
        )
        ctx.save_for_backward(gradient)
        ctx.layout = layout
        return _sum_per_molecule(energy, layout.molecule_sizes)

    @staticmethod
    @first_order
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        (gradient,) = ctx.saved_tensors
        of_bead = slope.to(gradient.dtype).index_select(0, ctx.layout.molecule_of_bead)
        return gradient * of_bead[:, None], None


def _sum_per_molecule(values: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Return the sums of consecutive beads of each molecule, [molecules] float64."""
    values = values.double()
    if len(set(sizes)) == 1:
        return values.view(len(sizes), sizes[0]).sum(1)
    return torch.stack([part.sum() for part in values.split(list(sizes))])


@triton.jit
def repulsion_kernel(
    positions,  # [beads, 3]
    ranges,
    first_bead,
    molecule_start,
    molecule_end,
    matrix_start,
    energy,  # [beads]
    gradient,  # [beads, 3]
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write half of the energy and the whole gradient of ROWS beads; grid (row blocks,).

    Accumulates in the dtype of the positions, in a fixed order. First-order.
    """
    row = tl.program_id(0)
    start, end = tl.load(molecule_start + row), tl.load(molecule_end + row)
    i = tl.load(first_bead + row) + tl.arange(0, ROWS)
    at_i = positions + i.to(tl.int64) * 3
    x_i = tl.load(at_i, mask=i < end, other=0.0)
    y_i = tl.load(at_i + 1, mask=i < end, other=0.0)
    z_i = tl.load(at_i + 2, mask=i < end, other=0.0)
    line = tl.load(matrix_start + row) + (i - start).to(tl.int64) * (end - start)
    total = x_i * 0.0
    g_x, g_y, g_z = total, total, total
    for first in range(start, end, COLUMNS):
        j = first + tl.arange(0, COLUMNS)
        at_j = positions + j.to(tl.int64) * 3
        dx = x_i[:, None] - tl.load(at_j, mask=j < end, other=0.0)[None, :]
        dy = y_i[:, None] - tl.load(at_j + 1, mask=j < end, other=0.0)[None, :]
        dz = z_i[:, None] - tl.load(at_j + 2, mask=j < end, other=0.0)[None, :]
        inside = (i < end)[:, None] & (j < end)[None, :]
        sigma6 = tl.load(ranges + line[:, None] + (j - start)[None, :], mask=inside, other=0.0)
        squared = dx * dx + dy * dy + dz * dz
        inverse = 1.0 / tl.where(sigma6 > 0.0, squared, 1.0)
        e = sigma6 * inverse * inverse * inverse  # zero where a pair does not repel
        pull = -6.0 * e * inverse
        total += tl.sum(e, axis=1)
        g_x += tl.sum(pull * dx, axis=1)
        g_y += tl.sum(pull * dy, axis=1)
        g_z += tl.sum(pull * dz, axis=1)
    tl.store(energy + i, 0.5 * total, mask=i < end)
    at = gradient + i.to(tl.int64) * 3
    tl.store(at, g_x, mask=i < end)
    tl.store(at + 1, g_y, mask=i < end)
    tl.store(at + 2, g_z, mask=i < end)


def specialisations() -> list[Specialisation]:
    """Return the variants that `repulsion` launches."""
    found = []
    for word in ("*fp32", "*fp64"):
        signature = dict.fromkeys(("positions", "ranges", "energy", "gradient"), word)
        signature |= dict.fromkeys(("first_bead", "molecule_start", "molecule_end"), "*i32")
        signature |= {"matrix_start": "*i64"}
        constants = {"ROWS": ROWS, "COLUMNS": COLUMNS}
        found.append(Specialisation(repulsion_kernel, signature, constants))
    return found
