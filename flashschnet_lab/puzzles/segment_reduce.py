"""Puzzle 4: add up what each bead receives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flashschnet_lab.puzzles import chemistry, drawings
from flashschnet_lab.puzzles.specification import (
    Argument,
    Case,
    Inputs,
    Puzzle,
    Race,
    Suspect,
    Work,
)

MOLECULES, BEADS, CHANNELS = 64, 256, 64  # on a GPU


def _rows(lengths: tuple[int, ...], channels: int, seed: int) -> Inputs:
    """Return values of edges sorted by receiver, `lengths[i]` of them for bead i."""
    length = torch.tensor(lengths)
    row_start = torch.zeros(len(lengths) + 1, dtype=torch.int32)
    row_start[1:] = length.cumsum(0)
    return {
        "values": chemistry.random(sum(lengths), channels, seed=seed),
        "receiver": torch.repeat_interleave(torch.arange(len(lengths)), length).int(),
        "row_start": row_start,
    }


def _halves() -> Inputs:
    inputs = dict(_rows((150, 60), 16, seed=6))
    inputs["values"] = (1.0 + inputs["values"]).half()
    return inputs


def _cases() -> list[Case]:
    return [
        Case("4 beads that receive 8 edges each, 16 channels", _rows((8, 8, 8, 8), 16, seed=1)),
        Case("rows of different lengths", _rows((3, 9, 1, 6), 16, seed=2)),
        Case("a bead that receives nothing", _rows((4, 0, 5), 16, seed=3)),
        Case("a row of 83 edges, longer than a block", _rows((2, 83, 7), 16, seed=4)),
        Case("12 channels, which is no power of two", _rows((5, 9), 12, seed=5)),
        Case("values in float16, the sum in float32", _halves()),
    ]


def _sum(inputs: Inputs, values: Tensor | None = None) -> Tensor:
    values = inputs["values"].double() if values is None else values
    out = values.new_zeros(len(inputs["row_start"]) - 1, values.shape[1])
    return out.index_add_(0, inputs["receiver"].long(), values)


def _mean(inputs: Inputs) -> Tensor:
    length = inputs["row_start"].diff().clamp_min(1)
    return _sum(inputs) / length[:, None]


def _limits(first: int, last: int) -> Callable[[Inputs], Tensor]:
    """Return sums over rows that begin and end too early or too late."""

    def wrong(inputs: Inputs) -> Tensor:
        values, start = inputs["values"].double(), inputs["row_start"].tolist()
        rows = zip(start[:-1], start[1:], strict=True)
        return torch.stack([values[max(0, a + first) : max(0, b + last)].sum(0) for a, b in rows])

    return wrong


def _first_block(size: int) -> Callable[[Inputs], Tensor]:
    """Return sums over at most `size` edges of each row."""

    def wrong(inputs: Inputs) -> Tensor:
        place = torch.arange(len(inputs["receiver"]))
        place = place - inputs["row_start"][inputs["receiver"].long()]
        return _sum(inputs, inputs["values"].double() * (place < size)[:, None])

    return wrong


_END = "the edges of bead i are row_start[i] up to, but not including, row_start[i + 1]."
_SUSPECTS = (
    Suspect("formula", "this is the mean of each row", "only add; do not divide.", _mean),
    Suspect("index", "the last edge of each row is left out", _END, _limits(0, -1)),
    Suspect("index", "the first edge of the next row is added, too", _END, _limits(0, 1)),
    Suspect("index", "the first edge of each row is left out", _END, _limits(1, 0)),
    *(
        Suspect(
            "mask",
            f"only the first {size} edges of each row are added",
            "rows can be longer than a block: loop over the row, a block at a time.",
            _first_block(size),
        )
        for size in (1, 2, 4, 8, 16, 32, 64)
    ),
)


def _race(device: torch.device) -> Race:
    from flashschnet_kernels.aggregation.triton import aggregate

    positions = chemistry.molecules(MOLECULES, BEADS, device)
    edges = chemistry.edges_within(positions, (BEADS,) * MOLECULES)
    values = torch.randn(len(edges.receiver), CHANNELS, device=device)
    inputs = {"values": values, "receiver": edges.receiver, "row_start": edges.row_start}
    out = 4 * len(positions) * CHANNELS
    work = Work(values.nbytes + edges.row_start.nbytes + out, flops=values.numel())
    return Race(inputs, lambda: aggregate(values, edges), "our aggregate", work)


PUZZLE = Puzzle(
    name="segment_reduce",
    title="4 · Segment reduce",
    formula="\\mathrm{out}_{ic} = \\sum_{e\\,:\\,\\mathrm{receiver}_e = i} \\mathrm{values}_{ec}",
    arguments=(
        Argument("values", ("edge", "channel"), "", "one row per edge, sorted by receiver"),
        Argument("receiver", ("edge",), "", "bead i of each edge, ascending", "int"),
        Argument(
            "row_start", ("bead + 1",), "", "edges of i: row_start[i] to row_start[i+1]", "int"
        ),
        Argument("out", ("bead", "channel"), "", "the sums; zero for a bead without edges"),
    ),
    cases=_cases,
    reference=_sum,
    suspects=_SUSPECTS,
    picture=drawings.segment_reduce,
    race=_race,
)
