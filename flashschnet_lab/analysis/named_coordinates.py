"""Coordinates by name, as the command line knows them: those that `observe` measures, and beads.

    coordinate_named("rg", protein)
    coordinate_named("rmsd", protein, native)
    coordinate_named("3-17", protein)            the distance of two beads

Each equals the observable of the same name, so that what is restrained is what an analysis shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from flashschnet_lab.analysis.coordinates import (
    Coordinate,
    between,
    c_alpha_rmsd,
    end_to_end,
    native_contact_share,
)
from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein

BEADS = "beads as 3-17 (a distance), 3-8-17 (an angle) or 3-8-12-17 (a dihedral, both in radians)"


def gyration_of_beads(protein: Protein) -> Coordinate:
    """Return the radius of gyration with all beads alike, angstrom, as `observe` measures it."""
    weights = {"weights": torch.ones(protein.beads, dtype=torch.float64)}
    return Coordinate("gyration", "radius of gyration", protein.beads, weights)


@dataclass(frozen=True)
class Named:
    """A coordinate that has a name.

    Attributes:
        make: takes the protein and its native positions [beads, 3].
        span: likewise; returns between which values the protein unfolds, from (about) folded to
            stretched: a place to begin with, no more.
        span_needs_native: whether the span is that of a native conformation.
        needs_native: whether the coordinate is.
    """

    make: Callable[[Protein, np.ndarray], Coordinate]
    span: Callable[[Protein, np.ndarray], tuple[float, float]]
    span_needs_native: bool = False
    needs_native: bool = False


def _span_of_gyration(protein: Protein, native: np.ndarray) -> tuple[float, float]:
    folded = float(gyration_of_beads(protein)(torch.as_tensor(native)[None]))
    return round(0.95 * folded, 1), round(1.6 * folded, 1)


COORDINATES = {
    "end_to_end": Named(
        lambda protein, _: end_to_end(protein),
        # A stretched chain has 3.3 A per residue, an unfolded one rarely more than 2.
        lambda protein, _: (4.0, max(8.0, 2.0 * len(protein.residues))),
    ),
    "rg": Named(lambda protein, _: gyration_of_beads(protein), _span_of_gyration, True),
    "rmsd": Named(
        c_alpha_rmsd,
        lambda protein, _: (0.5, max(4.0, 0.6 * len(protein.residues))),
        needs_native=True,
    ),
    "q": Named(native_contact_share, lambda *_: (0.1, 0.95), needs_native=True),
}
"""By name. GDT-TS moves in jumps, and helices and strands are yes or no: they have no gradient."""


def coordinate_named(name: str, protein: Protein, native: np.ndarray | None = None) -> Coordinate:
    """Return a coordinate.

    Args:
        name: in `COORDINATES`, or two to four beads as "3-17".
        protein: the molecule.
        native: [beads, 3] its native conformation, angstrom, which rmsd and q compare with.

    Raises:
        UserError: an unknown name, beads that are not there, or no native conformation for it.
    """
    if re.fullmatch(r"\d+(-\d+)+", name):
        return between(protein, *(int(bead) for bead in name.split("-")))
    named = _known(name)
    return named.make(protein, _native(name, protein, native, named.needs_native))


def usual_span(name: str, protein: Protein, native: np.ndarray | None) -> tuple[float, float]:
    """Return between which values of a coordinate to look first, in its unit.

    Raises:
        UserError: as `coordinate_named`, or a coordinate of which that is not known.
    """
    if name not in COORDINATES:
        raise UserError(f"where {name} is of interest is not known: give --from and --to")
    named = COORDINATES[name]
    needs = named.needs_native or named.span_needs_native
    return named.span(protein, _native(name, protein, native, needs))


def _known(name: str) -> Named:
    if name not in COORDINATES:
        raise UserError(
            f"there is no coordinate {name!r}; known are {', '.join(COORDINATES)}, and {BEADS}"
        )
    return COORDINATES[name]


def _native(name: str, protein: Protein, native: np.ndarray | None, needed: bool) -> np.ndarray:
    if native is None and needed:
        raise UserError(
            f"{name} compares with a native conformation, and none of {protein.name} is known; "
            "give a folded structure (--pdb), or take end_to_end"
        )
    return protein.positions if native is None else native
