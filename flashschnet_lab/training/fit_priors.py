"""Prior tables from textbook geometry and a survey of protein structures.

Bonds, angles, peptide planes and chirality take ideal geometry (Engh and Huber, Acta Cryst. A47,
392 (1991)) and a thermal width each: k = kT / (2 width^2). The torsions phi and psi and the closest
approach of beads are surveyed in given structures. Nothing comes from another force field.

    python -m flashschnet_lab.training.fit_priors five_bead OUT.json STRUCTURE.pdb ...
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import torch

from flashschnet_kernels.priors.reference import dihedral_angles
from flashschnet_lab.potentials.prior_table import FOURIER_ORDERS, Key, PriorTable
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.proteins.residues import ONE_LETTER, bead_type
from flashschnet_lab.units import thermal_energy

TEMPERATURE = 300.0
GROUPS = ("n_term", "bulk", "c_term")

Rows = dict[Key, tuple[float, ...]]

IDEAL_BONDS = {  # angstrom, and thermal width in angstrom
    ("N", "CA"): (1.458, 0.036),
    ("CA", "CB"): (1.530, 0.036),
    ("CA", "C"): (1.525, 0.036),
    ("C", "O"): (1.231, 0.036),
    ("C", "N"): (1.329, 0.036),
}
IDEAL_ANGLES = {  # degrees, and thermal width in degrees
    ("N", "CA", "C"): (111.0, 3.6),
    ("N", "CA", "CB"): (110.4, 3.2),
    ("CB", "CA", "C"): (110.1, 3.2),
    ("CA", "C", "O"): (120.6, 3.2),
    ("CA", "C", "N"): (116.8, 3.0),
    ("O", "C", "N"): (122.8, 2.8),
    ("C", "N", "CA"): (121.9, 3.2),
}
OMEGA_STIFFNESS = 18.0  # kcal/mol: trans, with a width of 10 degrees
PROLINE_OMEGA = (1.5, 8.0)  # kcal/mol: half the cis-trans difference, half the barrier
CHIRALITY_STIFFNESS = 60.0
PLANARITY_STIFFNESS = 50.0
C_ALPHA_BOND = (3.81, 0.05)
SMOOTHING = 0.02  # kcal/mol weight of the squared Fourier coefficients in the torsion fit
CONTACT_QUANTILE = 8  # the closest approach is the mean of so many smallest distances
SIGMA_OVER_CONTACT = 0.80  # (sigma / r)^6 is 0.26 kcal/mol at the closest approach


def fit_prior_table(proteins: Sequence[Protein], sources: Sequence[Path] = ()) -> PriorTable:
    """Return the prior table that suits a set of native structures of one mapping.

    Args:
        proteins: native structures, all five-bead or all C-alpha.
        sources: the files they came from, recorded by name and SHA-256.
    """
    mapping = proteins[0].mapping
    provenance: dict[str, object] = {
        "mapping": mapping,
        "method": "ideal geometry with thermal widths; torsions and closest approach surveyed",
        "temperature": TEMPERATURE,
        "structures": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sources},
    }
    sigma = _closest_approach(proteins)
    if mapping == "ca":
        return PriorTable(*_c_alpha_terms(proteins), sigma, provenance)
    bonds = _bonded_rows(IDEAL_BONDS, "bonds", _bond_values)
    angles = _bonded_rows(IDEAL_ANGLES, "angles", _angle_values)
    return PriorTable(bonds, angles, _dihedral_rows(proteins), sigma, provenance)


def _types_of(name: str) -> list[int]:
    """Return the bead types that a backbone name can have: CA of glycine is of another type."""
    return _types_with(name, "five_bead")


def _bonded_rows(ideal: dict, family: str, values) -> Rows:  # type: ignore[no-untyped-def]
    rows: Rows = {}
    for names, (centre, width) in ideal.items():
        combinations: list[tuple[int, ...]] = [()]
        for name in names:
            combinations = [c + (t,) for c in combinations for t in _types_of(name)]
        for group in GROUPS:
            for types in combinations:
                rows[f"{group}_{family}", types] = values(centre, width)
    return rows


def _bond_values(length: float, width: float) -> tuple[float, ...]:
    return (round(thermal_energy(TEMPERATURE) / (2 * width**2), 3), length)


def _angle_values(degrees: float, width: float) -> tuple[float, ...]:
    theta, spread = math.radians(degrees), math.radians(width)
    k = thermal_energy(TEMPERATURE) / (2 * (math.sin(theta) * spread) ** 2)
    return (round(k, 3), round(math.cos(theta), 6))


def _dihedral_rows(proteins: Sequence[Protein]) -> Rows:
    angles = _surveyed_dihedrals(proteins)
    rows: Rows = {}
    for torsion in ("phi", "psi"):
        pooled: dict[str, list[float]] = defaultdict(list)
        for residue in ONE_LETTER:
            pooled[_torsion_class(residue)] += angles[f"{residue}_{torsion}"]
        series = {kind: _fourier_fit(np.array(values)) for kind, values in pooled.items()}
        for residue in ONE_LETTER:
            rows[f"{residue}_{torsion}", ()] = series[_torsion_class(residue)]
    step, barrier = PROLINE_OMEGA
    stiff = OMEGA_STIFFNESS
    rows["non_pro_omega", ()] = (stiff, 0.0, 0.0, 0.0, stiff, 0.0, 0.0)
    rows["pro_omega", ()] = (step + barrier, 0.0, 0.0, 0.0, step, -barrier, 0.0)
    rows["gamma_1", ()] = _harmonic_series(angles["gamma_1"], CHIRALITY_STIFFNESS)
    rows["gamma_2", ()] = _harmonic_series(angles["gamma_2"], PLANARITY_STIFFNESS)
    return rows


def _torsion_class(residue: str) -> str:
    return residue if residue in ("GLY", "PRO") else "general"


def _surveyed_dihedrals(proteins: Sequence[Protein]) -> dict[str, list[float]]:
    """Return all angles of each term in radians."""
    angles: dict[str, list[float]] = defaultdict(list)
    for protein in proteins:
        index = torch.from_numpy(protein.topology.dihedrals)
        values = dihedral_angles(torch.from_numpy(protein.positions), index).tolist()
        for term, value in zip(protein.topology.dihedral_terms, values, strict=True):
            angles[term].append(value)
    return angles


def _harmonic_series(angles: list[float], stiffness: float) -> tuple[float, ...]:
    """Return K (1 - cos(phi - phi0)) as a Fourier series, phi0 the circular mean."""
    mean = math.atan2(float(np.mean(np.sin(angles))), float(np.mean(np.cos(angles))))
    sine, cosine = -stiffness * math.sin(mean), -stiffness * math.cos(mean)
    return (stiffness, round(sine, 4), 0.0, 0.0, round(cosine, 4), 0.0, 0.0)


def _fourier_fit(angles: np.ndarray) -> tuple[float, ...]:
    """Return v0, k1, k2 of the series whose Boltzmann density makes the angles most likely.

    The average over the density of every sine and cosine then equals that of the survey (up to the
    smoothing). The series is shifted to have its minimum at zero.
    """
    kT = thermal_energy(TEMPERATURE)  # noqa: N806
    order = torch.arange(1, FOURIER_ORDERS + 1, dtype=torch.float64)

    def features(phi: torch.Tensor) -> torch.Tensor:
        return torch.cat((torch.sin(phi[:, None] * order), torch.cos(phi[:, None] * order)), 1)

    grid = features(torch.linspace(-math.pi, math.pi, 721, dtype=torch.float64)[:-1])
    seen = features(torch.from_numpy(angles)).mean(0)
    k = torch.zeros(2 * FOURIER_ORDERS, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([k], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = kT * torch.logsumexp(-(grid @ k) / kT, 0) + seen @ k + SMOOTHING * (k * k).sum()
        value.backward()
        return value

    optimiser.step(loss)
    v0 = -float((grid @ k.detach()).min())
    return tuple(round(v, 4) for v in (v0, *k.detach().tolist()))


def _closest_approach(proteins: Sequence[Protein]) -> np.ndarray:
    """Return sigma [types, types] from the smallest distances of repelling beads, by bead name."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for protein in proteins:
        pairs = protein.topology.repulsion
        names = np.array(protein.bead_names)
        r = np.linalg.norm(protein.positions[pairs[:, 1]] - protein.positions[pairs[:, 0]], axis=1)
        first, second = np.sort(names[pairs], axis=1).T
        for a, b in combinations_with_replacement(sorted(set(protein.bead_names)), 2):
            found[a, b] += np.sort(r[(first == a) & (second == b)])[:CONTACT_QUANTILE].tolist()
    mapping = proteins[0].mapping
    sigma = np.zeros((25, 25))
    for (a, b), distances in found.items():
        nearest = sorted(distances)[:CONTACT_QUANTILE]
        value = round(SIGMA_OVER_CONTACT * float(np.mean(nearest)), 3)
        for type_a in _types_with(a, mapping):
            for type_b in _types_with(b, mapping):
                sigma[type_a, type_b] = sigma[type_b, type_a] = value
    if mapping == "five_bead":  # glycine's CA has the type of a residue but is a backbone bead
        glycine, c_alpha = bead_type("GLY", "CA", mapping), bead_type("ALA", "CA", mapping)
        sigma[glycine, :] = sigma[c_alpha, :]
        sigma[:, glycine] = sigma[:, c_alpha]
        sigma[glycine, glycine] = sigma[c_alpha, c_alpha]
    return sigma


