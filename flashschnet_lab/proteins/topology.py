"""Which beads are bonded, bent, twisted, and which repel each other.

Everything follows from the residue names and from where a chain is continuous: no distances and no
coordinates enter. The terms are named as in the mlcg five-bead prior (Charron et al., Nature
Chemistry 17, 1284 (2025)), because its parameters are looked up by term and bead types.

Terms that hold a bead of the first or last residue of a segment have parameters of their own
(`n_term_*`, `c_term_*`); where both apply, in segments of one or two residues, `n_term_*` is taken.
Disulfide bridges and cyclic backbones have no bond: the model has no parameters for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from flashschnet_lab.proteins.residues import CA_ONLY, bead_names

CA_SEPARATION = 3
"""C-alpha beads of one segment closer than so many residues do not repel."""

_Row = tuple[str, tuple[int, ...]]

_MIN_BONDS = 5  # five-bead: beads closer than this along the bonds do not repel
_BONDS_TO_C = {"N": 2, "CA": 1, "CB": 2, "C": 0, "O": 1}  # to the C of the bead's own residue
_BONDS_FROM_N = {"N": 0, "CA": 1, "CB": 2, "C": 2, "O": 3}  # from the N of the bead's own residue
_BONDS_PER_RESIDUE = 3  # N-CA, CA-C and the peptide bond to the next residue
_PAIRS_PER_BLOCK = 1 << 22  # bounds the memory of the pair search: 17 bytes each


@dataclass(frozen=True, eq=False)
class Topology:
    """The terms of the classical energy, as bead indices.

    Attributes:
        bonds: [bonds, 2] int64.
        bond_terms: per bond "n_term_bonds", "bulk_bonds" or "c_term_bonds" (CA only: "ca_bonds").
        angles: [angles, 3] int64, the apex in the middle.
        angle_terms: as `bond_terms`, ending in "_angles".
        dihedrals: [dihedrals, 4] int64. The impropers: gamma_1 is (N, CB, C, CA), gamma_2 is
            (CA, O, N of the next residue, C).
        dihedral_terms: "ALA_phi", "ALA_psi" and so on, by the residue whose CA is twisted;
            "pro_omega" if the residue after the peptide bond is proline, else "non_pro_omega";
            "gamma_1"; "gamma_2" (CA only: "ca_dihedrals").
        repulsion: [pairs, 2] int64 with i < j, sorted.
    """

    bonds: np.ndarray
    bond_terms: tuple[str, ...]
    angles: np.ndarray
    angle_terms: tuple[str, ...]
    dihedrals: np.ndarray
    dihedral_terms: tuple[str, ...]
    repulsion: np.ndarray


def build_topology(residue_names: Sequence[str], segments: Sequence[int], mapping: str) -> Topology:
    """Return the topology of residues in chain order.

    Args:
        residue_names: standard three-letter names.
        segments: the continuous piece of chain that each residue belongs to; no bond, angle or
            dihedral joins two of them.
        mapping: "five_bead" or "ca".
    """
    beads = _bead_indices(residue_names, mapping)
    joined = [before == after for before, after in pairwise(segments)]
    if mapping == CA_ONLY:
        runs = _runs([bead["CA"] for bead in beads], joined)
        bonds = _windows(runs, 2, "ca_bonds")
        angles = _windows(runs, 3, "ca_angles")
        dihedrals = _windows(runs, 4, "ca_dihedrals")
    else:
        groups = _terminal_groups(beads, joined)
        bonds = _grouped(_five_bead_bonds(beads, joined), groups, "bonds")
        angles = _grouped(_five_bead_angles(beads, joined), groups, "angles")
        dihedrals = _five_bead_dihedrals(beads, joined, residue_names)
    return Topology(
        *_table(bonds, 2),
        *_table(angles, 3),
        *_table(dihedrals, 4),
        repulsion=_all_pairs_except(
            sum(map(len, beads)), excluded_pairs(residue_names, segments, mapping)
        ),
    )


def repelling_pairs(
    residue_names: Sequence[str], segments: Sequence[int], mapping: str, ca_separation: int
) -> np.ndarray:
    """Return the pairs of beads that repel each other, [pairs, 2] int64 with i < j, sorted.

    Arguments as those of `excluded_pairs`.
    """
    beads = sum(len(bead_names(name, mapping)) for name in residue_names)
    excluded = excluded_pairs(residue_names, segments, mapping, ca_separation)
    return _all_pairs_except(beads, excluded)


def excluded_pairs(
    residue_names: Sequence[str],
    segments: Sequence[int],
    mapping: str,
    ca_separation: int = CA_SEPARATION,
) -> np.ndarray:
    """Return the pairs of beads that do not repel each other, [pairs, 2] int64 with i < j, sorted.

    These are the pairs of one residue and the pairs of one segment that are closer than five bonds
    (CA only: `ca_separation` residues). Their number grows with the beads, not with the beads
    squared: a kernel that visits all pairs needs this list only.
    """
    names = [bead_names(name, mapping) for name in residue_names]
    residue = np.repeat(np.arange(len(names)), [len(beads) for beads in names])  # [beads]
    segment = np.asarray(segments, dtype=np.int64)[residue]
    to_c = np.array([_BONDS_TO_C[bead] for beads in names for bead in beads])
    from_n = np.array([_BONDS_FROM_N[bead] for beads in names for bead in beads])

    found = []
    reach = max(3, ca_separation) * max(map(len, names), default=0)  # two residues on, or more
    for offset in range(1, min(len(residue), reach)):
        i = np.arange(len(residue) - offset)
        j = i + offset
        gap = residue[j] - residue[i]
        if mapping == CA_ONLY:
            close = gap < ca_separation
        else:
            path = to_c[i] + 1 + _BONDS_PER_RESIDUE * (gap - 1) + from_n[j]
            close = (gap == 0) | (path < _MIN_BONDS)
        keep = close & (segment[i] == segment[j])
        found.append(np.stack([i[keep], j[keep]], axis=1))
    if not found:
        return np.empty((0, 2), dtype=np.int64)
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _all_pairs_except(beads: int, excluded: np.ndarray) -> np.ndarray:
    """Return every pair i < j that is not in `excluded`, sorted.

    Found a block of rows at a time, so that the memory is that of the result: 16 bytes per pair,
    23 MB for 1,700 beads and 3.2 GB for 20,000.
    """
    pairs = np.empty((beads * (beads - 1) // 2 - len(excluded), 2), dtype=np.int64)
    rows = max(1, _PAIRS_PER_BLOCK // max(1, beads))
    filled = 0
    for start in range(0, beads, rows):
        stop = min(start + rows, beads)
        repels = np.arange(start, stop)[:, None] < np.arange(beads)  # [rows, beads]
        first, last = np.searchsorted(excluded[:, 0], [start, stop])
        repels[excluded[first:last, 0] - start, excluded[first:last, 1]] = False
        i, j = np.nonzero(repels)
        pairs[filled : filled + len(i), 0] = i + start
        pairs[filled : filled + len(i), 1] = j
        filled += len(i)
    return pairs


def _bead_indices(residue_names: Sequence[str], mapping: str) -> list[dict[str, int]]:
    """Return for each residue the index of each of its beads by name."""
    indices: list[dict[str, int]] = []
    start = 0
    for residue in residue_names:
        names = bead_names(residue, mapping)
        indices.append({name: start + offset for offset, name in enumerate(names)})
        start += len(names)
    return indices


def _runs(items: Sequence[int], joined: Sequence[bool]) -> list[list[int]]:
    """Return the items cut where two neighbours are not joined."""
    runs = [[items[0]]] if items else []
    for item, together in zip(items[1:], joined, strict=True):
        if together:
            runs[-1].append(item)
        else:
            runs.append([item])
    return runs


def _windows(runs: list[list[int]], length: int, term: str) -> list[_Row]:
    """Return every stretch of `length` neighbours as rows of one term."""
    return [
        (term, tuple(run[start : start + length]))
        for run in runs
        for start in range(len(run) - length + 1)
    ]


def _terminal_groups(
    beads: list[dict[str, int]], joined: Sequence[bool]
) -> tuple[set[int], set[int]]:
    """Return the beads of all first and of all last residues of segments."""
    first: set[int] = set()
    last: set[int] = set()
    for number, bead in enumerate(beads):
        if number == 0 or not joined[number - 1]:
            first.update(bead.values())
        if number == len(joined) or not joined[number]:
            last.update(bead.values())
    return first, last


def _grouped(
    rows: list[tuple[int, ...]], groups: tuple[set[int], set[int]], family: str
) -> list[_Row]:
    """Name each row by the terminal group that it touches."""
    n_terminal, c_terminal = groups
    named = []
    for row in rows:
        if not n_terminal.isdisjoint(row):
            group = "n_term"
        elif not c_terminal.isdisjoint(row):
            group = "c_term"
        else:
            group = "bulk"
        named.append((f"{group}_{family}", row))
    return named


def _five_bead_bonds(beads: list[dict[str, int]], joined: Sequence[bool]) -> list[tuple[int, ...]]:
    rows: list[tuple[int, ...]] = []
    for number, bead in enumerate(beads):
        rows.append((bead["N"], bead["CA"]))
        if "CB" in bead:
            rows.append((bead["CA"], bead["CB"]))
        rows.append((bead["CA"], bead["C"]))
        rows.append((bead["C"], bead["O"]))
        if number < len(joined) and joined[number]:
            rows.append((bead["C"], beads[number + 1]["N"]))
    return rows


def _five_bead_angles(beads: list[dict[str, int]], joined: Sequence[bool]) -> list[tuple[int, ...]]:
    rows: list[tuple[int, ...]] = []
    for number, bead in enumerate(beads):
        rows.append((bead["N"], bead["CA"], bead["C"]))
        if "CB" in bead:
            rows.append((bead["N"], bead["CA"], bead["CB"]))
            rows.append((bead["CB"], bead["CA"], bead["C"]))
        rows.append((bead["CA"], bead["C"], bead["O"]))
        if number < len(joined) and joined[number]:
            following = beads[number + 1]
            rows.append((bead["CA"], bead["C"], following["N"]))
            rows.append((bead["O"], bead["C"], following["N"]))
            rows.append((bead["C"], following["N"], following["CA"]))
    return rows


def _five_bead_dihedrals(
    beads: list[dict[str, int]], joined: Sequence[bool], residue_names: Sequence[str]
) -> list[_Row]:
    rows: list[_Row] = []
    for number, bead in enumerate(beads):
        if "CB" in bead:
            rows.append(("gamma_1", (bead["N"], bead["CB"], bead["C"], bead["CA"])))
        if number == len(joined) or not joined[number]:
            continue
        following = beads[number + 1]
        residue, next_residue = residue_names[number], residue_names[number + 1]
        omega = "pro_omega" if next_residue == "PRO" else "non_pro_omega"
        rows += [
            (f"{residue}_psi", (bead["N"], bead["CA"], bead["C"], following["N"])),
            ("gamma_2", (bead["CA"], bead["O"], following["N"], bead["C"])),
            (omega, (bead["CA"], bead["C"], following["N"], following["CA"])),
            (f"{next_residue}_phi", (bead["C"], following["N"], following["CA"], following["C"])),
        ]
    return rows


def _table(rows: list[_Row], width: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the indices [rows, width] and the terms of named rows."""
    indices = np.array([row for _, row in rows], dtype=np.int64).reshape(-1, width)
    return indices, tuple(term for term, _ in rows)
