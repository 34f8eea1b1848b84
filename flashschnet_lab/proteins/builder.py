"""From a sequence to an ideal chain, bead by bead from bond lengths, angles and torsions.

Bond lengths and angles are the averages of Engh and Huber, Acta Crystallographica A47, 392 (1991).
Each bead is put from three others (the natural extension reference frame of Parsons et al., Journal
of Computational Chemistry 26, 1063 (2005)).
"""

from __future__ import annotations

from math import acos, cos, degrees, radians, sin

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein, Residue, make_protein
from flashschnet_lab.proteins.residues import THREE_LETTER, bead_names

# Lengths in angstrom, angles in degrees: the general value, then residues that have their own.
_N_CA = {"": 1.458, "GLY": 1.451, "PRO": 1.466}
_CA_C = {"": 1.525, "GLY": 1.516}
_C_O = 1.231
_CA_CB = {"": 1.530, "ALA": 1.521, "ILE": 1.540, "THR": 1.540, "VAL": 1.540}
_C_N = {"": 1.329, "PRO": 1.341}  # by the residue after the bond

_N_CA_C = {"": 111.2, "GLY": 112.5, "PRO": 111.8}
_CA_C_O = 120.8
_CA_C_N = {"": 116.2, "PRO": 116.9}  # by the residue after the bond
_C_N_CA = {"": 121.7, "GLY": 120.6, "PRO": 122.6}
_N_CA_CB = {"": 110.5, "ALA": 110.4, "ILE": 111.5, "THR": 111.5, "VAL": 111.5, "PRO": 103.0}
_C_CA_CB = {"": 110.1, "ALA": 110.5, "ILE": 109.1, "THR": 109.1, "VAL": 109.1}

_TORSIONS = {"extended": (-120.0, 130.0), "helix": (-60.0, -45.0)}  # phi, psi
_EXTENDED_PROLINE_PHI = -65.0  # what the ring allows
_OMEGA = 180.0


def build_chain(
    sequence: str,
    shape: str = "extended",
    mapping: str = "five_bead",
    name: str | None = None,
) -> Protein:
    """Build an L-amino-acid chain of ideal geometry, centred on the origin.

    Args:
        sequence: one-letter codes; small letters and white space are fine.
        shape: "extended" (phi -120, psi 130 degrees; proline's phi -65) or "helix" (-60, -45).
        mapping: "five_bead" or "ca".
        name: what to call it; "chain of N residues" without it.

    Returns:
        The protein: chain A, residues numbered from 1.

    Raises:
        UserError: if the sequence is empty or has a letter that is no amino acid, or if there is no
            such shape or mapping.
    """
    letters = "".join(sequence.split()).upper()
    if not letters:
        raise UserError("The sequence is empty: give one-letter codes such as YYDPETGTWY.")
    for position, letter in enumerate(letters, start=1):
        if letter not in THREE_LETTER:
            raise UserError(
                f'Letter "{letter}" at position {position} of the sequence is no amino acid: use '
                f"{''.join(sorted(THREE_LETTER))}."
            )
    if shape not in _TORSIONS:
        raise UserError(f'There is no shape "{shape}": use {" or ".join(_TORSIONS)}.')
    names = [THREE_LETTER[letter] for letter in letters]
    residues = [Residue(name, number, "", "A", 0) for number, name in enumerate(names, start=1)]
    atoms = _place_atoms(names, shape)
    positions = np.array(
        [
            placed[bead]
            for name, placed in zip(names, atoms, strict=True)
            for bead in bead_names(name, mapping)
        ]
    )
    positions -= positions.mean(axis=0)
    return make_protein(name or f"chain of {len(names)} residues", mapping, residues, positions)


def _place_atoms(names: list[str], shape: str) -> list[dict[str, np.ndarray]]:
    """Return the positions of N, CA, C, O and CB (glycine: none) of each residue."""
    chain: list[dict[str, np.ndarray]] = []
    general_phi, psi = _TORSIONS[shape]
    for name in names:
        ring = shape == "extended" and name == "PRO"
        phi = _EXTENDED_PROLINE_PHI if ring else general_phi
        n_ca, ca_c, n_ca_c = _own(_N_CA, name), _own(_CA_C, name), _own(_N_CA_C, name)
        if not chain:
            bend = radians(n_ca_c)
            n, ca = np.zeros(3), np.array([n_ca, 0.0, 0.0])
            c = ca + ca_c * np.array([-cos(bend), sin(bend), 0.0])
        else:
            last = chain[-1]
            c_n, ca_c_n, c_n_ca = _own(_C_N, name), _own(_CA_C_N, name), _own(_C_N_CA, name)
            n = _place(last["N"], last["CA"], last["C"], c_n, ca_c_n, psi)
            ca = _place(last["CA"], last["C"], n, n_ca, c_n_ca, _OMEGA)
            c = _place(last["C"], n, ca, ca_c, n_ca_c, phi)
        placed = {"N": n, "CA": ca, "C": c, "O": _place(n, ca, c, _C_O, _CA_C_O, psi + 180.0)}
        if name != "GLY":
            c_ca_cb = _own(_C_CA_CB, name)
            twist = _side_chain_twist(n_ca_c, _own(_N_CA_CB, name), c_ca_cb)
            placed["CB"] = _place(n, c, ca, _own(_CA_CB, name), c_ca_cb, twist)
        chain.append(placed)
    return chain


def _own(values: dict[str, float], residue: str) -> float:
    return values.get(residue, values[""])


def _place(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, length: float, angle: float, torsion: float
) -> np.ndarray:
    """Return the point d with |cd| = length, angle b-c-d and torsion a-b-c-d (degrees, IUPAC)."""
    forward = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, forward)
    normal /= np.linalg.norm(normal)
    bend, twist = radians(angle), radians(torsion)
    step = (
        -cos(bend) * forward
        + sin(bend) * cos(twist) * np.cross(normal, forward)
        + sin(bend) * sin(twist) * normal
    )
    return c + length * step


def _side_chain_twist(n_ca_c: float, n_ca_cb: float, c_ca_cb: float) -> float:
    """Return the torsion N-C-CA-CB (degrees) that gives the angle N-CA-CB in an L-amino acid."""
    a, b, c = (radians(angle) for angle in (n_ca_c, n_ca_cb, c_ca_cb))
    return degrees(acos((cos(b) - cos(a) * cos(c)) / (sin(a) * sin(c))))
