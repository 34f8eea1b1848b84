"""How every Triton kernel of this package is compiled, whatever Triton's own default is."""

from __future__ import annotations

FMA = {"enable_fp_fusion": True}
"""A product and the sum it goes into are one instruction, rounded once. All that is measured here
was measured so; Triton 3.9 warns that its default will change, and 3.10 is to round twice."""
