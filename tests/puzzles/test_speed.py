"""The race against our kernels: it computes the same, and its picture is drawn."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.roofline import Ceilings
from flashschnet_lab.puzzles.interpreter import interpreted, require_triton
from flashschnet_lab.puzzles.series import MODULES, open_puzzle
from flashschnet_lab.puzzles.specification import Finding, Work
from flashschnet_lab.puzzles.speed import Speed, measure
from tests.puzzles.test_answers import SOLUTIONS, launcher

try:
    require_triton()
except UserError as problem:
    pytest.skip(str(problem), allow_module_level=True)

CPU = torch.device("cpu")
SMALL = {"MOLECULES": 2, "BEADS": 9, "FUNCTIONS": 16, "CHANNELS": 16, "GPU_SIZE": 64}


@pytest.fixture
def small(monkeypatch):
    """Races of a few beads, so that they can be interpreted."""
    for name in MODULES.values():
        module = import_module(f"flashschnet_lab.puzzles.{name}")
        for constant, value in SMALL.items():
            if hasattr(module, constant):
                monkeypatch.setattr(module, constant, value)
    monkeypatch.setattr("flashschnet_lab.puzzles.speed.SECONDS", 1e-3)


@pytest.mark.parametrize("name", MODULES)
def test_ours_computes_what_is_asked_for(name, small):
    puzzle = open_puzzle(name)
    assert puzzle.race is not None
    with interpreted():
        race = puzzle.race(CPU)
        ours = race.ours()
    if isinstance(ours, tuple):
        ours = ours[1] if name == "rbf" else ours[0]
    assert list(race.inputs) == [argument.name for argument in puzzle.arguments[:-1]]
    torch.testing.assert_close(ours.double(), puzzle.reference(race.inputs), rtol=2e-4, atol=2e-5)
    assert race.work.bytes_moved > 0


@pytest.mark.parametrize("name", ["double", "cfconv"])
def test_a_solution_is_timed(name, small):
    with interpreted():
        speed = measure(open_puzzle(name), launcher(SOLUTIONS / f"{name}.py"), CPU)
    assert isinstance(speed, Speed)
    assert speed.yours_ms > 0 and speed.ours_ms > 0
    assert "roofline" in str(speed)


def test_what_is_wrong_on_the_gpu_alone_is_said(small):
    def rounded(x, y):
        y.copy_((2.0 * x).half())

    def lost(x, y):
        y.copy_(2.0 * x)
        y[5] = 0.0

    def broken(x, y):
        raise RuntimeError("first line\nCompilationError: at 3:4")

    found = [measure(open_puzzle("double"), launch, CPU) for launch in (rounded, lost, broken)]
    assert [f.category for f in found if isinstance(f, Finding)] == ["dtype", "race", "crash"]
    assert "element 5 of 64" in str(found[1])
    assert "at 3:4" in str(found[2])


@pytest.mark.parametrize("flops", [0, 10**9, 10**12])
def test_the_roofline_is_the_longer_of_two_times(flops):
    ceilings = Ceilings(bytes_per_second=1e12, flops_per_second=1e13, arithmetic="float32")
    speed = Speed(2.0, 1.0, "ours", Work(10**9, flops), ceilings, "a GPU")
    assert speed.least_ms == pytest.approx(max(1.0, flops / 1e10))
    (axes,) = speed.picture().get_axes()
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {
        "yours: 2 ms",
        "ours: 1 ms",
    }


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", MODULES)
def test_the_solution_is_right_on_a_gpu(name):
    speed = measure(open_puzzle(name), launcher(SOLUTIONS / f"{name}.py"), torch.device("cuda"))
    assert isinstance(speed, Speed), str(speed)
    print(speed)
