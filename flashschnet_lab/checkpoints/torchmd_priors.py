"""The C-alpha priors of a TorchMD force field (torchmd-cg's YAML) as our table.

    bonds      k0 (r - req)^2
    repulsion  4 sqrt(eps_i eps_j) / r^6 of all beads of a chain but direct neighbours
    dihedrals  sum of phi_k (1 + cos(per phi - phase)), of every four neighbours

A term of a dihedral is phi_k + phi_k cos(phase) cos(per phi) + phi_k sin(phase) sin(per phi): a row
of our Fourier series.
"""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from flashschnet_lab.checkpoints.imported import unsupported
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.prior_table import Key, PriorRules, PriorTable
from flashschnet_lab.proteins.residues import RESIDUE_TYPES, THREE_LETTER

LARGEST_FILE = 1 << 24
HIGHEST_PERIOD = 16
RULES = PriorRules(families=("bonds", "dihedrals", "repulsion"), ca_separation=2)
"""TorchMD's C-alpha topologies: no angles, and beads repel from the second neighbour on."""


def read_torchmd_priors(path: Path) -> tuple[PriorTable, dict[str, float], list[str]]:
    """Return the table of priors, the masses of beads, and notes on what was left out.

    Args:
        path: YAML file of the force field.

    Raises:
        UserError: it is no such file, or has what our priors cannot do, all of it named.
    """
    values = _read(path)
    types = _bead_types(values, path)
    try:
        bonds = _bonds(values["bonds"], types)
        dihedrals = _dihedrals(values["dihedrals"], types)
        sigma = _ranges(values["lj"], types)
        mass = {float(values["masses"][name]) for name in types}
        charges = _charges(values.get("electrostatics", {}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is no C-alpha force field of TorchMD ({error!r})") from error
    problems = [f"masses that differ, {sorted(mass)}"] if len(mass) != 1 else []
    if any(charges):
        problems.append("charges")
    if problems:
        raise unsupported(f"{path}", problems)
    used = {"atomtypes", "bonds", "dihedrals", "lj", "masses", "electrostatics"}
    notes = [f"{name} of {path.name}" for name in values if name not in used and values[name]]
    table = PriorTable(bonds, {}, dihedrals, sigma, {"made_by": "torchmd-cg"}, RULES)
    return table, {"CA": mass.pop()}, notes


def _read(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise UserError(f"{path} is YAML; to read it: pip install pyyaml") from error
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    if path.stat().st_size > LARGEST_FILE:
        raise UserError(f"{path} has more than {LARGEST_FILE >> 20} MiB: it is no force field")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML file ({error})") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is no C-alpha force field of TorchMD")
    return values


def _bead_types(values: dict[str, Any], path: Path) -> dict[str, int]:
    """Return our bead type of every atom type: "CAY" is the C-alpha bead of a tyrosine, Y."""
    names = [str(name) for name in values.get("atomtypes") or ()]
    unknown = [n for n in names if len(n) != 3 or n[:2] != "CA" or n[2] not in THREE_LETTER]
    if unknown or not names:
        raise unsupported(f"{path}", [f"atom types {', '.join(unknown) or 'that are not listed'}"])
    return {name: RESIDUE_TYPES[THREE_LETTER[name[2]]] for name in names}


def _key(text: str) -> tuple[str, ...]:
    """Return the atom types of "(CAA, CAC)"."""
    return tuple(part.strip() for part in text.strip("() ").split(","))


def _bonds(rows: dict, types: dict[str, int]) -> dict[Key, tuple[float, ...]]:
    found: dict[Key, tuple[float, ...]] = {}
    for text, row in rows.items():
        first, second = (types[name] for name in _key(text))
        found["ca_bonds", (first, second)] = (float(row["k0"]), float(row["req"]))
    return found


def _dihedrals(rows: dict, types: dict[str, int]) -> dict[Key, tuple[float, ...]]:
    """Return Fourier series; "(X, X, X, X)" is any, and X within others stands for every type."""
    periods = [int(term["per"]) for row in rows.values() for term in row["terms"]]
    orders = min(max(periods, default=1), HIGHEST_PERIOD)
    found: dict[Key, tuple[float, ...]] = {}
    general_first = sorted(rows.items(), key=lambda item: -_key(item[0]).count("X"))
    for text, row in general_first:
        names = _key(text)
        if len(names) != 4:
            raise ValueError(f"{text} should name four beads")
        series = _series(row["terms"], orders)
        if set(names) == {"X"}:
            found["ca_dihedrals", ()] = series
            continue
        choices = [types.values() if name == "X" else (types[name],) for name in names]
        for combination in product(*choices):
            found.pop(("ca_dihedrals", combination[::-1]), None)  # the last one said counts
            found["ca_dihedrals", combination] = series
    return found


def _series(terms: list[dict], orders: int) -> tuple[float, ...]:
    v0, k1, k2 = 0.0, [0.0] * max(1, orders), [0.0] * max(1, orders)
    for term in terms:
        k, phase, per = float(term["phi_k"]), math.radians(float(term["phase"])), int(term["per"])
        if not 1 <= per <= HIGHEST_PERIOD or per != term["per"]:
            raise ValueError(f"a dihedral's period of {term['per']}")
        v0 += k
        k1[per - 1] += k * math.sin(phase)
        k2[per - 1] += k * math.cos(phase)
    return (v0, *k1, *k2)


def _ranges(rows: dict, types: dict[str, int]) -> np.ndarray:
    """Return [types, types] the ranges (4 sqrt(eps_i eps_j))^(1/6) in angstrom."""
    epsilon = np.zeros(max(types.values()) + 1)
    for name, number in types.items():
        row = rows[name]
        if float(row["sigma"]) != 1.0:
            raise ValueError(f"sigma of {name} is {row['sigma']}, not 1")
        if float(row["epsilon"]) < 0.0:
            raise ValueError(f"epsilon of {name} is negative")
        epsilon[number] = float(row["epsilon"])
    ranges: np.ndarray = (4.0 * np.sqrt(np.outer(epsilon, epsilon))) ** (1.0 / 6.0)
    return ranges


def _charges(rows: Any) -> list[float]:
    """Return every charge of a section of electrostatics."""
    return [float(row["charge"] if isinstance(row, dict) else row) for row in rows.values()]
