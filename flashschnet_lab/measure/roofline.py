"""How close a measurement comes to what the machine can do: its ceilings, measured, and a picture.

A stage cannot be faster than its bytes over the copy bandwidth, nor than its FLOPs over the matrix
rate. The larger of the two is its floor; floor over measured time is the roofline fraction.
Source: Williams, Waterman and Patterson, Roofline, Communications of the ACM 52(4), 65 (2009).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch

from flashschnet_lab.measure.bytes import FUSED, StageCost, predicted_bytes, predicted_flops
from flashschnet_lab.measure.stages import choice
from flashschnet_lab.measure.timing import time_calls

_COPY_BYTES = {"cuda": 1 << 30, "cpu": 1 << 26}
_MATRIX = {"cuda": 8192, "cpu": 1024}
_SECONDS = {"cuda": 0.1, "cpu": 0.05}


@dataclass(frozen=True)
class Ceilings:
    """What a device can do at best.

    Attributes:
        bytes_per_second: of a copy, read and written.
        flops_per_second: of a matrix product in `arithmetic`.
        arithmetic: "float64", "float32", "tf32", "float16" or "bfloat16".
    """

    bytes_per_second: float
    flops_per_second: float
    arithmetic: str

    def seconds(self, cost: StageCost) -> float:
        """Return the least time of a stage."""
        return max(cost.bytes_moved / self.bytes_per_second, cost.flops / self.flops_per_second)

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values."""
        return asdict(self)


def measure_ceilings(device: torch.device, arithmetic: str = "float32") -> Ceilings:
    """Return the ceilings of a device: a large copy and a large matrix product, best of several.

    Each is measured once per process, in about a tenth of a second.

    Args:
        device: where.
        arithmetic: of the matrix product.
    """
    return Ceilings(_bandwidth(device), _matrix_rate(device, arithmetic), arithmetic)


@cache
def _bandwidth(device: torch.device) -> float:
    source = torch.zeros(_COPY_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2e3 * source.nbytes / _best(lambda: target.copy_(source), device)


@cache
def _matrix_rate(device: torch.device, arithmetic: str) -> float:
    size = _MATRIX[device.type]
    dtype = getattr(torch, "float32" if arithmetic == "tf32" else arithmetic)
    if device.type == "cpu" and dtype.itemsize == 2:
        size //= 4  # 16 bit may be emulated
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if arithmetic == "tf32" else "highest")
    try:
        return 2e3 * size**3 / _best(lambda: a @ b, device)
    finally:
        torch.set_float32_matmul_precision(before)


def _best(function: Callable[[], object], device: torch.device) -> float:
    """Return the least milliseconds of a call."""
    return time_calls(function, device, seconds=_SECONDS[device.type]).min


def arithmetic_of(plan: object, precision: str, device: torch.device) -> str:
    """Return the arithmetic of the matrix products of a plan.

    Fused kernels on a GPU multiply in 16 bit always: float32 is three such products, and the IO
    model counts them. A CPU computes in the precision of the state. Tables of filters leave little
    but products of single numbers, which run at the rate of float32, wherever they are.
    """
    if device.type == "cpu":
        return precision
    if choice(plan, "filters") != "network" and choice(plan, "message_passing") in FUSED:
        return "float32"
    quantized = {"fp16": "float16", "bf16": "bfloat16"}.get(choice(plan, "quantization"))
    if quantized is not None:
        return quantized
    return "float16" if choice(plan, "message_passing") in FUSED else precision


def intensity(costs: Sequence[StageCost]) -> float:
    """Return the FLOPs per byte of stages."""
    return predicted_flops(tuple(costs)) / max(1, predicted_bytes(tuple(costs)))


def least_seconds(costs: Sequence[StageCost], ceilings: Ceilings) -> float:
    """Return the least time of stages that run one after another."""
    return sum(ceilings.seconds(cost) for cost in costs)


def draw_roofline(records: Sequence[dict], path: Path) -> None:
    """Draw each record's FLOP rate over its arithmetic intensity, below the roof of its machine.

    Args:
        records: as `bench.measure` returns them; those without a speed are left out.
        path: picture file.
    """
    from matplotlib.figure import Figure

    shown = [r for r in records if "failed" not in r and "predicted_flops" in r]
    figure = Figure(figsize=(8.0, 5.0 + 0.12 * len(shown)), dpi=120, layout="constrained")
    axes = figure.subplots()
    x = [r["predicted_flops"] / max(1, r["predicted_bytes"]) for r in shown]
    left, right = min([0.1, *x]) / 2, max([100.0, *x]) * 4
    for roof in {tuple(r["ceilings"].values()): r["ceilings"] for r in shown}.values():
        bandwidth, rate = roof["bytes_per_second"], roof["flops_per_second"]
        ridge = rate / bandwidth
        axes.plot([left, ridge, max(right, ridge)], [left * bandwidth, rate, rate], "k-", lw=1)
        label = f"{rate / 1e12:.3g} TFLOP/s, {roof['arithmetic']}"
        axes.annotate(label, (max(right, ridge), rate), ha="right", va="bottom", fontsize=8)
    for number, (place, record) in enumerate(zip(x, shown, strict=True)):
        y = record["predicted_flops"] / (record["ms"]["median"] * 1e-3)
        work = record["work"]
        label = (
            f"{record['plan']}, {work['replicas']} x {work['protein']}, {record['precision']}, "
            f"{record['stage']}: {record['roofline_fraction']:.0%} of the roof"
        )
        axes.plot([place], [y], "osD^v<>P*X"[number // 10 % 10], ms=6, label=label)
    if shown:
        figure.legend(loc="outside lower center", fontsize=7, ncols=1 + (len(shown) > 6))
    axes.set(xscale="log", yscale="log", xlabel="FLOP per byte of global memory", ylabel="FLOP/s")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
