"""How many replicas of a protein fit in a memory, from the IO model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.bytes import (
    Sizes,
    predicted_peak_bytes,
    resident_bytes,
    sizes_of,
    stage_costs,
)
from flashschnet_lab.measure.work import directed_edges
from flashschnet_lab.potentials.schnet import SchNetShape
from flashschnet_lab.system import System

if TYPE_CHECKING:
    from rich.table import Table

RESERVE = 0.1
"""Part of the memory left free: the driver, code, and what an allocator cannot use."""

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def bytes_needed(
    shape: SchNetShape | None,
    sizes: Sizes,
    plan: object,
    *,
    precision: str = "float32",
    stage: str = "step",
) -> int:
    """Return the most bytes that a simulation holds: what stays, and the peak."""
    costs = stage_costs(shape, sizes, plan, precision=precision, stage=stage)
    return predicted_peak_bytes(costs) + resident_bytes(shape, sizes, plan, precision=precision)


def replicas_that_fit(
    shape: SchNetShape | None,
    sizes: Sizes,
    plan: object,
    memory: float,
    *,
    precision: str = "float32",
    reserve: float = RESERVE,
) -> int:
    """Return the most replicas whose simulation fits, 0 if not even one does.

    Args:
        shape: widths of the network, or None without one.
        sizes: of one molecule; its `replicas` are not looked at.
        plan: a `KernelPlan`.
        memory: in bytes.
        precision: "float32" or "float64".
        reserve: part of the memory that stays free.
    """

    def fits(replicas: int) -> bool:
        copies = replace(sizes, replicas=replicas)
        need = bytes_needed(shape, copies, plan, precision=precision)
        return need <= memory * (1.0 - reserve)

    if not fits(1):
        return 0
    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def parse_memory(text: str) -> int:
    """Return the bytes of "24GB", "80 GiB" or "16e9"; "device" is the memory of the GPU here.

    Raises:
        UserError: anything else.
    """
    if text.strip().lower() == "device":
        if not torch.cuda.is_available():
            raise UserError("--fit device needs a GPU, and PyTorch sees none; give a size, 24GB")
        return int(torch.cuda.get_device_properties(0).total_memory)
    found = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([KMG]I?B)?\s*", text, re.IGNORECASE)
    try:
        number = float(found[1]) if found else 0.0
    except ValueError:
        number = 0.0
    if found is None or number <= 0.0:
        raise UserError(f"{text!r} is no size of memory; write it like 24GB or 80GiB")
    return int(number * _UNITS[(found[2] or "").upper()]) if found[2] else int(number)


def fit_table(
    systems: Sequence[System], plans: Sequence[KernelPlan], precisions: Sequence[str], memory: int
) -> Table:
    """Return a table: replicas of each protein that fit, plan by plan, predicted."""
    from rich.table import Table

    table = Table(
        title=f"Replicas that fit in {memory / 1e9:.4g} GB, predicted ({RESERVE:.0%} kept free)",
        title_justify="left",
    )
    table.add_column("protein")
    for name in ("beads", "directed edges"):
        table.add_column(name, justify="right")
    table.add_column("precision")
    for plan in plans:
        table.add_column(plan.name, justify="right")
    for system in systems:
        network = system.model.network
        shape = None if network is None else network.shape
        edges = directed_edges(system)
        sizes = sizes_of(system, 1, edges)
        for precision in precisions:
            counts = [
                str(replicas_that_fit(shape, sizes, plan, memory, precision=precision))
                for plan in plans
            ]
            table.add_row(system.name, str(sizes.beads), str(edges), precision, *counts)
    return table
