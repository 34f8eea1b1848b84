"""Compile every Triton kernel for a list of GPUs, without a GPU.

    python -m flashschnet_kernels.ahead_of_time [sm_80 sm_90 sm_120]

prints shared memory, registers and stack of each variant, and fails if one does not compile or
needs more shared memory than the GPU has.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flashschnet_kernels.launching import FMA

MODULES = (
    "flashschnet_kernels.radial_basis.triton",
    "flashschnet_kernels.aggregation.triton",
    "flashschnet_kernels.neighbors.triton",
    "flashschnet_kernels.neighbors.tiles",
    "flashschnet_kernels.message_passing.triton",
    "flashschnet_kernels.filter_table.triton",
    "flashschnet_kernels.nodes.network_triton",
    "flashschnet_kernels.priors.triton",
    "flashschnet_kernels.langevin.triton",
)
TARGETS = {"sm_80": 80, "sm_90": 90, "sm_120": 120}
SHARED_LIMIT = {"sm_80": 163 * 1024, "sm_90": 227 * 1024, "sm_120": 99 * 1024}
"""Bytes of shared memory that one program may use: A100, H100 and H200, GeForce RTX 50."""


@dataclass(frozen=True)
class Specialisation:
    """One variant of a kernel, as it is launched.

    Attributes:
        kernel: the jitted function.
        signature: type of every argument that is not a constant: "*fp32", "i32", "fp32", ...
        constants: values of the constexpr arguments.
        num_warps: warps per program.
        num_stages: depth of software pipelining.
        targets: where it is launched.
        most_registers: per thread, that the compiler is held to; None where it is free.
        multiples: integers that are multiples of 16 wherever it matters, which decides how many
            numbers are read at a time.
    """

    kernel: Any
    signature: dict[str, str]
    constants: dict[str, Any] = field(default_factory=dict)
    num_warps: int = 4
    num_stages: int = 2
    targets: tuple[str, ...] = tuple(TARGETS)
    most_registers: int | None = None
    multiples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compiled:
    """What the compiler says of one variant on one target.

    Attributes:
        kernel: its name.
        target: a key of `TARGETS`.
        constants: of the variant.
        num_warps: of the variant.
        shared_bytes: shared memory per program.
        registers: per thread; None where cuobjdump, which comes with Triton, is missing.
        stack_bytes: local memory per thread, where registers that do not fit are spilled to.
        problem: why the variant cannot run, or nothing.
    """

    kernel: str
    target: str
    constants: dict[str, Any]
    num_warps: int
    shared_bytes: int = 0
    registers: int | None = None
    stack_bytes: int | None = None
    problem: str = ""


def build(variant: Specialisation, target: str) -> Any:
    """Return Triton's compiled kernel of one variant for "sm_80", "sm_90" or "sm_120".

    Raises:
        Exception: of any stage of the compiler, each has its own class.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    arguments = dict.fromkeys(variant.constants, "constexpr")
    # Triton wants the signature in the order of the kernel's parameters.
    order = variant.kernel.arg_names
    signature = {name: (variant.signature | arguments)[name] for name in order}
    # As at a launch: the storage of a tensor starts at a multiple of 16 bytes.
    attributes = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(order)
        if signature[name].startswith("*") or name in variant.multiples
    }
    source = ASTSource(variant.kernel, signature, variant.constants, attributes)
    options = {"num_warps": variant.num_warps, "num_stages": variant.num_stages, **FMA}
    if variant.most_registers is not None:
        options["maxnreg"] = variant.most_registers
    gpu = GPUTarget("cuda", TARGETS[target], 32)
    return triton.compile(source, target=gpu, options=options)


def compile_for(variant: Specialisation, target: str) -> Compiled:
    """Compile one variant for "sm_80", "sm_90" or "sm_120"; what goes wrong becomes `problem`."""
    result = functools.partial(
        Compiled, variant.kernel.__name__, target, variant.constants, variant.num_warps
    )
    try:
        built = build(variant, target)
    except Exception as error:
        return result(problem=f"does not compile: {error}")
    shared, limit = built.metadata.shared, SHARED_LIMIT[target]
    registers, stack = resources(built.asm["cubin"])
    problem = f"{shared} B of shared memory, {target} has {limit}" if shared > limit else ""
    return result(shared, registers, stack, problem)


def resources(cubin: bytes) -> tuple[int | None, int | None]:
    """Return registers and stack bytes per thread of a compiled kernel."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    if not tool.exists():
        return None, None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        listing = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", listing)
    return (int(found[1]), int(found[2])) if found else (None, None)


@functools.cache
def all_specialisations() -> tuple[Specialisation, ...]:
    """Return every variant of every kernel that this package launches."""
    modules = [importlib.import_module(name) for name in MODULES]
    return tuple(variant for module in modules for variant in module.specialisations())


def compile_all(targets: list[str], processes: int) -> Iterator[Compiled]:
    """Compile every variant for some targets, in order, several at a time."""
    work = [
        (number, target)
        for target in targets
        for number, variant in enumerate(all_specialisations())
        if target in variant.targets
    ]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(_compile, work)


def _compile(work: tuple[int, str]) -> Compiled:
    number, target = work  # a kernel cannot be sent to another process, its number can
    return compile_for(all_specialisations()[number], target)


def describe(compiled: Compiled) -> str:
    """Return one line of the table."""
    constants = ", ".join(f"{name}={value}" for name, value in compiled.constants.items())
    registers, stack = ("?" if n is None else n for n in (compiled.registers, compiled.stack_bytes))
    line = (
        f"{compiled.target:<7} {compiled.kernel:<17} {compiled.num_warps} warps  shared "
        f"{compiled.shared_bytes:>6} B  registers {registers:>3}  stack {stack:>4} B  {constants}"
    )
    return f"{line}\n    FAILS: {compiled.problem}" if compiled.problem else line


def main() -> None:
    """Compile everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(TARGETS))
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    targets = arguments.targets or list(TARGETS)
    if unknown := set(targets) - set(TARGETS):
        parser.error(f"unknown {', '.join(sorted(unknown))}; known: {', '.join(TARGETS)}")
    total, failed = 0, 0
    for compiled in compile_all(targets, arguments.processes):
        print(describe(compiled), flush=True)
        total, failed = total + 1, failed + bool(compiled.problem)
    print(f"{total} variants, {failed} of them cannot run")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
