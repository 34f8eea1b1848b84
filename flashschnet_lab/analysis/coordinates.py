"""Coordinates that forces can act along: what `analysis.structure` measures, differentiable.

Each is a torch function of positions [replicas, beads, 3] in angstrom that returns one number per
replica, float64, whatever the dtype of the positions. Nothing looks at the device from the host, so
that a step with them can be captured as a CUDA graph. A `Coordinate` is such a function with all
else that it needs; restraints act on it, and checkpoints hold it.

    end_to_end(protein)(simulation.state.positions)       [replicas] angstrom

GDT-TS counts beads within four distances: it moves in jumps, has no gradient between them, and
therefore is no coordinate. Q is the smooth measure of the same thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flashschnet_lab.analysis.structure import c_alpha_indices, native_pairs
from flashschnet_lab.analysis.superposition import rmsd
from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein

FULL_TURN = 2.0 * math.pi


def distance(positions: Tensor, beads: tuple[int, ...]) -> Tensor:
    """Return the distance of two beads, angstrom. Coincident beads have no direction: gradient 0.

    Args:
        positions: [replicas, beads, 3], angstrom.
        beads: their two indices.
    """
    x = positions.double()
    return _length(x[:, beads[0]] - x[:, beads[1]])


def angle(positions: Tensor, beads: tuple[int, ...]) -> Tensor:
    """Return the angle at the second of three beads, radians, 0 to pi.

    As the angle between two arms, atan2(|a x b|, a . b), which loses no digits where they are
    parallel. There its gradient has no direction and is 0.

    Args:
        positions: [replicas, beads, 3], angstrom.
        beads: three indices.
    """
    x = positions.double()
    one, other = x[:, beads[0]] - x[:, beads[1]], x[:, beads[2]] - x[:, beads[1]]
    across = _length(torch.linalg.cross(one, other))
    return torch.atan2(across, (one * other).sum(-1))


def dihedral(positions: Tensor, beads: tuple[int, ...]) -> Tensor:
    """Return the dihedral of four beads in radians, -pi to pi, with the sign of IUPAC.

    Args:
        positions: [replicas, beads, 3], angstrom.
        beads: four indices.
    """
    x = positions.double()
    first, axis, last = (x[:, beads[k + 1]] - x[:, beads[k]] for k in range(3))
    before, after = torch.linalg.cross(first, axis), torch.linalg.cross(axis, last)
    sine = _length(axis) * (first * after).sum(-1)
    return torch.atan2(sine, (before * after).sum(-1))


def gyration(positions: Tensor, weights: Tensor) -> Tensor:
    """Return the radius of gyration, angstrom, as `structure.radius_of_gyration`.

    Args:
        positions: [replicas, beads, 3], angstrom.
        weights: [beads] of the mean; masses, say.
    """
    x = positions.double()
    share = (weights / weights.sum())[:, None]  # [beads, 1]
    from_centre = x - (share * x).sum(1, keepdim=True)
    return _root((share * from_centre.square()).sum((1, 2)))


def native_contacts(
    positions: Tensor, differences: Tensor, native: Tensor, beta: float, tolerance: float
) -> Tensor:
    """Return Q, the share of native contacts, as `structure.native_contacts` defines it.

    Args:
        positions: [replicas, beads, 3], angstrom.
        differences: [pairs, beads] with 1 and -1 at the two beads of each pair. A product with it
            and its transpose instead of gather and scatter: sums in an order that never changes.
        native: [pairs] distances in the native structure, angstrom.
        beta: softness, 1/angstrom.
        tolerance: stretch at which a contact counts half.
    """
    apart = _length(torch.matmul(differences, positions.double()))  # [replicas, pairs]
    return 0.5 * (1.0 - torch.tanh(0.5 * beta * (apart - tolerance * native))).mean(1)


@dataclass(frozen=True)
class Kind:
    """A sort of coordinate: its function, its unit, and its period if it comes round again."""

    function: Callable[..., Tensor]
    unit: str
    period: float | None = None


KINDS = {
    "distance": Kind(distance, "angstrom"),
    "angle": Kind(angle, "radian"),
    "dihedral": Kind(dihedral, "radian", FULL_TURN),
    "gyration": Kind(gyration, "angstrom"),
    "rmsd": Kind(rmsd, "angstrom"),
    "native_contacts": Kind(native_contacts, "1"),
}


@dataclass(frozen=True, eq=False)
class Coordinate:
    """A function of the positions of every replica, with all that it needs.

    Attributes:
        kind: name in `KINDS`.
        name: for people and labels of pictures.
        beads: of the molecule.
        arguments: of the function besides the positions: tensors, numbers, or bead indices.

    Raises:
        UserError: an unknown kind, or beads that the molecule does not have.
    """

    kind: str
    name: str
    beads: int
    arguments: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"coordinate {self.kind!r} is unknown; known: {', '.join(KINDS)}")
        chosen = self.arguments.get("beads", ())
        if len(set(chosen)) < len(chosen) or not all(0 <= b < self.beads for b in chosen):
            raise UserError(
                f"the {self.kind} {self.name!r} needs different beads from 0 to {self.beads - 1}, "
                f"not {', '.join(map(str, chosen))}"
            )

    def __call__(self, positions: Tensor) -> Tensor:
        """Return the value [replicas] float64 at positions [replicas, beads, 3] in angstrom."""
        return KINDS[self.kind].function(positions, **self.arguments)

    @property
    def unit(self) -> str:
        """Of the values."""
        return KINDS[self.kind].unit

    @property
    def period(self) -> float | None:
        """After which values mean the same again, or None."""
        return KINDS[self.kind].period

    @property
    def label(self) -> str:
        """Name and unit, for the axis of a picture."""
        return self.name if self.unit == "1" else f"{self.name} ({self.unit})"

    def to(self, device: torch.device | str) -> Coordinate:
        """Return the same coordinate with its tensors on a device."""
        moved = {n: v.to(device) if isinstance(v, Tensor) else v for n, v in self._items()}
        return Coordinate(self.kind, self.name, self.beads, moved)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `coordinate_from_dict` reads them."""
        plain = {n: v.tolist() if isinstance(v, Tensor) else v for n, v in self._items()}
        return {"kind": self.kind, "name": self.name, "beads": self.beads, "arguments": plain}

    def _items(self) -> list[tuple[str, Any]]:
        return list(self.arguments.items())


