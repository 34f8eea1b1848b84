"""Restraints as they are written on a command line: NAME=CENTRE:STRENGTH, or with a slack.

end_to_end=20:1        the ends held at 20 A by 1 kcal/mol/A^2
3-17=8:5:1             beads 3 and 17 at 7 to 9 A, free in between
"""

from __future__ import annotations

from flashschnet_lab.analysis.named_coordinates import coordinate_named
from flashschnet_lab.errors import UserError
from flashschnet_lab.simulation.restraint import Restraint, restrain
from flashschnet_lab.system import System


def restraint_of(text: str, system: System, replicas: int) -> Restraint:
    """Return the restraint that a text asks for, the same for all replicas.

    Args:
        text: NAME=CENTRE:STRENGTH or NAME=CENTRE:STRENGTH:SLACK; names of
            `named_coordinates.COORDINATES` or beads as 3-17; numbers in the unit of the coordinate
            and kcal/mol per square of it.
        system: with a reference conformation where the coordinate compares with one.
        replicas: that it holds.

    Raises:
        UserError: a text that reads otherwise, an unknown coordinate, or numbers that cannot be.
    """
    name, equals, numbers = text.partition("=")
    parts = numbers.split(":")
    if not (name and equals and len(parts) in (2, 3)):
        raise UserError(
            f"--restrain {text!r} should read like end_to_end=20:1, NAME=CENTRE:STRENGTH, or with "
            "how far it is free, NAME=CENTRE:STRENGTH:SLACK"
        )
    values = [_number(part, text) for part in parts]
    coordinate = coordinate_named(name.strip(), system.protein, system.reference)
    return restrain(coordinate, *values, replicas=replicas)


def _number(part: str, text: str) -> float:
    try:
        return float(part)
    except ValueError as error:
        raise UserError(
            f"{part.strip()!r} in --restrain {text!r} is no number; write numbers alone, in "
            "angstrom or radians and kcal/mol per square of it: end_to_end=20:1"
        ) from error
