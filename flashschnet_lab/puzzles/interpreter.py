"""Triton kernels on a CPU, program by program, in a memory that notices every mistake.

Triton's own interpreter runs a kernel's Python with numpy in place of the GPU. It is normally
switched on by an environment variable that has to be set before Triton is imported. Here it is
switched on for the length of a `with` block, and off again, so that ordinary `@triton.jit` kernels
run interpreted inside and compiled outside, in one process and without a GPU if need be.
"""

from __future__ import annotations

import importlib.util
import inspect
import linecache
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from flashschnet_lab.errors import UserError
from flashschnet_lab.puzzles.memory import Memory

MOST_PROGRAMS = 20_000


class KernelError(Exception):
    """A kernel that does not run: what Python or Triton said, and the line of the source."""

    def __init__(self, message: str, line: str = "") -> None:
        super().__init__(message)
        self.line = line


def require_triton() -> None:
    """Refuse to go on without a Triton that can be interpreted.

    Raises:
        UserError: Triton is missing, or does not work with this numpy; with what to do.
    """
    if importlib.util.find_spec("triton") is None:
        raise UserError(
            "Triton is not installed. On Linux: pip install triton (no GPU is needed). There is no "
            "Triton for macOS, and on Windows it needs WSL: open the puzzles on a Linux computer, "
            "in a Linux container (docker run -it -p 8888:8888 python:3.12), or in WSL."
        )
    import triton

    version = tuple(int(part) for part in triton.__version__.split(".")[:2])
    if version < (3, 7) and tuple(map(int, np.__version__.split(".")[:2])) >= (2, 4):
        raise UserError(
            f"the interpreter of Triton {triton.__version__} does not work with numpy "
            f'{np.__version__}: pip install "numpy<2.4", or Triton 3.7 or later'
        )


@contextmanager
def interpreted(memory: Memory | None = None) -> Iterator[Memory]:
    """Run every Triton kernel that is launched in this block on the CPU, and note what it does.

        with interpreted() as memory:
            my_kernel[(4,)](x, y, BLOCK=16)  # tensors on the CPU

    Args:
        memory: where accesses are noted; a new one without it.

    Raises:
        UserError: Triton is missing.
        KernelError: a kernel does not run.
    """
    require_triton()
    from triton import language
    from triton.runtime import interpreter
    from triton.runtime.jit import JITFunction

    memory = Memory() if memory is None else memory

    def run(kernel: Any, *arguments: Any, grid: Any, warmup: bool = False, **keywords: Any) -> None:
        if not warmup:
            _launch(kernel.fn, arguments, keywords, grid, memory)

    def on_grid(kernel: Any, grid: Any) -> Callable[..., None]:
        return partial(run, kernel, grid=grid)

    def call(function: Any, *arguments: Any, **keywords: Any) -> Any:
        return interpreter.InterpretedFunction(function.fn).rewrite()(*arguments, **keywords)

    def bind(function: Any, owner: Any, kind: Any = None) -> Any:
        return function if owner is None else partial(function, owner)  # x.sum() is tl.sum(x)

    with ExitStack() as stack:
        stack.enter_context(np.errstate(all="ignore"))
        stack.enter_context(_language_put_back())
        for kind in (JITFunction, interpreter.InterpretedFunction):
            stack.enter_context(_replaced(kind, "run", run))
            stack.enter_context(_replaced(kind, "__getitem__", on_grid))
            stack.enter_context(_replaced(kind, "__call__", call))
        stack.enter_context(_replaced(JITFunction, "__get__", bind))
        modules = {"tl": language, "core": language.core}
        interpreter._patch_lang(SimpleNamespace(__globals__=modules))
        for name, method in _memory_operations(memory).items():
            stack.enter_context(_replaced(interpreter.interpreter_builder, name, method))
        yield memory


def _launch(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    grid: Any,
    memory: Memory,
) -> None:
    """Run all programs of one launch, one after another."""
    from triton.runtime.interpreter import InterpretedFunction, interpreter_builder

    parameters = inspect.signature(function).parameters
    keywords = {name: value for name, value in keywords.items() if name in parameters}
    bound = inspect.getcallargs(function, *arguments, **keywords)
    grid = grid(bound) if callable(grid) else grid
    whole = tuple(int(size) for size in (*grid, 1, 1, 1)[:3])
    if np.prod(whole) > MOST_PROGRAMS:
        raise KernelError(f"the grid {tuple(grid)} has more programs than this small case needs")
    converted = {
        name: value
        if "constexpr" in str(parameters[name].annotation)
        else _as_triton(name, value, memory)
        for name, value in bound.items()
    }
    body = InterpretedFunction(function).rewrite()
    memory.refresh()
    interpreter_builder.set_grid_dim(*whole)
    for program in np.ndindex(whole):
        memory.program = program
        interpreter_builder.set_grid_idx(*program)
        try:
            body(**converted)
        except Exception as error:
            line = _line_of(error, function.__code__.co_filename)
            raise KernelError(_first_sentence(error), line) from error
    memory.launches += 1


