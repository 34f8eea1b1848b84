"""The classical terms of a batch of molecules as its kernels read them: tables of molecule kinds.

Molecules that are copies of each other share one kind. Everything is counted in beads of a kind and
grows with their number: ranges of the repulsion are looked up by bead type, and pairs that do not
repel are bits of a mask, because they are all close along the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

FAMILIES = {"bonds": 2, "angles": 3, "dihedrals": 4}
"""Beads of one term."""

REACH = 31
"""How far apart along the chain two beads that do not repel may be."""

ROWS = 16
"""Beads of one molecule that one program of the GPU kernel works on."""


@dataclass(frozen=True)
class KindTerms:
    """One family of terms of one kind of molecule.

    Attributes:
        members: [terms, k] int64, bead numbers within the molecule; the apex of an angle in the
            middle.
        parameters: [terms, width] float64. Bonds: k, r0. Angles: k, cos0. Dihedrals: v0, then k1 of
            every order, then k2 of every order.
    """

    members: Tensor
    parameters: Tensor


@dataclass(frozen=True)
class Kind:
    """One kind of molecule.

    Attributes:
        types: [beads] int64, row of the table of ranges.
        excluded: [pairs, 2] int64, pairs of beads that do not repel each other.
        terms: family name to its terms.
    """

    types: Tensor
    excluded: Tensor
    terms: dict[str, KindTerms]


@dataclass(frozen=True)
class Terms:
    """One family of terms of all kinds, as a list and as places of beads.

    Attributes:
        members: [terms, k] int32, kind after kind, bead numbers within the molecule.
        rows: [terms] int32, row of `parameters`.
        parameters: [different, width], dtype of the positions; as `KindTerms.parameters`.
        first: [kinds + 1] int32, where the terms of each kind begin.
        places: [k + 1, beads of all kinds, width] int32, width a power of two. Planes 0 to k - 1
            are the members of one term that the bead takes part in, turned so that the bead itself
            is member 0 or 1; plane k is 2 * row + (1 if the bead is member 1 and not an end), or -1
            where there is no further term (the members are then all the bead itself). Bonds: always
            member 0.
    """

    members: Tensor
    rows: Tensor
    parameters: Tensor
    first: Tensor
    places: Tensor


@dataclass(frozen=True)
class PriorsLayout:
    """All molecules of a batch, end to end.

    Attributes:
        molecule_sizes: beads of each molecule.
        start: [molecules + 1] int32, first bead of each molecule in the batch.
        kind: [molecules] int32, kind of each molecule.
        kind_start: [kinds + 1] int32, first bead of each kind in tables "of all kinds".
        types: [beads of all kinds] int32, row and column of `sigma6`.
        sigma6: [types, types], sixth power of the range in angstrom, dtype of the positions.
        excluded: [beads of all kinds] int64, a mask: bit REACH + j - i is set where bead i of the
            mask and bead j do not repel (the bead itself always); beads farther apart than REACH
            along the chain always do.
        blocks: [row blocks, 4] int32: for every `ROWS` beads of a molecule their first bead, first
            and last + 1 bead of the molecule, and first bead of its kind.
        molecule_of_bead: [beads] int64.
        terms: family name to its terms.
    """

    molecule_sizes: tuple[int, ...]
    start: Tensor
    kind: Tensor
    kind_start: Tensor
    types: Tensor
    sigma6: Tensor
    excluded: Tensor
    blocks: Tensor
    molecule_of_bead: Tensor
    terms: dict[str, Terms]


def lay_out(
    molecule_sizes: Sequence[int],
    kind_of_molecule: Sequence[int],
    kinds: Sequence[Kind],
    sigma: Tensor,
    dtype: torch.dtype,
    device: torch.device,
) -> PriorsLayout:
    """Return the layout of a batch.

    Args:
        molecule_sizes: beads of each molecule.
        kind_of_molecule: for each molecule, its place in `kinds`.
        kinds: the different molecules.
        sigma: [types, types] float64 symmetric, range of the repulsion in angstrom.
        dtype: of the positions, float32 or float64.
        device: of the positions.

    Raises:
        ValueError: a molecule that is not as large as its kind, or beads that do not repel and are
            too far apart along the chain.
    """
    for number, (size, kind) in enumerate(zip(molecule_sizes, kind_of_molecule, strict=True)):
        if size != len(kinds[kind].types):
            raise ValueError(
                f"molecule {number} has {size} beads, its kind {len(kinds[kind].types)}"
            )
    sizes = torch.tensor(list(molecule_sizes))
    of_molecule = torch.tensor(list(kind_of_molecule))
    start = _running(sizes)
    kind_start = _running(torch.tensor([len(kind.types) for kind in kinds]))

    row_blocks = (sizes + ROWS - 1) // ROWS
    molecule = torch.repeat_interleave(torch.arange(len(sizes)), row_blocks)
    place = torch.arange(len(molecule)) - (row_blocks.cumsum(0) - row_blocks)[molecule]
    blocks = torch.stack(
        (
            start[molecule] + place * ROWS,
            start[molecule],
            start[molecule + 1],
            kind_start[of_molecule[molecule]],
        ),
        dim=1,
    )
    return PriorsLayout(
        molecule_sizes=tuple(molecule_sizes),
        start=start.int().to(device),
        kind=of_molecule.int().to(device),
        kind_start=kind_start.int().to(device),
        types=torch.cat([kind.types for kind in kinds]).int().to(device),
        sigma6=sigma.double().pow(6).to(device=device, dtype=dtype).contiguous(),
        excluded=torch.cat([_mask(kind) for kind in kinds]).to(device),
        blocks=blocks.int().to(device).contiguous(),
        molecule_of_bead=torch.repeat_interleave(torch.arange(len(sizes)), sizes).to(device),
        terms={name: _family(name, kinds, dtype, device) for name in FAMILIES},
    )


def _running(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _mask(kind: Kind) -> Tensor:
    """Return the mask [beads] int64 of the pairs that do not repel."""
    pairs = torch.cat([kind.excluded, kind.excluded.flip(1)])
    offset = pairs[:, 1] - pairs[:, 0]
    if len(pairs) and int(offset.abs().max()) > REACH:
        i, j = pairs[int(offset.abs().argmax())].tolist()
        raise ValueError(
            f"beads {i} and {j} do not repel each other, but are more than {REACH} apart along the "
            "chain; use priors=reference"
        )
    mask = torch.full((len(kind.types),), 1 << REACH, dtype=torch.int64)
    for distance in range(-REACH, REACH + 1):
        mask[pairs[offset == distance, 0]] |= 1 << (REACH + distance)
    return mask


def _family(name: str, kinds: Sequence[Kind], dtype: torch.dtype, device: torch.device) -> Terms:
    """Return one family of terms of all kinds."""
    parts = [kind.terms[name] for kind in kinds]
    every = torch.cat([part.parameters.double() for part in parts])
    different, rows = torch.unique(every, dim=0, return_inverse=True)
    if not len(different):
        different = every.new_zeros(1, every.shape[1])  # something to point at
    first = _running(torch.tensor([len(part.members) for part in parts]))
    places = [
        _places(part.members, rows[first[n] : first[n + 1]], len(kinds[n].types))
        for n, part in enumerate(parts)
    ]
    width = max(place.shape[2] for place in places)
    return Terms(
        members=torch.cat([part.members for part in parts]).int().to(device).contiguous(),
        rows=rows.int().to(device),
        parameters=different.to(device=device, dtype=dtype).contiguous(),
        first=first.int().to(device),
        places=torch.cat([_widened(place, width) for place in places], dim=1)
        .int()
        .to(device)
        .contiguous(),
    )


def _places(members: Tensor, rows: Tensor, beads: int) -> Tensor:
    """Return [k + 1, beads, width]: the terms of every bead, in a fixed order."""
    k = members.shape[1]
    inner = int(k > 2)
    turned = torch.cat([members] * ((k + 1) // 2) + [members.flip(1)] * (k // 2))
    role = torch.arange(k).repeat_interleave(len(members))
    role = torch.where(role < (k + 1) // 2, role, k - 1 - role)  # where the bead is, once turned
    own = turned.gather(1, role[:, None])[:, 0]
    code = 2 * rows.repeat(k) + (role if inner else 0)
    order = torch.argsort(own, stable=True)
    own = own[order]
    counts = torch.bincount(own, minlength=beads)
    slot = torch.arange(len(own)) - (counts.cumsum(0) - counts)[own]
    width = 1 << max(0, (int(counts.max()) - 1 if beads and len(own) else 0).bit_length())
    places = torch.arange(beads)[None, :, None].repeat(k + 1, 1, width)
    places[k] = -1
    places[:k, own, slot] = turned[order].T
    places[k, own, slot] = code[order]
    return places


def _widened(places: Tensor, width: int) -> Tensor:
    """Return places with more room for terms."""
    planes, beads, before = places.shape
    wide = torch.arange(beads)[None, :, None].repeat(planes, 1, width)
    wide[-1] = -1
    wide[:, :, :before] = places
    return wide
