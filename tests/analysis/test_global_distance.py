"""GDT-TS against every superposition of every subset, and on cases with a known answer."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from flashschnet_lab.analysis.global_distance import CUTOFFS, gdt_ts
from flashschnet_lab.analysis.structure import superpose
from flashschnet_lab.proteins.builder import build_chain


def by_all_subsets(frame: np.ndarray, native: np.ndarray) -> float:
    """Return the best shares over superpositions of all subsets of at least three residues."""
    best = np.zeros(len(CUTOFFS))
    for size in range(3, len(native) + 1):
        for subset in combinations(range(len(native)), size):
            moved = superpose(frame, native, np.array(subset))
            apart = np.linalg.norm(moved - native, axis=1)
            best = np.maximum(best, [(apart < cutoff).mean() for cutoff in CUTOFFS])
    return float(best.mean())


def alphas(sequence: str) -> np.ndarray:
    return build_chain(sequence, "helix", mapping="ca").positions


def test_against_all_subsets():
    native = alphas("AGPWYKLE")
    random = np.random.default_rng(3)
    frames = native + random.normal(size=(12, 8, 3)) * np.linspace(0.3, 6.0, 12)[:, None, None]
    found = gdt_ts(frames, native)
    best = np.array([by_all_subsets(frame, native) for frame in frames])
    assert (found <= best + 1e-9).all()  # it is a lower bound ...
    assert (best - found).mean() < 0.5 / 8  # ... half a residue off at most, on average
    once = np.linalg.norm(superpose(frames, native) - native, axis=-1)[..., None] < CUTOFFS
    assert (found >= once.mean(axis=1).mean(axis=1) - 1e-9).all()


def test_the_native_fold_anywhere_counts_one():
    native = alphas("AGPWYKLEAGHK")
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    assert gdt_ts(native @ turn + 30.0, native) == pytest.approx(1.0)


def test_a_loose_end_costs_its_own_share():
    """Four of twelve residues far away: two thirds at every cutoff, while the RMSD is huge."""
    native = alphas("AGPWYKLEAGHK")
    loose = native.copy()
    loose[8:] += 60.0
    assert gdt_ts(loose, native) == pytest.approx(8 / 12)
    assert gdt_ts(np.stack([loose, native])[None], native).shape == (1, 2)


def test_two_residues_are_refused():
    with pytest.raises(ValueError, match="at least 3"):
        gdt_ts(np.zeros((2, 3)), np.zeros((2, 3)))