def _as_triton(name: str, value: Any, memory: Memory) -> Any:
    """Return an argument of a kernel as the interpreter takes it: tensors become pointers."""
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    if isinstance(value, torch.Tensor):
        if value.device.type != "cpu":
            raise KernelError(f"{name} lies on {value.device}, but kernels are interpreted here")
        pointer = tl.pointer_type(_triton_dtype(value.dtype))
        address = np.array([memory.address(name, value)], dtype=np.uint64)
        return tl.tensor(TensorHandle(address, pointer), pointer)
    if isinstance(value, bool):
        return tl.tensor(TensorHandle(np.array([value]), tl.int1), tl.int1)
    if isinstance(value, int):
        wide = not -(2**31) <= value < 2**31
        dtype = tl.int64 if wide else tl.int32
        number = np.array([value], dtype=np.int64 if wide else np.int32)
        return tl.tensor(TensorHandle(number, dtype), dtype)
    return value


def _triton_dtype(dtype: torch.dtype) -> Any:
    import triton.language as tl

    names = {"float16": "float16", "bfloat16": "bfloat16", "float32": "float32"}
    names |= {"float64": "float64", "bool": "int1", "uint8": "uint8"}
    name = str(dtype).removeprefix("torch.")
    return getattr(tl, names.get(name, name))


def _memory_operations(memory: Memory) -> dict[str, Callable[..., Any]]:
    """Return what replaces the interpreter's access to real memory."""
    from triton.runtime.interpreter import TensorHandle, _get_np_dtype

    def element_type(pointers: Any) -> tuple[Any, np.dtype]:
        kind = pointers.get_element_ty()
        return kind, np.dtype(_get_np_dtype(kind))

    def load(pointers: Any, mask: Any, other: Any, *_: Any) -> Any:
        kind, dtype = element_type(pointers)
        memory.line = _line_now()
        fill = None if other is None else other.data
        return TensorHandle(memory.load(pointers.data, mask.data, fill, dtype), kind)

    def store(pointers: Any, value: Any, mask: Any, *_: Any) -> None:
        memory.line = _line_now()
        _, dtype = element_type(pointers)
        memory.store(pointers.data, value.data.astype(dtype, copy=False), mask.data)

    def atomic(operation: Any, pointers: Any, value: Any, mask: Any, *_: Any) -> Any:
        memory.line = _line_now()
        kind, dtype = element_type(pointers)
        name = str(operation).rpartition(".")[2].upper().removeprefix("F").removeprefix("U")
        ufunc = {"ADD": "add", "MAX": "maximum", "MIN": "minimum", "XCHG": "exchange"}
        ufunc |= {"AND": "bitwise_and", "OR": "bitwise_or", "XOR": "bitwise_xor"}
        data = value.data.astype(dtype, copy=False)
        return TensorHandle(memory.atomic(ufunc[name], pointers.data, data, mask.data), kind)

    def compare_and_swap(pointers: Any, compare: Any, value: Any, *_: Any) -> Any:
        memory.line = _line_now()
        kind, dtype = element_type(pointers)
        everywhere = np.ones(pointers.data.shape, bool)
        before = memory.atomic("bitwise_or", pointers.data, np.zeros(1, dtype), everywhere)
        same = before == compare.data
        memory.atomic("exchange", pointers.data, value.data.astype(dtype, copy=False), same)
        return TensorHandle(before, kind)

    return {
        "create_masked_load": load,
        "create_masked_store": store,
        "create_atomic_rmw": atomic,
        "create_atomic_cas": compare_and_swap,
    }


def _line_now() -> str:
    """Return the source line of the kernel that runs, not of a library that it calls."""
    frame, line = sys._getframe(2), ""
    for _ in range(40):
        name = frame.f_code.co_filename
        if name == __file__:
            break
        if "triton" not in name.replace("\\", "/").split("/"):
            line = linecache.getline(name, frame.f_lineno).strip()
        if frame.f_back is None:
            break
        frame = frame.f_back
    return line


def _line_of(error: Exception, filename: str) -> str:
    """Return the deepest line of a file in an error's traceback."""
    line, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == filename:
            line = linecache.getline(filename, trace.tb_lineno).strip()
        trace = trace.tb_next
    return line


def _first_sentence(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Give an object another attribute for a while."""
    own = name in vars(owner)
    before = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


@contextmanager
def _language_put_back() -> Iterator[None]:
    """Put Triton's language back as it was: the interpreter leaves its own functions behind."""
    import triton.language as tl

    core = tl.core
    names = ("tensor", "dtype", "condition", "tensor_descriptor_base")
    owners = [tl, core, tl.math, *(getattr(core, n) for n in names if hasattr(core, n))]
    before = [(owner, dict(vars(owner))) for owner in owners]
    try:
        yield
    finally:
        for owner, old in before:
            for name, value in list(vars(owner).items()):
                if name not in old:
                    delattr(owner, name)
                elif old[name] is not value:
                    setattr(owner, name, old[name])
