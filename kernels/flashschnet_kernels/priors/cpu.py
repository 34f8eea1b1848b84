"""All classical terms of a batch in one compiled pass on a CPU: energies and their gradient.

Bonds, angles and dihedrals are few: they are computed in float64, term by term, whatever the
positions are, with threads over molecules. Repulsion has a term for (almost) every pair: it is
computed in the dtype of the positions, bead by bead, with threads over blocks of beads. See
`reference.py` for the energies, `layout.py` for the tables.

Determinism: same bits every run, on any number of threads, for a molecule alone as in any batch.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from torch import Tensor

from flashschnet_kernels.numba_math import match_torch_threads
from flashschnet_kernels.numba_vectors import stay_apart
from flashschnet_kernels.priors.layout import FAMILIES, REACH, ROWS, PriorsLayout

PAIRS_PER_THREAD = 300_000
"""Ordered pairs of beads that are worth one more thread: about half a millisecond."""


def evaluate(
    positions: Tensor, layout: PriorsLayout, energy: Tensor, gradient: Tensor, add: bool
) -> None:
    """Write the energy of all terms, shared among the beads of each term, and its gradient.

    Args:
        positions: [beads, 3] float32 or float64 in angstrom, contiguous, on the CPU.
        layout: of the same dtype, on the CPU.
        energy: [beads] of the dtype of the positions; only its sums over molecules mean something.
        gradient: [beads, 3] of the same dtype, contiguous.
        add: add to energy and gradient instead of writing them.

    Raises:
        ValueError: shapes or dtypes that do not belong together, or tensors that are not
            contiguous.
    """
    _check(positions, layout, energy, gradient)
    bonds, angles, dihedrals = (
        [part.numpy() for part in (terms.members, terms.rows, terms.parameters, terms.first)]
        for terms in (layout.terms[name] for name in FAMILIES)
    )
    pairs = sum(size * size for size in layout.molecule_sizes)
    match_torch_threads(1 + pairs // PAIRS_PER_THREAD)
    _evaluate(
        positions.detach().numpy(),
        layout.start.numpy(),
        layout.kind.numpy(),
        *bonds,
        *angles,
        *dihedrals,
        layout.blocks.numpy(),
        layout.types.numpy(),
        layout.sigma6.numpy(),
        layout.excluded.numpy(),
        energy.numpy(),
        gradient.numpy(),
        add,
    )


def _check(positions: Tensor, layout: PriorsLayout, energy: Tensor, gradient: Tensor) -> None:
    beads = len(layout.molecule_of_bead)
    tensors = (positions, energy, gradient)
    shapes = tuple(tuple(tensor.shape) for tensor in tensors)
    if shapes != ((beads, 3), (beads,), (beads, 3)):
        raise ValueError(f"the layout is of {beads} beads, but the tensors are {shapes}")
    if len({layout.sigma6.dtype, *(tensor.dtype for tensor in tensors)}) != 1:
        raise ValueError(
            f"positions ({positions.dtype}), energy ({energy.dtype}), gradient ({gradient.dtype}) "
            f"and layout ({layout.sigma6.dtype}) must have one dtype"
        )
    if not all(tensor.is_contiguous() for tensor in tensors):
        raise ValueError("positions, energy and gradient must be contiguous")


@njit(cache=True, parallel=True, nogil=True, error_model="numpy")
def _evaluate(
    positions,
    start,
    kind_of,
    bonds,
    bond_rows,
    bond_parameters,
    first_bond,
    angles,
    angle_rows,
    angle_parameters,
    first_angle,
    dihedrals,
    dihedral_rows,
    dihedral_parameters,
    first_dihedral,
    blocks,
    types,
    sigma6,
    excluded,
    energy,
    gradient,
    add,
):
    """Bonded terms molecule by molecule, then repulsion by blocks of beads."""
    beads = positions.shape[0]
    columns = np.empty((3, beads), positions.dtype)
    for bead in range(beads):
        for axis in range(3):
            columns[axis, bead] = positions[bead, axis]
    bonded = np.zeros((beads, 4))  # float64: gradient and energy
    for m in prange(kind_of.shape[0]):
        own, k = slice(start[m], start[m + 1]), kind_of[m]
        x, sums = positions[own], bonded[own]
        some = (first_bond[k], first_bond[k + 1])
        _bonds(x, bonds, bond_rows, bond_parameters, some, sums)
        some = (first_angle[k], first_angle[k + 1])
        _angles(x, angles, angle_rows, angle_parameters, some, sums)
        some = (first_dihedral[k], first_dihedral[k + 1])
        _dihedrals(x, dihedrals, dihedral_rows, dihedral_parameters, some, sums)
    for block in prange(blocks.shape[0]):
        _repulsion(columns, blocks[block], types, sigma6, excluded, bonded, energy, gradient, add)


@njit(cache=True)
def _apart(x, i, j):
    """Return x_j - x_i in float64."""
    return (
        np.float64(x[j, 0]) - np.float64(x[i, 0]),
        np.float64(x[j, 1]) - np.float64(x[i, 1]),
        np.float64(x[j, 2]) - np.float64(x[i, 2]),
    )


@njit(cache=True)
def _dot(u, v):
    return u[0] * v[0] + u[1] * v[1] + u[2] * v[2]


@njit(cache=True)
def _cross(u, v):
    return (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])


@njit(cache=True)
def _pull(bonded, bead, scale, u):
    """Add scale u to the gradient of a bead."""
    bonded[bead, 0] += scale * u[0]
    bonded[bead, 1] += scale * u[1]
    bonded[bead, 2] += scale * u[2]


@njit(cache=True, error_model="numpy")
def _bonds(x, members, rows, parameters, some, bonded):
    """Add k (r - r0)^2 of some terms."""
    stay_apart()
    for term in range(some[0], some[1]):
        i, j = members[term, 0], members[term, 1]
        k, r0 = parameters[rows[term], 0], parameters[rows[term], 1]
        u = _apart(x, i, j)
        r = math.sqrt(_dot(u, u))
        bonded[i, 3] += k * (r - r0) ** 2
        slope = 2.0 * k * (r - r0) / r
        _pull(bonded, i, -slope, u)
        _pull(bonded, j, slope, u)


@njit(cache=True, error_model="numpy")
def _angles(x, members, rows, parameters, some, bonded):
    """Add k (cos theta - cos0)^2 of some terms."""
    stay_apart()
    for term in range(some[0], some[1]):
        i, apex, j = members[term, 0], members[term, 1], members[term, 2]
        k, cos0 = parameters[rows[term], 0], parameters[rows[term], 1]
        u, v = _apart(x, apex, i), _apart(x, apex, j)
        uu, vv = _dot(u, u), _dot(v, v)
        lengths = math.sqrt(uu * vv)
        cos = _dot(u, v) / lengths
        bonded[apex, 3] += k * (cos - cos0) ** 2
        slope = 2.0 * k * (cos - cos0)  # times dcos/du = v / (|u| |v|) - cos u / |u|^2
        _pull(bonded, i, slope / lengths, v)
        _pull(bonded, i, -slope * cos / uu, u)
        _pull(bonded, j, slope / lengths, u)
        _pull(bonded, j, -slope * cos / vv, v)
        _pull(bonded, apex, slope * (cos / vv - 1.0 / lengths), v)
        _pull(bonded, apex, slope * (cos / uu - 1.0 / lengths), u)


@njit(cache=True, error_model="numpy")
def _dihedrals(x, members, rows, parameters, some, bonded):
    """Add v0 + sum_n k1_n sin(n phi) + k2_n cos(n phi) of some terms.

    Sine and cosine of phi come from the vectors, those of n phi by adding angles. Gradient of phi:
    Blondel and Karplus, J. Comput. Chem. 17, 1132 (1996).
    """
    stay_apart()
    orders = (parameters.shape[1] - 1) // 2
    for term in range(some[0], some[1]):
        a, b, c, d = members[term, 0], members[term, 1], members[term, 2], members[term, 3]
        row = rows[term]
        b1, b2, b3 = _apart(x, a, b), _apart(x, b, c), _apart(x, c, d)
        n1, n2 = _cross(b1, b2), _cross(b2, b3)
        length = math.sqrt(_dot(b2, b2))
        sin1, cos1 = length * _dot(b1, n2), _dot(n1, n2)
        both = math.sqrt(sin1 * sin1 + cos1 * cos1)
        sin1, cos1 = sin1 / both, cos1 / both
        value, slope = np.float64(parameters[row, 0]), 0.0
        sin, cos = 0.0, 1.0
        for order in range(1, orders + 1):
            sin, cos = sin * cos1 + cos * sin1, cos * cos1 - sin * sin1
            k1, k2 = parameters[row, order], parameters[row, orders + order]
            value += k1 * sin + k2 * cos
            slope += order * (k1 * cos - k2 * sin)
        bonded[b, 3] += value
        first, last = slope / _dot(n1, n1), slope / _dot(n2, n2)
        before, after = _dot(b1, b2) / length, _dot(b3, b2) / length
        _pull(bonded, a, -first * length, n1)
        _pull(bonded, b, first * (length + before), n1)
        _pull(bonded, b, last * after, n2)
        _pull(bonded, c, -first * before, n1)
        _pull(bonded, c, -last * (length + after), n2)
        _pull(bonded, d, last * length, n2)


@njit(cache=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"})
def _repulsion(columns, block, types, sigma6, excluded, bonded, energy, gradient, add):
    """Write the sum of the bonded terms and (sigma / r)^6 of all pairs that repel, of some beads.

    Each bead looks at all others: a pair is computed twice, but the loop over them only adds up,
    and so becomes vector instructions. A sum is split over lanes in the same way every run.
    """
    stay_apart()
    begin, stop, kind = np.intp(block[1]), np.intp(block[2]), np.intp(block[3])
    beads, real = stop - begin, columns.dtype.type
    xs, ys, zs = columns[0, begin:stop], columns[1, begin:stop], columns[2, begin:stop]
    types, excluded = types[kind : kind + beads], excluded[kind : kind + beads]
    strength = np.empty(beads, columns.dtype)
    zero, half, one, six = real(0.0), real(0.5), real(1.0), real(6.0)
    first = np.intp(block[0]) - begin
    for i in range(first, min(first + ROWS, beads)):
        sigma6_i, mask = sigma6[types[i]], np.uint64(excluded[i])
        for j in range(beads):
            strength[j] = sigma6_i[types[j]]
        for j in range(max(0, i - REACH), min(beads, i + REACH + 1)):
            if (mask >> np.uint64(REACH + j - i)) & np.uint64(1):
                strength[j] = zero
        x, y, z = xs[i], ys[i], zs[i]
        sum_e = sum_x = sum_y = sum_z = zero
        for j in range(beads):
            dx, dy, dz = x - xs[j], y - ys[j], z - zs[j]
            square = dx * dx + dy * dy + dz * dz
            square = one if strength[j] == zero else square  # the bead itself, for one
            inverse = one / square
            e = strength[j] * inverse * inverse * inverse
            sum_e += e
            slope = e * inverse
            sum_x += slope * dx
            sum_y += slope * dy
            sum_z += slope * dz
        bead = begin + i
        e = bonded[bead, 3] + half * sum_e
        energy[bead] = energy[bead] + e if add else e
        for axis, total in enumerate((sum_x, sum_y, sum_z)):
            g = bonded[bead, axis] - six * total
            gradient[bead, axis] = gradient[bead, axis] + g if add else g
