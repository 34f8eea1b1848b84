"""Bonded terms on a GPU: every bead works out its own share of the terms that it takes part in.

A term is worked out once by each of its beads, two to four times in all: that is cheaper than to
write the shares of a term where its beads find them. All terms of a bead are done at once, side by
side in a tile [ROWS, places], and added up in a fixed order; so nothing is atomic, and there is one
chain of loads per family however many terms a bead has.

These are parts of the kernel in `triton.py`, not kernels.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def bonds(positions, places, parameters, row, start, plane, WIDTH: tl.constexpr):
    """Return energy and gradient of ROWS beads from k (r - r0)^2, four tensors [ROWS].

    Args:
        positions: [beads, 3].
        places: see `layout.Terms`; `plane` is the size of one of its planes.
        parameters: [different, 2].
        row: [ROWS] of each bead in `places`, or -1 outside.
        start: first bead of the molecule.
    """
    at = row[:, None].to(tl.int64) * WIDTH + tl.arange(0, WIDTH)[None, :]
    inside = (row >= 0)[:, None] & (tl.arange(0, WIDTH) >= 0)[None, :]
    code = tl.load(places + 2 * plane + at, mask=inside, other=-1)
    there = code >= 0
    u_x, u_y, u_z = _between(positions, places, places + plane, at, start, there)
    of_term = parameters + (code >> 1).to(tl.int64) * 2
    k = tl.load(of_term, mask=there, other=0.0)
    r0 = tl.load(of_term + 1, mask=there, other=0.0)
    r = _root(u_x * u_x + u_y * u_y + u_z * u_z)
    stretch = r - r0
    pull = -2.0 * k * stretch / r  # u points away from the bead
    energy = tl.where(there, 0.5 * k * stretch * stretch, 0.0)
    g_x = tl.where(there, pull * u_x, 0.0)
    g_y = tl.where(there, pull * u_y, 0.0)
    g_z = tl.where(there, pull * u_z, 0.0)
    return tl.sum(energy, 1), tl.sum(g_x, 1), tl.sum(g_y, 1), tl.sum(g_z, 1)


@triton.jit
def angles(positions, places, parameters, row, start, plane, WIDTH: tl.constexpr):
    """Return energy and gradient of ROWS beads from k (cos t - cos0)^2; arguments as `bonds`.

    The energy is the apex's.
    """
    at = row[:, None].to(tl.int64) * WIDTH + tl.arange(0, WIDTH)[None, :]
    inside = (row >= 0)[:, None] & (tl.arange(0, WIDTH) >= 0)[None, :]
    code = tl.load(places + 3 * plane + at, mask=inside, other=-1)
    there = code >= 0
    u_x, u_y, u_z = _between(positions, places + plane, places, at, start, there)
    v_x, v_y, v_z = _between(positions, places + plane, places + 2 * plane, at, start, there)
    of_term = parameters + (code >> 1).to(tl.int64) * 2
    k = tl.load(of_term, mask=there, other=0.0)
    cos0 = tl.load(of_term + 1, mask=there, other=0.0)
    uu = 1.0 / (u_x * u_x + u_y * u_y + u_z * u_z)
    vv = 1.0 / (v_x * v_x + v_y * v_y + v_z * v_z)
    uv = _root(uu) * _root(vv)
    cos = (u_x * v_x + u_y * v_y + u_z * v_z) * uv
    slope = 2.0 * k * (cos - cos0)
    apex = (code & 1) == 1
    # End u: v / (|u| |v|) - cos u / |u|^2. The apex: minus both ends together.
    of_u = tl.where(apex, cos * uu - uv, -cos * uu)
    of_v = tl.where(apex, cos * vv - uv, uv)
    energy = tl.where(there & apex, k * (cos - cos0) * (cos - cos0), 0.0)
    g_x = tl.where(there, slope * (of_u * u_x + of_v * v_x), 0.0)
    g_y = tl.where(there, slope * (of_u * u_y + of_v * v_y), 0.0)
    g_z = tl.where(there, slope * (of_u * u_z + of_v * v_z), 0.0)
    return tl.sum(energy, 1), tl.sum(g_x, 1), tl.sum(g_y, 1), tl.sum(g_z, 1)


@triton.jit
def dihedrals(
    positions,
    places,
    parameters,
    row,
    start,
    plane,
    WIDTH: tl.constexpr,
    ORDERS: tl.constexpr,
):
    """Return energy and gradient of ROWS beads from Fourier series; arguments as `bonds`.

    The four beads share the energy. cos(n phi) and sin(n phi) follow from the cosine and sine that
    the normals make: no angle is ever computed.
    """
    at = row[:, None].to(tl.int64) * WIDTH + tl.arange(0, WIDTH)[None, :]
    inside = (row >= 0)[:, None] & (tl.arange(0, WIDTH) >= 0)[None, :]
    code = tl.load(places + 4 * plane + at, mask=inside, other=-1)
    there = code >= 0
    second, third = places + plane, places + 2 * plane
    a_x, a_y, a_z = _between(positions, places, second, at, start, there)
    b_x, b_y, b_z = _between(positions, second, third, at, start, there)
    c_x, c_y, c_z = _between(positions, third, places + 3 * plane, at, start, there)
    m_x, m_y, m_z = a_y * b_z - a_z * b_y, a_z * b_x - a_x * b_z, a_x * b_y - a_y * b_x
    n_x, n_y, n_z = b_y * c_z - b_z * c_y, b_z * c_x - b_x * c_z, b_x * c_y - b_y * c_x
    mm = 1.0 / (m_x * m_x + m_y * m_y + m_z * m_z)
    nn = 1.0 / (n_x * n_x + n_y * n_y + n_z * n_z)
    mn = _root(mm) * _root(nn)
    b = _root(b_x * b_x + b_y * b_y + b_z * b_z)
    cos = (m_x * n_x + m_y * n_y + m_z * n_z) * mn
    sin = (a_x * n_x + a_y * n_y + a_z * n_z) * b * mn

    of_term = parameters + (code >> 1).to(tl.int64) * (1 + 2 * ORDERS)
    energy = tl.load(of_term, mask=there, other=0.0)
    slope = energy * 0.0
    cos_n, sin_n = cos, sin
    for n in tl.static_range(1, ORDERS + 1):
        k1 = tl.load(of_term + n, mask=there, other=0.0)
        k2 = tl.load(of_term + ORDERS + n, mask=there, other=0.0)
        energy += k1 * sin_n + k2 * cos_n
        slope += n * (k1 * cos_n - k2 * sin_n)
        cos_n, sin_n = cos_n * cos - sin_n * sin, sin_n * cos + cos_n * sin

    ab, bc = a_x * b_x + a_y * b_y + a_z * b_z, b_x * c_x + b_y * c_y + b_z * c_z
    inner = (code & 1) == 1
    of_m = slope * mm * tl.where(inner, b + ab / b, -b)
    of_n = slope * nn * tl.where(inner, bc / b, 0.0)
    energy = tl.where(there, 0.25 * energy, 0.0)
    g_x = tl.where(there, of_m * m_x + of_n * n_x, 0.0)
    g_y = tl.where(there, of_m * m_y + of_n * n_y, 0.0)
    g_z = tl.where(there, of_m * m_z + of_n * n_z, 0.0)
    return tl.sum(energy, 1), tl.sum(g_x, 1), tl.sum(g_y, 1), tl.sum(g_z, 1)


@triton.jit
def _between(positions, from_plane, to_plane, at, start, there):
    """Return the vectors from one member of each term to another."""
    p = positions + (start + tl.load(from_plane + at, mask=there, other=0)).to(tl.int64) * 3
    q = positions + (start + tl.load(to_plane + at, mask=there, other=0)).to(tl.int64) * 3
    x = tl.load(q, mask=there, other=0.0) - tl.load(p, mask=there, other=0.0)
    y = tl.load(q + 1, mask=there, other=0.0) - tl.load(p + 1, mask=there, other=0.0)
    z = tl.load(q + 2, mask=there, other=0.0) - tl.load(p + 2, mask=there, other=0.0)
    return x, y, z


@triton.jit
def _root(x):
    """Return the square root, rounded correctly: a bond is a small difference of lengths."""
    if x.dtype == tl.float32:
        return tl.sqrt_rn(x)
    return tl.sqrt(x)
