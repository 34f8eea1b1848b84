"""Umbrella sampling as it is measured: a record that is plain JSON, and the one in the package."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pymbar", reason="pymbar is not installed")

from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import structure_based_model
from flashschnet_lab.measure.umbrella import measure
from flashschnet_lab.paths import data_folder
from flashschnet_lab.proteins.library import embedded_protein
from flashschnet_lab.system import System

RECORDS = sorted((data_folder() / "measurements" / "umbrella").glob("*.json"))
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def hairpin() -> System:
    protein = embedded_protein("chignolin").protein
    return System(protein, structure_based_model(protein), protein.positions)


def test_a_record_is_json(hairpin):
    found = measure(
        hairpin, centres=np.array([5.0, 5.5]), strength=2.0, pulling_ps=0.4, time_ps=1.2, every=10
    )
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again["windows"]["frames"] == 30
    assert len(again["profile"]["error"]) == len(again["profile"]["edges"]) - 1
    free = [f for f in again["profile"]["free_energy"] if f is not None]
    assert min(free) == 0.0
    with pytest.raises(UserError, match="reference"):
        measure(
            replace(hairpin, reference=None),
            centres=np.array([5.0]),
            strength=1.0,
            pulling_ps=1.0,
            time_ps=1.0,
        )


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_that_comes_with_the_package(path):
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["protein"] == "chignolin" and len(found["commit"]) == 40
    assert found["versions"]["pymbar"] and found["command"].startswith("python -m")
    assert min(found["windows"]["overlap"]) > 0.05
    edges = np.array(found["profile"]["edges"])
    free = np.array(found["profile"]["free_energy"], dtype=float)
    error = np.array(found["profile"]["error"], dtype=float)
    assert np.isfinite(free).all() and np.isfinite(error).all() and error.max() < 2.0
    lowest = int(free.argmin())
    assert edges[lowest] < 8.0  # the ends of the fold lie side by side
    assert free[-1] > 5.0  # and pulling them apart costs energy
