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
        "tiles": Implementation("tiles of 8 x 8 beads with a pair in range", _EXACT, "triton"),
    },
    "radial_basis": {
        "reference": Implementation("plain PyTorch, any device", _EXACT),
        "triton": Implementation("distance, basis and envelope in one pass", _SCATTER, "triton"),
        "cpu": Implementation("distance, basis and envelope in one pass", _EXACT, "numba"),
    },
    "message_passing": {
        "reference": Implementation("each unordered pair once", _SCATTER),
        "edge_list": Implementation("two directed edges per pair, as CGSchNet", _SCATTER),
        "triton": Implementation(
            "one pass per block, filters stay on the chip", _EXACT, "triton"
        ),
        "cpu": Implementation("one pass per block, filters stay in the cache", _EXACT, "cpu"),
    },
    "aggregation": {
        "reference": Implementation("index_add, which scatters", _SCATTER),
        "triton": Implementation("sum over rows in a fixed order", _EXACT, "triton"),
        "cpu": Implementation("sum over rows in a fixed order, on all cores", _EXACT, "numba"),
    },
    "quantization": {
        "none": Implementation("weights and activations in the precision of the run", _EXACT),
        "fp16": Implementation("16-bit weights and activations, a scale per channel", _EXACT),
        "bf16": Implementation("as fp16, with more range and an eighth of its precision", _EXACT),
    },
    "priors": {
        "reference": Implementation("autograd over all terms", _SCATTER),
        "triton": Implementation("repulsion of all pairs in one pass", _EXACT, "triton"),
    },
    "langevin": {"reference": Implementation("Philox counter streams", _EXACT)},
}
