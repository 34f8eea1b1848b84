"""All classical terms in one launch, energy and gradient together.

Repulsion: every bead meets every bead of its molecule. That is twice the arithmetic of a list of
pairs, but nothing is gathered or scattered, and no order of additions can change. The range of a
pair is looked up by its two types; near the diagonal, bits tell which pairs do not repel.
Bonded terms: see `bonded_triton.py`.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from flashschnet_kernels.ahead_of_time import Specialisation
from flashschnet_kernels.first_order import first_order
from flashschnet_kernels.launching import FMA
from flashschnet_kernels.priors.bonded_triton import angles, bonds, dihedrals
from flashschnet_kernels.priors.layout import REACH, ROWS, PriorsLayout

COLUMNS = {torch.float32: 64, torch.float64: 32}
"""Beads that ROWS beads meet at a time; more of them in float64 would not fit into registers."""
NUM_WARPS = 4


def evaluate(
    positions: Tensor, layout: PriorsLayout, energy: Tensor, gradient: Tensor, add: bool
) -> None:
    """Evaluate all terms; no autograd, no synchronisation.

    Args:
        positions: [beads, 3] float32 or float64, in angstrom, contiguous.
        layout: of the batch, in the same dtype and on the same device.
        energy: [beads], the beads' shares of the energy in kcal/mol; written.
        gradient: [beads, 3] in kcal/mol/A; written.
        add: add to what `energy` and `gradient` hold.

    Raises:
        ValueError: tensors that do not belong together.
    """
    _launch(positions, layout, energy, gradient, bonded=True, add=add)


def repulsion(positions: Tensor, layout: PriorsLayout) -> Tensor:
    """Return the repulsion alone of each molecule, [molecules] float64.

    Args:
        positions: [beads, 3] float32 or float64, in angstrom; differentiable once.
        layout: of the batch, in the dtype of the positions.
    """
    energy: Tensor = _Repulsion.apply(positions, layout)
    return energy


class _Repulsion(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, layout: PriorsLayout) -> Tensor:  # noqa: D102
        positions = positions.contiguous()
        energy = positions.new_empty(len(positions))
        gradient = torch.empty_like(positions)
        _launch(positions, layout, energy, gradient, bonded=False, add=False)
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


def _launch(
    positions: Tensor,
    layout: PriorsLayout,
    energy: Tensor,
    gradient: Tensor,
    bonded: bool,
    add: bool,
) -> None:
    beads = len(layout.molecule_of_bead)
    shapes = (tuple(positions.shape), tuple(energy.shape), tuple(gradient.shape))
    if shapes != ((beads, 3), (beads,), (beads, 3)):
        raise ValueError(f"the layout is of {beads} beads, but the tensors are {shapes}")
    if len({layout.sigma6.dtype, positions.dtype, energy.dtype, gradient.dtype}) != 1:
        raise ValueError(
            f"positions ({positions.dtype}), energy ({energy.dtype}), gradient ({gradient.dtype}) "
            f"and layout ({layout.sigma6.dtype}) must have one dtype"
        )
    if not (positions.is_contiguous() and energy.is_contiguous() and gradient.is_contiguous()):
        raise ValueError("positions, energy and gradient must be contiguous")
    terms = [layout.terms[name] for name in ("bonds", "angles", "dihedrals")]
    tables = [tensor for family in terms for tensor in (family.places, family.parameters)]
    widths = [family.places.shape[2] for family in terms]
    priors_kernel[(len(layout.blocks),)](
        positions,
        layout.blocks,
        layout.types,
        layout.sigma6,
        layout.excluded,
        *tables,
        energy,
        gradient,
        len(layout.sigma6),
        len(layout.types),
        ROWS=ROWS,
        COLUMNS=COLUMNS[positions.dtype],
        REACH=REACH,
        BOND_PLACES=widths[0],
        ANGLE_PLACES=widths[1],
        DIHEDRAL_PLACES=widths[2],
        ORDERS=terms[2].parameters.shape[1] // 2,
        BONDED=bonded,
        ADD=add,
        num_warps=NUM_WARPS,
        **FMA,
    )


@triton.jit(do_not_specialize=["bead_types", "beads_of_kinds"])
def priors_kernel(
    positions,  # [beads, 3]
    blocks,  # [row blocks, 4]
    types,
    sigma6,  # [kinds of beads, kinds of beads]
    excluded,
    bond_places,
    bond_parameters,
    angle_places,
    angle_parameters,
    dihedral_places,
    dihedral_parameters,
    energy,  # [beads]
    gradient,  # [beads, 3]
    bead_types,
    beads_of_kinds,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    REACH: tl.constexpr,
    BOND_PLACES: tl.constexpr,
    ANGLE_PLACES: tl.constexpr,
    DIHEDRAL_PLACES: tl.constexpr,
    ORDERS: tl.constexpr,
    BONDED: tl.constexpr,
    ADD: tl.constexpr,
):
    """Write the share of the energy and the gradient of ROWS beads; grid (row blocks,).

    Accumulates in the dtype of the positions, in a fixed order. First-order.
    """
    block = blocks + tl.program_id(0) * 4
    first, start, end = tl.load(block), tl.load(block + 1), tl.load(block + 2)
    of_kind = tl.load(block + 3) - start
    i = first + tl.arange(0, ROWS)
    e, g_x, g_y, g_z = _repulsion_of(
        positions, types, sigma6, excluded, i, first, start, end, of_kind, bead_types,
        ROWS, COLUMNS, REACH,
    )  # fmt: skip
    if BONDED:
        row = tl.where(i < end, i + of_kind, -1)
        plane = beads_of_kinds.to(tl.int64)
        t, t_x, t_y, t_z = bonds(
            positions, bond_places, bond_parameters, row, start, plane * BOND_PLACES, BOND_PLACES
        )
        e, g_x, g_y, g_z = e + t, g_x + t_x, g_y + t_y, g_z + t_z
        t, t_x, t_y, t_z = angles(
            positions, angle_places, angle_parameters, row, start, plane * ANGLE_PLACES,
            ANGLE_PLACES,
        )  # fmt: skip
        e, g_x, g_y, g_z = e + t, g_x + t_x, g_y + t_y, g_z + t_z
        t, t_x, t_y, t_z = dihedrals(
            positions, dihedral_places, dihedral_parameters, row, start,
            plane * DIHEDRAL_PLACES, DIHEDRAL_PLACES, ORDERS,
        )  # fmt: skip
        e, g_x, g_y, g_z = e + t, g_x + t_x, g_y + t_y, g_z + t_z
    to_energy, at = energy + i.to(tl.int64), gradient + i.to(tl.int64) * 3
    if ADD:
        e += tl.load(to_energy, mask=i < end, other=0.0)
        g_x += tl.load(at, mask=i < end, other=0.0)
        g_y += tl.load(at + 1, mask=i < end, other=0.0)
        g_z += tl.load(at + 2, mask=i < end, other=0.0)
    tl.store(to_energy, e, mask=i < end)
    tl.store(at, g_x, mask=i < end)
    tl.store(at + 1, g_y, mask=i < end)
    tl.store(at + 2, g_z, mask=i < end)


@triton.jit
def _repulsion_of(
    positions,
    types,
    sigma6,
    excluded,
    i,
    first,
    start,
    end,
    of_kind,
    bead_types,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    REACH: tl.constexpr,
):
    """Return half of the energy and the whole gradient of beads i, four tensors [ROWS]."""
    at_i = positions + i.to(tl.int64) * 3
    x_i = tl.load(at_i, mask=i < end, other=0.0)
    y_i = tl.load(at_i + 1, mask=i < end, other=0.0)
    z_i = tl.load(at_i + 2, mask=i < end, other=0.0)
    ranges = sigma6 + tl.load(types + of_kind + i, mask=i < end, other=0) * bead_types
    bits = tl.load(excluded + of_kind + i, mask=i < end, other=0)
    total = x_i * 0.0
    g_x, g_y, g_z = total, total, total
    for column in range(start, end, COLUMNS):
        j = column + tl.arange(0, COLUMNS)
        at_j = positions + j.to(tl.int64) * 3
        dx = x_i[:, None] - tl.load(at_j, mask=j < end, other=0.0)[None, :]
        dy = y_i[:, None] - tl.load(at_j + 1, mask=j < end, other=0.0)[None, :]
        dz = z_i[:, None] - tl.load(at_j + 2, mask=j < end, other=0.0)[None, :]
        type_j = tl.load(types + of_kind + j, mask=j < end, other=0)
        inside = (j < end)[None, :] & (i < end)[:, None]
        # Rows are no neighbours in memory. To call them that makes threads lie along rows, so that
        # sums over columns need few exchanges; Triton from 3.7 on would not do it by itself.
        at_s6 = tl.max_contiguous(ranges[:, None] + type_j[None, :], (2, 1))
        s6 = tl.load(at_s6, mask=inside, other=0.0)
        if (column < first + ROWS + REACH) & (column + COLUMNS + REACH > first):
            place = j[None, :] - i[:, None] + REACH
            near = (place >= 0) & (place <= 2 * REACH)
            bit = (bits[:, None] >> tl.where(near, place, 0).to(tl.int64)) & 1
            s6 = tl.where(near & (bit == 1), 0.0, s6)
        inverse = 1.0 / tl.where(s6 > 0.0, dx * dx + dy * dy + dz * dz, 1.0)
        e = s6 * inverse * inverse * inverse  # zero where a pair does not repel
        pull = -6.0 * e * inverse
        total += tl.sum(e, axis=1)
        g_x += tl.sum(pull * dx, axis=1)
        g_y += tl.sum(pull * dy, axis=1)
        g_z += tl.sum(pull * dz, axis=1)
    return 0.5 * total, g_x, g_y, g_z


def specialisations() -> list[Specialisation]:
    """Return the variants that `evaluate` and `repulsion` launch."""
    places = {"BOND_PLACES": 4, "ANGLE_PLACES": 8, "DIHEDRAL_PLACES": 8}  # of a protein
    constants = {"ROWS": ROWS, "REACH": REACH, "ORDERS": 3, **places}
    numbers = ["positions", "sigma6", "energy", "gradient"]
    numbers += ["bond_parameters", "angle_parameters", "dihedral_parameters"]
    indices = ("blocks", "types", "bond_places", "angle_places", "dihedral_places")
    found = []
    for dtype, bonded, add in (
        (torch.float32, True, True),
        (torch.float32, True, False),
        (torch.float32, False, False),
        (torch.float64, True, True),
    ):
        word = {torch.float32: "*fp32", torch.float64: "*fp64"}[dtype]
        signature = dict.fromkeys(numbers, word) | dict.fromkeys(indices, "*i32")
        signature |= {"excluded": "*i64", "bead_types": "i32", "beads_of_kinds": "i32"}
        flags = {"COLUMNS": COLUMNS[dtype], "BONDED": bonded, "ADD": add}
        found.append(Specialisation(priors_kernel, signature, constants | flags, NUM_WARPS))
    return found
