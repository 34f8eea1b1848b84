"""Prints the golden comparison of every imported model: python -m tests.checkpoints.golden_table.

Against the original codes in float64: the energy of network and priors, their forces, and the
forces of the network alone, each of the worst frame. Without the golden data, which are not
redistributed, it says so.
"""

from __future__ import annotations

from pathlib import Path

import torch

from tests.checkpoints.golden_models import (
    CHECKPOINTS,
    cases,
    error_of,
    imported_model,
    worst_frame,
)

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"
COLUMNS = (("reference", torch.float64), ("reference", torch.float32), ("exact", torch.float32))


def main() -> None:
    """Print a row per model and molecule."""
    if not GOLDEN.is_dir():
        print(f"the golden data are not at {GOLDEN}; they are not redistributed")
        return
    kinds = [f"{plan}, {str(dtype).removeprefix('torch.')}" for plan, dtype in COLUMNS]
    heads = [f"{kind}: energy, forces, network" for kind in kinds]
    print("| model | molecule | frames |", " | ".join(heads), "| original float32: network |")
    print("|---|---|---|" + "---|" * (len(heads) + 1))
    for name in CHECKPOINTS:
        model = imported_model(GOLDEN, name)
        for case in cases(GOLDEN, name):
            errors = [error_of(model, case, plan, dtype) for plan, dtype in COLUMNS]
            cells = [f"{e.energy:.1e}, {e.forces:.1e}, {e.network:.1e}" for e in errors]
            theirs = worst_frame(case.float32.astype(float), case.network_forces)
            first = f"| {name} | {case.molecule} | {len(case.positions)} |"
            print(first, " | ".join(cells), f"| {theirs:.1e} |", flush=True)


if __name__ == "__main__":
    main()
