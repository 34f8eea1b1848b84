"""mlcg's priors as our table: by bead types (51 terms for five beads), or made for one molecule.

Forms, as mlcg evaluates them: bonds k (r - r0)^2; angles k (cos t - cos t0)^2; dihedrals
v0 + sum_n k1_n sin(n phi) + k2_n cos(n phi); repulsion (sigma / r)^6. Tables are dense or sparse
tensors over bead types; specialised priors hold a row per term of the configurations.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from flashschnet_lab.checkpoints.imported import unsupported
from flashschnet_lab.checkpoints.mlcg_configurations import Configuration
from flashschnet_lab.checkpoints.mlcg_modules import Module
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.prior_table import FAMILIES, Key, PriorRules, PriorTable
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.proteins.residues import CA_ONLY, FIVE_BEAD, ONE_LETTER

_HARMONIC = {
    "HarmonicBonds": "bonds",
    "GeneralBonds": "bonds",
    "HarmonicAngles": "angles",
    "GeneralAngles": "angles",
}
_STATIC = {
    "StaticHarmonicBonds": "bonds",
    "StaticGeneralBonds": "bonds",
    "StaticHarmonicAngles": "angles",
    "StaticGeneralAngles": "angles",
    "StaticDihedral": "dihedrals",
}
PRIORS = frozenset({*_HARMONIC, *_STATIC, "Dihedral", "Repulsion"})
"""Classes of mlcg that become terms of our table."""

LARGEST_TABLE = 1 << 20
MOST_TYPES = 1000
MOST_ORDERS = 16
_ENDS = ("n_term", "bulk", "c_term")
_FIVE_BEAD_TERMS = {
    "bonds": {f"{end}_bonds" for end in _ENDS},
    "angles": {f"{end}_angles" for end in _ENDS},
    "dihedrals": {f"{name}_{angle}" for name in ONE_LETTER for angle in ("phi", "psi")}
    | {"pro_omega", "non_pro_omega", "gamma_1", "gamma_2"},
}
_CA_TERMS = {"bonds": "ca_bonds", "angles": "ca_angles", "dihedrals": "ca_dihedrals"}


def take_priors(priors: dict[str, Module]) -> tuple[PriorTable, str]:
    """Return the table of priors that depend on bead types, and the mapping that they are for.

    Args:
        priors: mlcg's modules by the name of their term.

    Raises:
        UserError: a term or form that our priors do not have, all of them named.
    """
    families = {name: _family(module) for name, module in priors.items()}
    five_bead = any(name in set().union(*_FIVE_BEAD_TERMS.values()) for name in priors)
    problems, sigma = [], None
    rows: dict[str, dict[Key, tuple[float, ...]]] = {family: {} for family in FAMILIES[:3]}
    for name, module in priors.items():
        family = families[name]
        if family == "repulsion":
            if sigma is not None:
                problems.append(f"a second repulsion {name}")
            sigma = _dense(module.tensors().get("sigma"), name)
        elif five_bead and name not in _FIVE_BEAD_TERMS[family]:
            problems.append(f"the term {name}")
        elif not five_bead and name != family:
            problems.append(f"the term {name} of a model with one bead per residue")
        else:
            term = name if five_bead else _CA_TERMS[family]
            rows[family].update(_by_types(term, family, module))
    if problems:
        raise unsupported("these priors", problems)
    present = tuple(f for f in FAMILIES if f in families.values())
    types = max((max(t) for table in rows.values() for _, t in table if t), default=0)
    size = max(types + 1, 25 if sigma is None else len(sigma))
    if size > MOST_TYPES:
        raise unsupported("these priors", [f"{size} bead types"])
    table = PriorTable(
        rows["bonds"],
        rows["angles"],
        _padded(rows["dihedrals"]),
        _widened(sigma, size),
        {"made_by": "mlcg"},
        PriorRules(families=present),
    )
    return table, FIVE_BEAD if five_bead else CA_ONLY


def take_specialised(
    priors: dict[str, Module], configurations: list[Configuration]
) -> tuple[PriorTable, Protein]:
    """Return the table of priors that were specialised to one molecule, and the molecule.

    Args:
        priors: mlcg's modules by the name of their term.
        configurations: that they were specialised to; all of one molecule.

    Raises:
        UserError: several molecules, or terms and forms that our priors do not have.
    """
    first = configurations[0]
    if any(not np.array_equal(c.types, first.types) for c in configurations):
        raise unsupported("these priors", ["specialisation to several different molecules at once"])
    protein = first.protein()
    problems: list[str] = []
    rows: dict[str, dict[Key, tuple[float, ...]]] = {family: {} for family in FAMILIES[:3]}
    sigma, separation, present = np.zeros((protein.beads, protein.beads)), 3, []
    for name, module in priors.items():
        family = _family(module)
        present.append(family)
        index = first.terms.get(name)
        if index is None:
            problems.append(f"the term {name}, of which the configurations have no list")
        elif family == "repulsion":
            ranges = _dense(module.tensors().get("sigma"), name)
            separation = _separation(index, protein)
            i, j = index.T
            sigma[i, j] = sigma[j, i] = ranges[first.types[i], first.types[j]]
        else:
            values = _static_rows(family, module, len(index), len(configurations))
            rows[family].update(_by_beads(family, index, values, protein))
    if problems:
        raise unsupported("these priors", problems)
    for family in FAMILIES[:3]:
        if family in present:
            _fill_missing(rows[family], family, protein)
    table = PriorTable(
        rows["bonds"],
        rows["angles"],
        _padded(rows["dihedrals"]),
        sigma,
        {"made_by": "mlcg, specialised to one molecule"},
        PriorRules(tuple(f for f in FAMILIES if f in present), "per_bead", separation),
    )
    return table, protein


def is_specialised(priors: dict[str, Module]) -> bool:
    """Tell whether any prior was specialised to a molecule."""
    return any(module.name in _STATIC for module in priors.values())


def _family(module: Module) -> str:
    if module.name == "Repulsion":
        return "repulsion"
    return "dihedrals" if module.name == "Dihedral" else {**_HARMONIC, **_STATIC}[module.name]


def _by_types(term: str, family: str, module: Module) -> Iterator[tuple[Key, tuple[float, ...]]]:
    """Yield the parameters of every combination of bead types that a prior knows."""
    tensors = module.tensors()
    if family == "dihedrals":
        yield from _dihedrals_by_types(term, tensors)
        return
    k, centre = (_entries(tensors.get(name), f"{term} {name}") for name in ("k", "x_0"))
    for types in dict.fromkeys([*k, *centre]):
        yield (term, types), (k.get(types, 0.0), centre.get(types, 0.0))


def _dihedrals_by_types(
    term: str, tensors: dict[str, Tensor]
) -> Iterator[tuple[Key, tuple[float, ...]]]:
    v0 = _entries(tensors.get("v_0"), f"{term} v_0")
    k1, k2 = (_entries(tensors.get(name), f"{term} {name}") for name in ("k1s", "k2s"))
    orders = tensors["k1s"].shape[0]
    if not 1 <= orders <= MOST_ORDERS:
        raise unsupported("these priors", [f"{orders} orders of the dihedral {term}"])
    for types in dict.fromkeys([*v0, *(key[1:] for key in k1), *(key[1:] for key in k2)]):
        series = [[k.get((n, *types), 0.0) for n in range(orders)] for k in (k1, k2)]
        yield (term, types), (v0.get(types, 0.0), *series[0], *series[1])


def _entries(tensor: Tensor | None, what: str) -> dict[tuple[int, ...], float]:
    """Return the entries of a sparse tensor, or the non-zero ones of a dense one."""
    if tensor is None or tensor.ndim < 2:
        raise UserError(f"a prior lacks its parameters {what}")
    if tensor.is_sparse:
        tensor = tensor.coalesce()
        index, values = tensor.indices().T.tolist(), tensor.values().double().tolist()
    else:
        index = tensor.nonzero().tolist()
        values = tensor[tensor != 0].double().tolist()
    if len(index) > LARGEST_TABLE:
        raise UserError(f"the parameters {what} of a prior are more than {LARGEST_TABLE}")
    return {tuple(key): value for key, value in zip(index, values, strict=True)}


def _dense(tensor: Tensor | None, term: str) -> np.ndarray:
    """Return the ranges of the repulsion, [types, types] symmetric."""
    if tensor is None or tensor.ndim != 2 or tensor.shape[0] != tensor.shape[1]:
        raise UserError(f"the repulsion {term} has no square table of ranges")
    if tensor.numel() > LARGEST_TABLE:
        raise UserError(f"the repulsion {term} has more than {LARGEST_TABLE} ranges")
    ranges: np.ndarray = (tensor.to_dense() if tensor.is_sparse else tensor).double().numpy()
    if not np.array_equal(ranges, ranges.T):
        raise unsupported("these priors", [f"ranges of {term} that depend on the order of beads"])
    return ranges


def _widened(sigma: np.ndarray | None, size: int) -> np.ndarray:
    wide = np.zeros((size, size))
    if sigma is not None:
        wide[: len(sigma), : len(sigma)] = sigma
    return wide


def _padded(rows: dict[Key, tuple[float, ...]]) -> dict[Key, tuple[float, ...]]:
    """Return Fourier series of one length: that of the longest."""
    longest = max((len(row) // 2 for row in rows.values()), default=0)

    def padded(row: tuple[float, ...]) -> tuple[float, ...]:
        orders = len(row) // 2
        zeros = (0.0,) * (longest - orders)
        return (*row[: 1 + orders], *zeros, *row[1 + orders :], *zeros)

    return {key: padded(row) for key, row in rows.items()}


def _static_rows(family: str, module: Module, terms: int, copies: int) -> np.ndarray:
    """Return the parameters [terms, values] of a specialised prior, the same in every copy."""
    tensors = {k: v.double().numpy() for k, v in module.tensors().items()}
    names = ("v_0", "k1s", "k2s") if family == "dihedrals" else ("k", "x0", "V0")
    missing = [name for name in names if name not in tensors]
    if missing:
        raise UserError(f"a specialised prior of {family} lacks {', '.join(missing)}")
    if family == "dihedrals":  # v_0 is summed over its columns
        offsets = tensors["v_0"].reshape(len(tensors["v_0"]), -1).sum(1, keepdims=True)
        values = np.concatenate([offsets, tensors["k1s"], tensors["k2s"]], axis=1)
    else:
        if np.any(tensors["V0"]):
            raise unsupported("these priors", [f"offsets V0 of {family}"])
        values = np.stack([tensors["k"], tensors["x0"]], axis=1)
    if len(values) != terms * copies:
        raise UserError(
            f"the specialised {family} have {len(values)} rows, but {copies} configurations of "
            f"{terms} terms"
        )
    values = values.reshape(copies, terms, -1)
    if not np.array_equal(values, np.broadcast_to(values[0], values.shape)):
        raise unsupported("these priors", [f"{family} that differ between configurations"])
    return values[0]


def _by_beads(
    family: str, index: np.ndarray, values: np.ndarray, protein: Protein
) -> Iterator[tuple[Key, tuple[float, ...]]]:
    """Yield the parameters of every term of a molecule, by the numbers of its beads."""
    ours, names = PriorRules().terms(family, protein)
    term_of = {tuple(beads): name for beads, name in zip(ours.tolist(), names, strict=True)}
    for beads, row in zip(index.tolist(), values.tolist(), strict=True):
        key = tuple(beads) if tuple(beads) in term_of else tuple(beads[::-1])
        if key not in term_of:
            where = ", ".join(protein.label(bead) for bead in beads)
            raise unsupported("these priors", [f"{family} on {where}"])
        yield (term_of[key], key), tuple(row)


def _fill_missing(rows: dict[Key, tuple[float, ...]], family: str, protein: Protein) -> None:
    """Say of terms that the molecule has and the file does not that they are zero."""
    index, names = PriorRules().terms(family, protein)
    width = len(next(iter(rows.values()), (0.0, 0.0)))
    for beads, name in zip(index.tolist(), names, strict=True):
        rows.setdefault((name, tuple(beads)), (0.0,) * width)


def _separation(index: np.ndarray, protein: Protein) -> int:
    """Return from how many residues on beads repel each other in a list of pairs."""
    pairs = {tuple(sorted(pair)) for pair in index.tolist()}
    for separation in range(1, 8) if protein.mapping == CA_ONLY else (PriorRules().ca_separation,):
        expected = PriorRules(ca_separation=separation).repulsion(protein)
        if pairs == {tuple(pair) for pair in expected.tolist()}:
            return separation
    raise unsupported("these priors", ["a list of repelling pairs that follows no rule of ours"])
