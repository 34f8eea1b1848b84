"""A recording of a run that may go on for ever and still fits in memory.

When it is full, every second conformation is dropped and from then on only half as many are kept:
it always covers the whole run, evenly, with the newest at its end.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

MOST_SAMPLES = 600
MOST_BYTES = 64_000_000
FEWEST_SAMPLES = 8
"""Kept even when so many are larger than allowed: fewer show no course."""
MOST_MARKS = 20


@dataclass(frozen=True)
class Sample:
    """All replicas at one time; fields as in `simulation.reporters.Frame`.

    Attributes:
        time_ps: simulated time in picoseconds.
        positions: [replicas, beads, 3] float32 in angstrom.
        potential_energy: [replicas] in kcal/mol.
        temperature: [replicas] in kelvin.
        rmsd: [replicas] C-alpha RMSD to the native structure in angstrom; NaN without one.
    """

    time_ps: float
    positions: np.ndarray
    potential_energy: np.ndarray
    temperature: np.ndarray
    rmsd: np.ndarray


class Recording:
    """Samples of a run from its begin to now, never more than fit.

    Args:
        most_samples: so many are kept at most; at least `FEWEST_SAMPLES`.
        most_bytes: so much may their positions take.

    Attributes:
        samples: in order of time; the last one is the newest.
        stride: one in so many was kept.
        marks: (time in ps, text), the latest things that a person did.
    """

    def __init__(self, most_samples: int = MOST_SAMPLES, most_bytes: int = MOST_BYTES) -> None:
        self._most_samples = max(FEWEST_SAMPLES, most_samples)
        self._most_bytes = most_bytes
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.samples: list[Sample] = []
        self.stride = 1
        self.marks: deque[tuple[float, str]] = deque(maxlen=MOST_MARKS)
        self._numbers: list[int] = []  # of each sample, counted from the begin of the run
        self._seen = 0

    def add(self, sample: Sample) -> None:
        """Add the newest sample."""
        if self._numbers and self._numbers[-1] % self.stride:
            self.samples.pop()  # was kept only for being the newest
            self._numbers.pop()
        self.samples.append(sample)
        self._numbers.append(self._seen)
        self._seen += 1
        while len(self.samples) > FEWEST_SAMPLES and self._is_full():
            self._thin()

    def mark(self, text: str) -> None:
        """Note what was done now."""
        self.marks.append((self.samples[-1].time_ps if self.samples else 0.0, text))

    def times(self) -> np.ndarray:
        """Return the times of the samples, [samples], picoseconds."""
        return np.array([sample.time_ps for sample in self.samples])

    def series(self, name: str) -> np.ndarray:
        """Return a quantity over time, [samples, replicas], NaN where there was no such replica.

        Args:
            name: "potential_energy", "temperature" or "rmsd".
        """
        values = [getattr(sample, name) for sample in self.samples]
        filled = np.full((len(values), max(map(len, values), default=0)), np.nan)
        for row, value in zip(filled, values, strict=True):
            row[: len(value)] = value
        return filled

    @property
    def bytes(self) -> int:
        """Bytes of all positions."""
        return sum(sample.positions.nbytes for sample in self.samples)

    def _is_full(self) -> bool:
        return len(self.samples) > self._most_samples or self.bytes > self._most_bytes

    def _thin(self) -> None:
        self.stride *= 2
        newest = self._numbers[-1]
        kept = [
            place
            for place, number in enumerate(self._numbers)
            if number % self.stride == 0 or number == newest
        ]
        self.samples = [self.samples[place] for place in kept]
        self._numbers = [self._numbers[place] for place in kept]
