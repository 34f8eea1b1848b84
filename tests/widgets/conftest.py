"""A small protein with a small network, and records without a measurement."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flashschnet_lab.measure.bench import Work, predict
from flashschnet_lab.measure.bytes import predicted_bytes, predicted_flops, predicted_peak_bytes
from flashschnet_lab.measure.roofline import Ceilings, least_seconds
from flashschnet_lab.measure.work import directed_edges
from flashschnet_lab.system import System
from tests.tiny_system import tiny_system


@pytest.fixture(scope="session")
def system() -> System:
    return tiny_system()


@pytest.fixture(scope="session")
def made_record() -> Callable[..., dict]:
    """A function that makes a record of a work, as `measure` would on a machine that we know."""

    def make(work: Work, ms: float = 2.0, error: float = 1e-6) -> dict:
        edges = directed_edges(work.system)
        costs, roof = predict(work, edges), Ceilings(1e10, 1e11, "float32")
        return {
            "cpu": "a CPU",
            "versions": {"flashschnet_lab": "9.9"},
            "date": "2030-01-02",
            "work": {
                "protein": work.system.name,
                "replicas": work.replicas,
                "beads": work.system.protein.beads,
                "directed_edges": edges,
            },
            "plan": work.label,
            "precision": work.precision,
            "stage": work.stage,
            "force_error": error / 2,
            "network_force_error": error,
            "peak_bytes": predicted_peak_bytes(costs) + 1,
            "ms": {"min": ms / 2, "median": ms, "max": 2 * ms},
            "predicted_bytes": predicted_bytes(costs),
            "predicted_peak_bytes": predicted_peak_bytes(costs),
            "predicted_flops": predicted_flops(costs),
            "roofline_fraction": least_seconds(costs, roof) / (1e-3 * ms),
            "ceilings": roof.to_dict(),
        }

    return make


@pytest.fixture(autouse=True)
def _as_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer what a person's kernel can run, also after tests that made Triton interpret."""
    monkeypatch.setattr("flashschnet_kernels.plan._interpreting", lambda: False)