def coordinate_from_dict(stored: Mapping[str, Any]) -> Coordinate:
    """Return the coordinate that `Coordinate.to_dict` described.

    Raises:
        UserError: a kind that this version does not know.
    """
    arguments = {name: _argument(name, value) for name, value in stored["arguments"].items()}
    return Coordinate(stored["kind"], stored["name"], stored["beads"], arguments)


def between(protein: Protein, *beads: int) -> Coordinate:
    """Return the distance of two beads, the angle of three or the dihedral of four.

    Raises:
        UserError: another number of beads, or beads that the protein does not have.
    """
    kinds = {2: "distance", 3: "angle", 4: "dihedral"}
    if len(beads) not in kinds:
        raise UserError(f"a coordinate between {len(beads)} beads is not known; give 2, 3 or 4")
    kind = kinds[len(beads)]
    name = f"{kind} {'-'.join(map(str, beads))}"
    return Coordinate(kind, name, protein.beads, {"beads": tuple(int(b) for b in beads)})


def end_to_end(protein: Protein) -> Coordinate:
    """Return the distance of the first C-alpha from the last one, angstrom.

    Raises:
        UserError: a protein of one residue.
    """
    alphas = c_alpha_indices(protein)
    ends = {"beads": (int(alphas[0]), int(alphas[-1]))}
    return Coordinate("distance", "end-to-end distance", protein.beads, ends)


def radius_of_gyration(protein: Protein) -> Coordinate:
    """Return the radius of gyration, weighted by mass, angstrom."""
    weights = {"weights": torch.from_numpy(protein.masses.astype(np.float64))}
    return Coordinate("gyration", "radius of gyration", protein.beads, weights)


def c_alpha_rmsd(protein: Protein, reference: np.ndarray) -> Coordinate:
    """Return the RMSD of the C-alphas from a reference [beads, 3] after superposition, angstrom.

    Raises:
        UserError: a reference of other beads.
    """
    native = _native(protein, reference)
    alphas = torch.from_numpy(c_alpha_indices(protein))
    arguments = {"reference": native[alphas], "selection": alphas}
    return Coordinate("rmsd", "C-alpha RMSD", protein.beads, arguments)


def native_contact_share(
    protein: Protein, reference: np.ndarray, beta: float = 5.0, tolerance: float = 1.2
) -> Coordinate:
    """Return Q, the share of native contacts, of the pairs that `structure.native_pairs` finds.

    Args:
        protein: the molecule.
        reference: [beads, 3] its native conformation, angstrom.
        beta: softness, 1/angstrom. The default, that of Best et al., is steep: a restraint on Q
            may need a softer one, or a small time step.
        tolerance: stretch at which a contact counts half.

    Raises:
        UserError: a reference of other beads, or without contacts.
    """
    native = _native(protein, reference)
    pairs = native_pairs(protein, native.numpy())
    if not len(pairs):
        raise UserError(f"{protein.name} has no native contacts in this reference; give a fold")
    differences = torch.zeros(len(pairs), protein.beads, dtype=torch.float64)
    row = torch.arange(len(pairs))
    differences[row, torch.from_numpy(pairs[:, 0])] = 1.0
    differences[row, torch.from_numpy(pairs[:, 1])] = -1.0
    arguments = {
        "differences": differences,
        "native": (differences @ native).norm(dim=-1),
        "beta": beta,
        "tolerance": tolerance,
    }
    return Coordinate("native_contacts", "native contacts Q", protein.beads, arguments)


def _native(protein: Protein, reference: np.ndarray) -> Tensor:
    native = torch.as_tensor(np.asarray(reference, dtype=np.float64))
    if native.shape != (protein.beads, 3):
        raise UserError(
            f"a reference of shape {tuple(native.shape)} does not fit {protein.name}, which needs "
            f"({protein.beads}, 3)"
        )
    return native


def _argument(name: str, value: Any) -> Any:
    """Return a stored argument as the function wants it."""
    if name == "beads":
        return tuple(value)
    if not isinstance(value, list):
        return value
    return torch.tensor(value, dtype=torch.int64 if name == "selection" else torch.float64)


def _length(vectors: Tensor) -> Tensor:
    """Return the norms of [..., 3]; the gradient of a norm of 0 is 0."""
    return _root(vectors.square().sum(-1))


def _root(squares: Tensor) -> Tensor:
    """Return square roots; the gradient of the root of 0 is 0 instead of infinite."""
    nothing = squares == 0.0
    return torch.where(nothing, 0.0, torch.where(nothing, 1.0, squares).sqrt())
