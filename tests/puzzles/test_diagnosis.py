"""What the checker says of launchers that are no solutions at all."""

from __future__ import annotations

import pytest
import torch

triton = pytest.importorskip("triton", reason="Triton is not installed")
tl = pytest.importorskip("triton.language")

from flashschnet_lab.errors import UserError
from flashschnet_lab.puzzles import check_puzzle, diagnose
from flashschnet_lab.puzzles.interpreter import require_triton

try:
    require_triton()
except UserError as problem:
    pytest.skip(str(problem), allow_module_level=True)

PNG = b"\x89PNG"


@triton.jit
def idle_kernel(x, y):
    pass


@triton.jit
def first_kernel(x, y, count, BLOCK: tl.constexpr):  # noqa: N803
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + n, 2.0 * tl.load(x + n, mask=n < count), mask=n < count)


def test_a_stub_is_not_solved_yet(capsys):
    diagnosis = check_puzzle("double", lambda x, y: idle_kernel[(1,)](x, y))
    assert diagnosis.categories == ("unsolved",) and not diagnosis.solved
    assert "not solved yet" in capsys.readouterr().out
    assert diagnosis._repr_png_() is None


def test_plain_pytorch_is_no_kernel():
    diagnosis = diagnose("double", lambda x, y: y.copy_(2 * x))
    assert diagnosis.categories == ("unsolved",)
    assert "No Triton kernel" in str(diagnosis)


def test_a_launcher_with_other_arguments_is_told_which():
    diagnosis = diagnose("double", lambda x: None)
    assert diagnosis.categories == ("crash",)
    assert "the output last" in str(diagnosis)


def test_a_wrong_answer_has_a_picture():
    def launch(x, y):
        first_kernel[(1,)](x, y, len(x), BLOCK=16)

    diagnosis = diagnose("double", launch)
    assert diagnosis.categories == ("mask",)
    assert diagnosis.failed == "32 numbers" and diagnosis.passed == ()
    picture = diagnosis._repr_png_()
    assert picture is not None and picture.startswith(PNG)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_right_answer_says_where_speed_is_measured():
    def launch(x, y):
        first_kernel[(triton.cdiv(len(x), 16),)](x, y, len(x), BLOCK=16)

    diagnosis = diagnose("double", launch)
    assert diagnosis.solved and diagnosis.speed is None
    assert "GPU" in str(diagnosis)


def test_an_unknown_puzzle_is_refused():
    with pytest.raises(UserError, match="there is no puzzle 'sum'"):
        diagnose("sum", lambda: None)
