"""What implementations every operator has: why one would choose each, and what it needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Implementation:
    """What an implementation is for.

    Attributes:
        reason: why one would choose it.
        determinism: whether it repeats to the bit.
        needs: "" (PyTorch alone), "triton", "numba" or "cpu".
    """

    reason: str
    determinism: str
    needs: str = ""


_EXACT = "same bits every run"
_SCATTER = "same bits every run on a CPU; on a GPU only with deterministic=True"

IMPLEMENTATIONS: dict[str, dict[str, Implementation]] = {
    "neighbors": {
        "reference": Implementation("all pairs of a molecule, any device", _EXACT),
        "verlet": Implementation("rows of neighbours, kept while nothing moved far", _EXACT),
        "tiles": Implementation(
            "8 x 8 beads with a pair in range, anew every step (1 % of it)", _EXACT, "triton"
        ),
    },
    "radial_basis": {
        "reference": Implementation("plain PyTorch, any device", _EXACT),
        "triton": Implementation("distance, basis and envelope in one pass", _SCATTER, "triton"),
        "cpu": Implementation("distance, basis and envelope in one pass", _EXACT, "numba"),
    },
    "filters": {
        "network": Implementation("the filter network itself", _EXACT),
        "table-exact": Implementation("cubic pieces, force error at most 1e-5", _EXACT),
        "table-balanced": Implementation("cubic pieces, force error at most 1e-4", _EXACT),
        "table-fast": Implementation("quadratic pieces, force error at most 3e-3", _EXACT),
    },
    "message_passing": {
        "reference": Implementation("each unordered pair once", _SCATTER),
        "edge_list": Implementation("two directed edges per pair, as CGSchNet", _SCATTER),
        "triton": Implementation("one pass per block, filters stay on the chip", _EXACT, "triton"),
        "cpu": Implementation("one pass per block, filters stay in the cache", _EXACT, "cpu"),
    },
    "aggregation": {
        "reference": Implementation("index_add, which scatters", _SCATTER),
        "triton": Implementation("sum over rows in a fixed order", _EXACT, "triton"),
        "cpu": Implementation("sum over rows in a fixed order, on all cores", _EXACT, "numba"),
    },
    "nodes": {
        "reference": Implementation("PyTorch's matrix products, a launch per operation", _EXACT),
        "triton": Implementation("all work on a bead between sums in one pass", _EXACT, "triton"),
        "cpu": Implementation("explicit forward and backward, without autograd", _EXACT, "numba"),
    },
    "quantization": {
        "none": Implementation("weights and activations in the precision of the run", _EXACT),
        "fp16": Implementation("16-bit weights and activations, a scale per channel", _EXACT),
        "bf16": Implementation("as fp16, with more range and an eighth of its precision", _EXACT),
    },
    "priors": {
        "reference": Implementation("autograd over all terms", _SCATTER),
        "triton": Implementation("all terms and repulsion in one pass", _EXACT, "triton"),
        "cpu": Implementation("all terms and repulsion in one compiled pass", _EXACT, "numba"),
    },
    "langevin": {
        "reference": Implementation("Philox counter streams", _EXACT),
        "triton": Implementation("noise, kicks, drifts and guards in two passes", _EXACT, "triton"),
        "cpu": Implementation("noise, kicks, drifts and guards in two passes", _EXACT, "numba"),
    },
}
