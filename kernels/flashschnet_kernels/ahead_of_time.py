"""Compile every Triton kernel for a list of GPUs, without a GPU.

    python -m flashschnet_kernels.ahead_of_time [sm_80 sm_90 sm_120]

prints registers, spills and shared memory of each variant, and fails if one does not compile.
"""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass, field
from typing import Any

MODULES = (
    "flashschnet_kernels.radial_basis.triton",
    "flashschnet_kernels.aggregation.triton",
    "flashschnet_kernels.neighbors.triton",
    "flashschnet_kernels.message_passing.triton",
)
TARGETS = {"sm_80": 80, "sm_90": 90, "sm_120": 120}


@dataclass(frozen=True)
class Specialisation:
    """One variant of a kernel, as it is launched.

    Attributes:
        kernel: the jitted function.
        signature: type of every argument that is not a constant: "*fp32", "i32", "fp32", ...
        constants: values of the constexpr arguments.
        num_warps: warps per program.
        num_stages: depth of software pipelining.
    """

    kernel: Any
    signature: dict[str, str]
    constants: dict[str, Any] = field(default_factory=dict)
    num_warps: int = 4
    num_stages: int = 2


@dataclass(frozen=True)
class Compiled:
    """What the compiler says of one variant on one target."""

    kernel: str
    target: str
    constants: dict[str, Any]
    shared_bytes: int
    cubin_bytes: int


def compile_for(variant: Specialisation, target: str) -> Compiled:
    """Compile one variant for "sm_80", "sm_90" or "sm_120"."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    arguments = dict.fromkeys(variant.constants, "constexpr")
    # Triton wants the signature in the order of the kernel's parameters.
    order = variant.kernel.arg_names
    signature = {name: (variant.signature | arguments)[name] for name in order}
    source = ASTSource(fn=variant.kernel, signature=signature, constexprs=variant.constants)
    options = {"num_warps": variant.num_warps, "num_stages": variant.num_stages}
    built = triton.compile(source, target=GPUTarget("cuda", TARGETS[target], 32), options=options)
    return Compiled(
        kernel=variant.kernel.__name__,
        target=target,
        constants=variant.constants,
        shared_bytes=built.metadata.shared,
        cubin_bytes=len(built.asm["cubin"]),
    )


def all_specialisations() -> list[Specialisation]:
    """Return every variant of every kernel that this package launches."""
    found = []
    for name in MODULES:
        found += importlib.import_module(name).specialisations()
    return found


def main() -> None:
    """Compile everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("targets", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    for target in parser.parse_args().targets:
        for variant in all_specialisations():
            result = compile_for(variant, target)
            constants = ", ".join(f"{k}={v}" for k, v in result.constants.items())
            print(
                f"{target:<7} {result.kernel:<28} shared {result.shared_bytes:>7} B  cubin "
                f"{result.cubin_bytes:>7} B  {constants}"
            )


if __name__ == "__main__":
    main()
