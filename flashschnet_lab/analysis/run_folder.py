"""A run as an analysis sees it: trajectory, native structure, temperatures, receipt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.mapping import read_protein
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.simulation.exchange_record import Exchanges, read_exchanges
from flashschnet_lab.simulation.store import Trajectory, open_trajectory


@dataclass(frozen=True)
class Run:
    """What is known of a run.

    Attributes:
        trajectory: on disk.
        native: [beads, 3] the folded structure, angstrom, or None.
        native_name: where that comes from.
        exchanges: the record of parallel tempering, or None.
        receipt: what `simulation.receipt` wrote; empty without one.
    """

    trajectory: Trajectory
    native: np.ndarray | None
    native_name: str
    exchanges: Exchanges | None
    receipt: Mapping[str, Any]

    @property
    def protein(self) -> Protein:
        """The molecule."""
        return self.trajectory.protein

    @property
    def settings(self) -> Mapping[str, Any]:
        """Of the simulation; empty where the trajectory has none."""
        settings: Mapping[str, Any] = self.trajectory.attributes.get("settings", {})
        return settings

    def temperatures(self, steps: np.ndarray) -> np.ndarray:
        """Return the temperature of every replica at some steps, [steps, replicas] kelvin.

        Not a number where the trajectory does not say.
        """
        if self.exchanges is not None:
            return self.exchanges.temperatures_at(steps)
        known = self.settings.get("temperatures")
        row = np.full(self.trajectory.replicas, np.nan) if known is None else np.array(known)
        return np.tile(row.astype(np.float64), (len(steps), 1))


def open_run(source: str | Path | Trajectory | Run, native: Any = None) -> Run:
    """Open a run for analysis.

    Args:
        source: a run folder, a trajectory store, or an open one; a `Run` is returned as it is,
            unless another native structure is given.
        native: [beads, 3] in angstrom, or a structure file; without it the reference conformation
            of the run folder, if it has one.

    Raises:
        UserError: no trajectory, or a native structure of another molecule.
    """
    from flashschnet_lab.simulation.exchange import RECORD
    from flashschnet_lab.simulation.run import RECEIPT, RUN

    if isinstance(source, Run):
        trajectory = source.trajectory
        if native is None:
            return source
    else:
        trajectory = source if isinstance(source, Trajectory) else open_trajectory(source)
    folder = trajectory.path.parent
    positions: np.ndarray | None
    if native is not None:
        positions, name = _given_native(native, trajectory.protein)
    else:
        known = _read_json(folder / RUN).get("reference")
        positions = None if known is None else np.array(known, dtype=np.float64)
        name = "" if known is None else "reference conformation of the run"
    exchanges = read_exchanges(folder / RECORD) if (folder / RECORD).is_file() else None
    if exchanges is not None and exchanges.rungs.shape[1] != trajectory.replicas:
        raise UserError(
            f"{folder / RECORD} is a record of {exchanges.rungs.shape[1]} replicas, but "
            f"{trajectory.path} has {trajectory.replicas}; they belong to different runs"
        )
    return Run(trajectory, positions, name, exchanges, _read_json(folder / RECEIPT))


def _given_native(native: Any, protein: Protein) -> tuple[np.ndarray, str]:
    """Return positions [beads, 3] and a name for them."""
    if isinstance(native, (str, Path)):
        found = read_protein(native, protein.mapping)
        if found.sequence != protein.sequence or found.bead_names != protein.bead_names:
            raise UserError(
                f"{native} is not the native structure of {protein.name}: its sequence is "
                f"{found.sequence}, that of the trajectory {protein.sequence}"
            )
        return found.positions, str(native)
    positions = np.asarray(native, dtype=np.float64)
    if positions.shape != (protein.beads, 3):
        raise UserError(
            f"a native structure of {protein.name} is [{protein.beads}, 3], not {positions.shape}"
        )
    return positions, "native structure that was given"


def _read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's content; nothing where there is no file.

    Raises:
        UserError: a file that is no JSON.
    """
    if not path.is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}); delete it or mend it") from error
    return found
