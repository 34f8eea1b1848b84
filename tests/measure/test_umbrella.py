"""Umbrella sampling as it is measured: a record that is plain JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pymbar", reason="pymbar is not installed")

from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import structure_based_model
from flashschnet_lab.measure.umbrella import measure
from flashschnet_lab.proteins.library import embedded_protein
from flashschnet_lab.system import System

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
