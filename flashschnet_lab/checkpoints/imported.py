"""What an import brings: a model, and what is to be said about it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.system import Model


@dataclass(frozen=True)
class Imported:
    """A model of another package, as ours.

    Attributes:
        model: network, priors, rows, masses.
        came_over: what was found and taken, one line each.
        left_out: what was found and has no place here, or is missing, one line each.
        protein: the first configuration of the file, if it brings any.
        information: where it comes from, for `model.json`.
    """

    model: Model
    came_over: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    protein: Protein | None = None
    information: dict[str, object] = field(default_factory=dict)

    def with_information(self, **information: object) -> Imported:
        """Return the same import with more to write into `model.json`."""
        return replace(self, information={**self.information, **information})


def unsupported(what: str, features: list[str]) -> UserError:
    """Return the error for a model that cannot be taken over, naming all that stands against it."""
    listed = "; ".join(features)
    return UserError(f"{what} cannot be imported, because this is not supported: {listed}")


def one_value(values: np.ndarray, what: str) -> float:
    """Return the value that all have.

    Raises:
        UserError: they differ.
    """
    if not len(values) or np.ptp(values) > 1e-6 * np.abs(values).max():
        raise UserError(f"{what} differ between beads of one name, which is not supported")
    return float(values[0])
