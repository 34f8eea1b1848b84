"""The cosine envelope inside Triton kernels, without tl.cos.

With s = sin(pi/2 (1 - r / cutoff)) and c = cos of the same angle,

    C(r) = (cos(pi r / cutoff) + 1) / 2 = s^2,     C'(r) = -(pi / cutoff) s c.

A square keeps its relative precision where C vanishes, which 1 + cos does not, and c is the sine of
pi/2 r / cutoff, so that one odd polynomial serves both. tl.cos and tl.sin would add a slow path for
large arguments, and registers for it.

With a lower cutoff the filter has a hump instead, sin^2(pi x) with x = (r - lower) / (cutoff -
lower). Its sine is that of pi/2 t with t = 2 min(x, 1 - x), and its cosine, of the sign of 1/2 - x,
the sine of pi/2 (1 - t).
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def quarter_sine(t):
    """Return sin(pi/2 t) for t in [0, 1].

    Polynomials of least greatest relative error: 2e-11 for float32, 4e-22 for float64, rounding
    aside.
    """
    u = t * t
    if t.dtype == tl.float64:
        p = 6.064190900795492e-12 - 4.248884839244850e-14 * u
        p = -6.688002441981118e-10 + p * u
        p = 5.692172686367703e-8 + p * u
        p = -3.598843234157670e-6 + p * u
        p = 1.604411847870717e-4 + p * u
        p = -4.681754135318643e-3 + p * u
        p = 7.969262624616705e-2 + p * u
        p = -6.459640975062463e-1 + p * u
        p = 1.5707963267948966 + p * u
    else:
        p = 1.602470288682493e-4 - 3.428790746445033e-6 * u
        p = -4.681651016367567e-3 + p * u
        p = 7.969260125989103e-2 + p * u
        p = -6.459640952644689e-1 + p * u
        p = 1.5707963267616727 + p * u
    return t * p


@triton.jit
def cosine_envelope(r, cutoff):
    """Return C(r), zero from the cutoff on. `r` is any block of distances >= 0."""
    # cutoff - r is exact close to the cutoff, where 1 - r / cutoff would lose its digits.
    s = quarter_sine((cutoff - r) * (1.0 / cutoff))
    return tl.where(r < cutoff, s * s, 0.0)


@triton.jit
def cosine_envelope_slope(r, cutoff):
    """Return C'(r), per unit of length, zero from the cutoff on. `r` is any block >= 0."""
    s = quarter_sine((cutoff - r) * (1.0 / cutoff))
    c = quarter_sine(r * (1.0 / cutoff))
    slope = (-3.141592653589793 / cutoff) * s * c
    return tl.where(r < cutoff, slope, 0.0)


@triton.jit
def filter_envelope(r, lower: tl.constexpr, cutoff):
    """Return the envelope on the filter: C(r), or the hump where there is a lower cutoff."""
    if lower == 0.0:
        return cosine_envelope(r, cutoff)
    else:
        # Differences from the nearer cutoff are exact close to it.
        near = tl.minimum(r - lower, cutoff - r)
        s = quarter_sine(near * (2.0 / (cutoff - lower)))
        return tl.where((r >= lower) & (r < cutoff), s * s, 0.0)


@triton.jit
def filter_envelope_slope(r, lower: tl.constexpr, cutoff):
    """Return its slope per unit of length, zero where the envelope is."""
    if lower == 0.0:
        return cosine_envelope_slope(r, cutoff)
    else:
        # No name for the constant: as a variable it would be float32, also beside float64.
        t = tl.minimum(r - lower, cutoff - r) * (2.0 / (cutoff - lower))
        half = quarter_sine(t) * quarter_sine(1.0 - t) * (6.283185307179586 / (cutoff - lower))
        slope = tl.where(r - lower < cutoff - r, half, -half)
        return tl.where((r >= lower) & (r < cutoff), slope, 0.0)
