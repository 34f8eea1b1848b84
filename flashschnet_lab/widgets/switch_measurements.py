"""What stands behind `KernelSwitches`: plans measured beside their baseline, and recorded kin."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from flashschnet_kernels.plan import BASELINE
from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.bench import Work, measure, predict
from flashschnet_lab.measure.bytes import predicted_peak_bytes
from flashschnet_lab.measure.recorded import recorded_beside
from flashschnet_lab.measure.work import directed_edges
from flashschnet_lab.widgets.comparison import Row
from flashschnet_lab.widgets.plan_choices import on_gpu

MEMORY_SHARE = 0.6
"""Of the machine's memory, what a measurement may fill."""


@dataclass
class Measurements:
    """Plans beside baselines; each baseline is measured once.

    Attributes:
        seconds: about so long for the timing of one plan.
        with_recorded: add what was recorded on a GPU of the same switches.
        runs: in the order in which they came: what was measured, and what was recorded of it.
        listeners: called with every record that is measured here.
    """

    seconds: float
    with_recorded: bool
    runs: list[tuple[Row, Row | None]] = field(default_factory=list)
    listeners: list[Callable[[dict], None]] = field(default_factory=list)
    _baselines: dict[tuple[str, int, str, str], dict] = field(default_factory=dict)

    def measure(
        self, work: Work, device: torch.device, say: Callable[[str], None]
    ) -> tuple[Row, Row | None]:
        """Measure the baseline if it is new, then the plan, and return the new rows.

        Args:
            work: what.
            device: where.
            say: called with what is going on.

        Raises:
            UserError: too large for this machine, or a plan that refuses the work.
        """
        key = (work.system.name, work.replicas, work.precision, device.type)
        about = f"{work.replicas} x {work.system.name}, {work.precision}"
        if key not in self._baselines:
            say(f"1 of 2: measuring the baseline, {about}")
            self._baselines[key] = self._one(replace(work, plan=BASELINE), device)
        baseline = own = self._baselines[key]
        if work.plan != BASELINE:
            say(f"2 of 2: measuring {work.label}, {about} (kernels are compiled at first use)")
            own = self._one(work, device)
        run = (Row(own, baseline), recorded_row(work) if self.with_recorded else None)
        self.runs.append(run)
        return run

    @property
    def rows(self) -> list[Row]:
        """All rows: by work what was measured, then what was recorded of it, each once."""
        works = dict.fromkeys(measured.work for measured, _ in self.runs)
        return [row for work in works for row in self._rows_of(work)]

    @property
    def newest(self) -> list[Row]:
        """The rows of the work that was measured last."""
        return self._rows_of(self.runs[-1][0].work) if self.runs else []

    @property
    def records(self) -> list[dict]:
        """What was measured here, baselines included, each once."""
        both = [record for row, _ in self.runs for record in (row.baseline, row.record)]
        return list({id(record): record for record in both}.values())

    def _rows_of(self, work: tuple[object, ...]) -> list[Row]:
        alike = [run for run in self.runs if run[0].work == work]
        recorded = {id(row.record): row for _, row in alike if row is not None}
        return [measured for measured, _ in alike] + list(recorded.values())

    def _one(self, work: Work, device: torch.device) -> dict:
        check_room(work, device)
        record = measure(work, device, self.seconds)
        for listener in self.listeners:
            listener(record)
        return record


def recorded_row(work: Work) -> Row | None:
    """Return what was recorded on a GPU of the same switches, with the nearest replicas."""
    plan = on_gpu(work.plan)
    if plan is None:
        return None
    found = recorded_beside(
        plan.name,
        protein=work.system.name,
        replicas=work.replicas,
        precision=work.precision,
        stage=work.stage,
    )
    return None if found is None else Row(found.plan, found.baseline, recorded=True)


def check_room(work: Work, device: torch.device) -> None:
    """Refuse a measurement that would fill the machine's memory.

    A GPU that is too small refuses by itself, and that is a record; so only a CPU is looked at.

    Raises:
        UserError: it does not fit.
    """
    if device.type != "cpu" or not hasattr(os, "sysconf"):
        return
    needed = predicted_peak_bytes(predict(work, directed_edges(work.system)))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > MEMORY_SHARE * memory:
        raise UserError(
            f"{work.label} with {work.replicas} x {work.system.name} needs {needed / 1e9:.3g} GB, "
            f"and this machine has {memory / 1e9:.3g} GB; take fewer replicas"
        )
