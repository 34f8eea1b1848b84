"""The interpreter that is switched on for a while, and its memory."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

triton = pytest.importorskip("triton", reason="Triton is not installed")
tl = pytest.importorskip("triton.language")

from flashschnet_lab.errors import UserError
from flashschnet_lab.puzzles import interpreter
from flashschnet_lab.puzzles.interpreter import KernelError, interpreted, require_triton

try:
    require_triton()
except UserError as problem:
    pytest.skip(str(problem), allow_module_level=True)


@triton.jit
def mirrored(x):
    return 0.0 - x


@triton.jit
def library_kernel(x, sums, largest, negative, count, BLOCK: tl.constexpr):  # noqa: N803
    n = tl.arange(0, BLOCK)
    value = tl.load(x + n, mask=n < count, other=0.0)
    tl.store(sums, tl.sum(value, axis=0) + value.sum(0))
    tl.store(largest, tl.max(value, axis=0))
    tl.store(negative + n, mirrored(value), mask=n < count)


@triton.jit
def reader_kernel(x, out, offset):
    tl.store(out, tl.load(x + offset))


@triton.jit
def masked_kernel(x, out, BLOCK: tl.constexpr):  # noqa: N803
    n = tl.arange(0, BLOCK)
    tl.store(out + n, tl.load(x + n, mask=n < 2))


@triton.jit
def atomic_kernel(out):
    tl.atomic_add(out + tl.arange(0, 4) // 2, 1.0)


@triton.jit
def broken_kernel(x):
    tl.store(x + tl.arange(0, 4), tl.arange(0, 8))


def test_the_library_and_other_kernels_can_be_called():
    x = torch.arange(5, dtype=torch.float32)
    sums, largest, negative = torch.zeros(1), torch.zeros(1), torch.zeros(5)
    with interpreted():
        library_kernel[(1,)](x, sums, largest, negative, 5, BLOCK=8)
    assert sums.item() == 20.0 and largest.item() == 4.0
    torch.testing.assert_close(negative, -x)


def test_triton_is_left_as_it_was():
    owners = [tl, tl.core, tl.core.tensor, tl.math, tl.core.dtype]
    with interpreted():
        reader_kernel[(1,)](torch.zeros(3), torch.zeros(1), 0)  # some modules are imported late
    before = [dict(vars(owner)) for owner in owners]
    kind = dict(vars(type(reader_kernel)))
    environment, knob = os.environ.get("TRITON_INTERPRET"), triton.knobs.runtime.interpret
    with pytest.raises(KernelError), interpreted():
        broken_kernel[(1,)](torch.zeros(8))
    for owner, old in zip(owners, before, strict=True):
        now = vars(owner)
        assert now.keys() == old.keys()
        assert all(now[name] is old[name] for name in old)
    assert dict(vars(type(reader_kernel))) == kind
    assert os.environ.get("TRITON_INTERPRET") == environment
    assert triton.knobs.runtime.interpret == knob


@pytest.mark.parametrize("offset", [3, -1, 1 << 30])
def test_nothing_outside_a_tensor_is_touched(offset):
    x, out = torch.ones(3), torch.zeros(1)
    with interpreted() as memory:
        reader_kernel[(1,)](x, out, offset)
    assert torch.isnan(out).all()
    (load, store) = memory.accesses
    assert (load.kind, load.array, load.outside.tolist()) == ("load", "x", [offset])
    assert store.kind == "store" and not len(store.outside)
    assert load.line == "tl.store(out, tl.load(x + offset))"


def test_a_view_has_its_own_first_element():
    x, out = torch.arange(6.0), torch.zeros(1)
    with interpreted():
        reader_kernel[(1,)](x[2:], out, 1)
    assert out.item() == 3.0


def test_a_lane_without_other_has_no_value():
    out = torch.zeros(4)
    with interpreted():
        masked_kernel[(1,)](torch.ones(4), out, BLOCK=4)
    assert torch.isnan(out).tolist() == [False, False, True, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_atomic_sums_count_every_lane(dtype):
    out = torch.zeros(2, dtype=dtype)
    with interpreted() as memory:
        atomic_kernel[(3,)](out)
    assert out.tolist() == [6.0, 6.0]
    assert [access.program[0] for access in memory.accesses] == [0, 1, 2]


def test_bfloat16_is_carried_as_bits():
    x, out = torch.tensor([1.5, 2.5], dtype=torch.bfloat16), torch.zeros(1, dtype=torch.bfloat16)
    with interpreted():
        reader_kernel[(1,)](x, out, 1)
    assert out.item() == 2.5


def test_an_error_names_the_line():
    with pytest.raises(KernelError) as caught, interpreted():
        broken_kernel[(1,)](torch.zeros(8))
    assert caught.value.line == "tl.store(x + tl.arange(0, 4), tl.arange(0, 8))"


def test_a_huge_grid_is_refused():
    with pytest.raises(KernelError, match="more programs"), interpreted():
        reader_kernel[(10**6,)](torch.zeros(1), torch.zeros(1), 0)


def test_without_triton_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setattr(interpreter.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install triton"):
        require_triton()


def test_an_old_interpreter_and_a_new_numpy_are_refused(monkeypatch):
    monkeypatch.setattr(triton, "__version__", "3.6.0")
    monkeypatch.setattr(np, "__version__", "2.4.1")
    with pytest.raises(UserError, match="numpy<2.4"):
        require_triton()
