"""Restraints as they are written on a command line."""

from __future__ import annotations

import pytest

from flashschnet_lab.analysis.coordinates import between, end_to_end
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.restraint import restrain
from flashschnet_lab.simulation.restraint_text import restraint_of
from flashschnet_lab.system import System


def test_a_text_is_a_restraint(chain: System) -> None:
    spring = restrain(end_to_end(chain.protein), 20.0, 1.5, replicas=3)
    assert restraint_of("end_to_end=20:1.5", chain, 3).to_dict() == spring.to_dict()
    flat = restrain(between(chain.protein, 3, 17), 8.0, 5.0, 0.5, replicas=2)
    assert restraint_of("3-17=8:5:0.5", chain, 2).to_dict() == flat.to_dict()
    turn = restrain(between(chain.protein, 1, 6, 11, 15), -1.0, 5.0, replicas=1)
    assert restraint_of("1-6-11-15=-1:5", chain, 1).to_dict() == turn.to_dict()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("end_to_end", "end_to_end=20:1"),
        ("end_to_end=20", "NAME=CENTRE:STRENGTH"),
        ("end_to_end=20:1:2:3", "'end_to_end=20:1:2:3' should read like"),
        ("=20:1", "NAME=CENTRE:STRENGTH"),
        ("end_to_end=20 A:1", "'20 A' in --restrain"),
        ("end_to_end=20:strong", "'strong' in --restrain 'end_to_end=20:strong' is no number"),
        ("helix=0.5:1", "'helix'; known are end_to_end, rg, rmsd, q"),
        ("rg=8:-1", "strength"),
        ("rg=nan:1", "centre"),
        ("3-999=8:1", "3, 999"),
    ],
)
def test_mistakes_name_the_value(chain: System, text: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        restraint_of(text, chain, 1)
    assert words in str(error.value)
