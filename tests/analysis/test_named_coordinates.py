"""Coordinates by name: each is the observable of that name, and mistakes say what is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashschnet_lab.analysis.coordinates import between
from flashschnet_lab.analysis.named_coordinates import (
    COORDINATES,
    coordinate_named,
    usual_span,
)
from flashschnet_lab.analysis.observables import OBSERVABLES, Target
from flashschnet_lab.analysis.structure import c_alpha_indices, native_pairs
from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.embedded import embedded_protein

PROTEIN = embedded_protein("chignolin").protein
NATIVE = PROTEIN.positions


@pytest.mark.parametrize("name", list(COORDINATES))
def test_a_named_coordinate_is_the_observable(name: str) -> None:
    x = NATIVE + np.random.default_rng(3).normal(0.0, 1.0, (5, PROTEIN.beads, 3))
    target = Target(PROTEIN, NATIVE, c_alpha_indices(PROTEIN), native_pairs(PROTEIN, NATIVE))
    expected = OBSERVABLES[name].measure(x, target)
    found = coordinate_named(name, PROTEIN, NATIVE)(torch.from_numpy(x))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_beads_are_a_coordinate() -> None:
    for name, beads in (("3-17", (3, 17)), ("3-8-17", (3, 8, 17)), ("1-6-11-15", (1, 6, 11, 15))):
        found = coordinate_named(name, PROTEIN)
        assert found.to_dict() == between(PROTEIN, *beads).to_dict()


@pytest.mark.parametrize("name", list(COORDINATES))
def test_a_span_begins_or_ends_near_the_fold(name: str) -> None:
    low, high = usual_span(name, PROTEIN, NATIVE)
    stretched = build_chain(PROTEIN.sequence, "extended").positions
    coordinate = coordinate_named(name, PROTEIN, NATIVE)
    folded, unfolded = coordinate(torch.from_numpy(np.stack([NATIVE, stretched]))).tolist()
    assert low < high
    for value in (folded, unfolded):  # at most half a span beyond it
        assert low - 0.5 * (high - low) < value < high + 0.7 * (high - low)


def test_mistakes_name_the_value_and_what_is_known() -> None:
    with pytest.raises(UserError, match="'gdt_ts'; known are end_to_end, rg, rmsd, q, and beads"):
        coordinate_named("gdt_ts", PROTEIN, NATIVE)
    with pytest.raises(UserError, match="rmsd compares with a native conformation"):
        coordinate_named("rmsd", PROTEIN)
    with pytest.raises(UserError, match="rg compares"):
        usual_span("rg", PROTEIN, None)
    with pytest.raises(UserError, match="from 0 to 48"):
        coordinate_named("3-99", PROTEIN)
    with pytest.raises(UserError, match="give 2, 3 or 4"):
        coordinate_named("1-2-3-4-5", PROTEIN)
    with pytest.raises(UserError, match="give --from and --to"):
        usual_span("3-17", PROTEIN, NATIVE)