def _types_with(name: str, mapping: str) -> list[int]:
    residues = [r for r in ONE_LETTER if (r, name) != ("GLY", "CB")]
    return sorted({bead_type(r, name, mapping) for r in residues})


def _c_alpha_terms(
    proteins: Sequence[Protein],
) -> tuple[Rows, Rows, Rows]:
    """Return bonds, angles and dihedrals of C-alpha chains, the same for all residues."""
    cosines: list[float] = []
    for protein in proteins:
        first, apex, last = protein.positions[protein.topology.angles.T]
        u, v = first - apex, last - apex
        lengths = np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
        cosines += ((u * v).sum(1) / lengths).tolist()
    k = thermal_energy(TEMPERATURE) / (2 * float(np.var(cosines)))
    angle = (round(k, 3), round(float(np.mean(cosines)), 4))
    torsions = np.array(_surveyed_dihedrals(proteins)["ca_dihedrals"])
    return (
        {("ca_bonds", ()): _bond_values(*C_ALPHA_BOND)},
        {("ca_angles", ()): angle},
        {("ca_dihedrals", ()): _fourier_fit(torsions)},
    )


def main(arguments: Sequence[str]) -> None:
    """Write a prior table: mapping, output file, structure files."""
    from flashschnet_lab.proteins.mapping import read_protein

    mapping, out, *files = arguments
    paths = [Path(f) for f in files]
    table = fit_prior_table([read_protein(p, mapping=mapping) for p in paths], paths)
    Path(out).write_text(table.to_json(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
