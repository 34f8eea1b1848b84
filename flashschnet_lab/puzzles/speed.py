"""On a GPU: a compiled solution, checked once more, timed against ours, and on the roofline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flashschnet_lab.analysis.pictures import CHAIN_COLORS, INK
from flashschnet_lab.measure.roofline import Ceilings, measure_ceilings
from flashschnet_lab.measure.timing import time_calls
from flashschnet_lab.puzzles.specification import Finding, Puzzle, Work

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECONDS = 0.3
GPU_TOLERANCE = 1e-4
"""Larger than for the small cases: longer sums, and fast exponentials of the hardware."""


@dataclass(frozen=True)
class Speed:
    """A student's kernel and ours, on one GPU.

    Attributes:
        yours_ms, ours_ms: median milliseconds of a launch.
        ours_is: what ours computes.
        work: least bytes and operations of the student's kernel.
        ceilings: of the GPU.
        device: its name.
    """

    yours_ms: float
    ours_ms: float
    ours_is: str
    work: Work
    ceilings: Ceilings
    device: str

    @property
    def least_ms(self) -> float:
        """No kernel that does this work can be faster."""
        bytes_ms = 1e3 * self.work.bytes_moved / self.ceilings.bytes_per_second
        return max(bytes_ms, 1e3 * self.work.flops / self.ceilings.flops_per_second)

    def __str__(self) -> str:
        bound = "memory" if self._memory_bound else "arithmetic"
        return (
            f"On {self.device}: yours {self.yours_ms:.3g} ms, ours {self.ours_ms:.3g} ms "
            f"({self.ours_is}). The roofline allows {self.least_ms:.3g} ms, limited by {bound}; "
            f"you reach {self.least_ms / self.yours_ms:.0%} of it."
        )

    @property
    def _memory_bound(self) -> bool:
        ridge = self.ceilings.flops_per_second / self.ceilings.bytes_per_second
        return self.work.flops / self.work.bytes_moved < ridge

    def picture(self) -> Figure:
        """Draw both kernels on the roofline; without any arithmetic, over bytes per second."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 3.6), dpi=110, layout="constrained")
        axes = figure.subplots()
        bandwidth, rate = self.ceilings.bytes_per_second, self.ceilings.flops_per_second
        flops = max(self.work.flops, 1e-2 * self.work.bytes_moved)  # a copy has no place on it
        intensity, ridge = flops / self.work.bytes_moved, rate / bandwidth
        left, right = min(intensity, 0.1) / 3, max(intensity, ridge) * 6
        axes.plot([left, ridge, right], [left * bandwidth, rate, rate], color=INK, lw=1.5)
        for name, milliseconds, colour in (
            ("yours", self.yours_ms, CHAIN_COLORS[4]),
            ("ours", self.ours_ms, CHAIN_COLORS[0]),
        ):
            height = flops / (1e-3 * milliseconds)
            axes.plot([intensity], [height], "o", ms=8, color=colour,
                      label=f"{name}: {milliseconds:.3g} ms")  # fmt: skip
        axes.axvline(intensity, color=INK, lw=0.5, ls=":")
        axes.set(xscale="log", yscale="log", xlabel="FLOP per byte", ylabel="FLOP/s")
        axes.set_title(f"{self.device}: {bandwidth / 1e12:.2g} TB/s, {rate / 1e12:.3g} TFLOP/s",
                       fontsize=9, color=INK)  # fmt: skip
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        return figure


def measure(puzzle: Puzzle, launch: Callable[..., object], device: torch.device) -> Speed | Finding:
    """Compile a solution, check it on inputs of a real size, and time it against ours.

    Args:
        puzzle: which one; it must have a race.
        launch: of the student.
        device: a GPU.

    Returns:
        The times, or what is wrong with it there.
    """
    assert puzzle.race is not None
    race = puzzle.race(device)
    expected = puzzle.reference(race.inputs)
    output = torch.full(tuple(expected.shape), float("nan"), device=device)
    arguments = [*race.inputs.values(), output]
    try:
        launch(*arguments)
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # a kernel's errors arrive late
    except Exception as error:
        return _does_not_compile(error)
    problem = _wrong(puzzle, output, expected)
    if problem is not None:
        return problem
    del expected
    yours = time_calls(lambda: launch(*arguments), device, seconds=SECONDS)
    ours = time_calls(race.ours, device, seconds=SECONDS)
    return Speed(
        yours.median,
        ours.median,
        race.ours_is,
        race.work,
        measure_ceilings(device, "float32"),
        torch.cuda.get_device_name(device) if device.type == "cuda" else "this processor",
    )


def _wrong(puzzle: Puzzle, output: Tensor, expected: Tensor) -> Finding | None:
    """Return what is wrong with the output of a compiled kernel."""
    scale = float(expected.abs().max())
    difference = (output.double() - expected).abs()
    error = float(difference.nan_to_num(nan=float("inf")).max()) / scale
    if error <= max(GPU_TOLERANCE, puzzle.tolerance):
        return None
    first = int(torch.argmax((~(difference <= GPU_TOLERANCE * scale)).flatten().int()))
    where = f"first wrong element {first} of {output.numel()}"
    if error < 2e-2:
        return Finding(
            "dtype",
            f"right in the interpreter, but digits are lost on the GPU: error {error:.0e}",
            where,
            'tl.dot of float32 rounds to TF32 unless you say input_precision="ieee".',
        )
    return Finding(
        "race",
        "right in the interpreter, wrong on the GPU, where programs run at the same time",
        where,
        "does a program rely on another one being done, or on an order of the lanes?",
    )


def _does_not_compile(error: Exception) -> Finding:
    text: Any = str(error).strip().splitlines() or ["no message"]
    hint = "the compiler wants more than the interpreter: types that never change in a loop, and "
    hint += "blocks for tl.dot of at least 16 x 16."
    return Finding("crash", f"it does not compile: {type(error).__name__}: {text[-1]}", hint=hint)
