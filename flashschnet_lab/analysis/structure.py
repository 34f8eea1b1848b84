"""Measures of conformations: superposition, RMSD, radius of gyration, size, native contacts.

Every function takes positions of shape [..., beads, 3] in angstrom, with any leading axes
(replicas, frames, both or none), as a numpy array or a torch tensor on any device, and computes
in float64 on the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from flashschnet_lab.proteins.protein import Protein


def as_positions(positions: Any) -> np.ndarray:
    """Return positions as a float64 numpy array; a torch tensor may lie on any device."""
    if hasattr(positions, "detach"):
        positions = positions.detach().cpu()
    return np.asarray(positions, dtype=np.float64)


def c_alpha_indices(protein: Protein) -> np.ndarray:
    """Return the indices of the C-alpha beads, one per residue.

    Args:
        protein: a molecule of either mapping.

    Returns:
        [residues] int64.
    """
    return np.flatnonzero(np.array(protein.bead_names) == "CA")


def superpose(positions: Any, reference: Any, selection: np.ndarray | None = None) -> np.ndarray:
    """Move every conformation onto the reference by the best rotation and translation.

    The rotation minimises the squared distance of the selected beads and is proper: a mirror image
    is never turned into its original. Method: W. Kabsch, Acta Crystallographica A 32, 922 (1976),
    by a singular value decomposition of the 3 x 3 covariance matrix.

    Args:
        positions: [..., beads, 3], angstrom.
        reference: [beads, 3], angstrom.
        selection: [selected] indices of the beads that decide the motion; all beads without it.

    Returns:
        [..., beads, 3] float64, angstrom: all beads, moved.

    Raises:
        ValueError: the shapes do not fit together.
    """
    moving, target = as_positions(positions), as_positions(reference)
    _check_shapes(moving, target)
    moving_centre = _select(moving, selection).mean(axis=-2, keepdims=True)  # [..., 1, 3]
    target_centre = _select(target, selection).mean(axis=-2, keepdims=True)  # [1, 3]
    from_centre = _select(moving, selection) - moving_centre  # [..., selected, 3]
    to_centre = _select(target, selection) - target_centre  # [selected, 3]
    left, _, right = np.linalg.svd(from_centre.swapaxes(-1, -2) @ to_centre)  # each [..., 3, 3]
    # Where the best orthogonal matrix is a reflection, turn its axis of least variance around.
    handedness = np.sign(np.linalg.det(left @ right))  # [...]
    left[..., :, 2] *= handedness[..., None]
    return (moving - moving_centre) @ (left @ right) + target_centre


def rmsd(positions: Any, reference: Any, selection: np.ndarray | None = None) -> np.ndarray:
    """Return the root mean square distance to the reference after superposition.

    Args:
        positions: [..., beads, 3], angstrom.
        reference: [beads, 3], angstrom.
        selection: [selected] indices of the beads superposed and measured; all beads without it.

    Returns:
        [...] float64, angstrom.

    Raises:
        ValueError: the shapes do not fit together.
    """
    moving, target = as_positions(positions), as_positions(reference)
    _check_shapes(moving, target)
    chosen = _select(target, selection)
    difference = superpose(_select(moving, selection), chosen) - chosen
    return np.sqrt((difference**2).sum(axis=-1).mean(axis=-1))


def radius_of_gyration(positions: Any, masses: np.ndarray | None = None) -> np.ndarray:
    """Return the root mean square distance of the beads from their centre, weighted by mass.

    Args:
        positions: [..., beads, 3], angstrom.
        masses: [beads], dalton; equal weights without it.

    Returns:
        [...] float64, angstrom.
    """
    beads = as_positions(positions)
    weights = np.ones(beads.shape[-2]) if masses is None else np.asarray(masses, dtype=np.float64)
    weights = weights / weights.sum()  # [beads]
    centre = (weights[:, None] * beads).sum(axis=-2, keepdims=True)  # [..., 1, 3]
    return np.sqrt((weights * ((beads - centre) ** 2).sum(axis=-1)).sum(axis=-1))


def end_to_end(positions: Any, protein: Protein) -> np.ndarray:
    """Return the distance between the C-alpha beads of the first and the last residue.

    Args:
        positions: [..., beads, 3], angstrom.
        protein: the molecule.

    Returns:
        [...] float64, angstrom.
    """
    alphas = c_alpha_indices(protein)
    return distances(as_positions(positions), alphas[[0, -1]][None])[..., 0]


def native_pairs(
    protein: Protein, reference: Any = None, cutoff: float = 8.0, separation: int = 3
) -> np.ndarray:
    """Return the pairs of C-alpha beads that touch in the native structure.

    Beads stand for several atoms, so contacts are counted between C-alpha beads, in both mappings
    alike: closer than `cutoff` in the reference, and more than `separation` residues apart when
    they belong to one chain.

    Args:
        protein: the molecule.
        reference: [beads, 3] native positions, angstrom; the protein's own without it.
        cutoff: the distance below which two C-alpha beads touch, angstrom.
        separation: neighbours along a chain up to this many residues apart are no contacts.

    Returns:
        [pairs, 2] int64 bead indices, first < second.
    """
    native = as_positions(protein.positions if reference is None else reference)
    alphas = c_alpha_indices(protein)
    first, second = np.triu_indices(len(alphas), k=1)
    residues = [protein.residues[index] for index in protein.residue_of_bead[alphas]]
    chains = np.array([residue.chain for residue in residues])
    far_along_chain = (second - first > separation) | (chains[first] != chains[second])
    pairs = np.stack([alphas[first], alphas[second]], axis=-1)  # [candidates, 2]
    return pairs[far_along_chain & (distances(native, pairs) < cutoff)]


def native_contacts(
    positions: Any, reference: Any, pairs: np.ndarray, beta: float = 5.0, tolerance: float = 1.2
) -> np.ndarray:
    r"""Return Q, the fraction of native contacts that are present: 1 folded, near 0 unfolded.

    .. math::
        Q = \frac{1}{|S|} \sum_{(i,j) \in S} \frac{1}{1 + \exp[\beta (r_{ij} - \lambda r_{ij}^0)]}

    with S the native pairs, r the distance now and r0 the native one. Source: R. B. Best,
    G. Hummer and W. A. Eaton, PNAS 110, 17874 (2013). They take heavy atoms within 4.5 angstrom,
    more than three residues apart, beta = 5 per angstrom, and lambda = 1.8 for all-atom models or
    1.2 for coarse ones. Here S comes from `native_pairs` (C-alpha beads within 8 angstrom) and
    lambda = 1.2.

    Args:
        positions: [..., beads, 3], angstrom.
        reference: [beads, 3] native positions, angstrom.
        pairs: [pairs, 2] bead indices of the native contacts.
        beta: softness of the count, 1/angstrom.
        tolerance: lambda, the stretch at which a contact counts half, without unit.

    Returns:
        [...] float64 between 0 and 1.

    Raises:
        ValueError: there is no native contact to count.
    """
    if len(pairs) == 0:
        raise ValueError("No native contacts: take a folded reference or a larger cutoff.")
    now = distances(as_positions(positions), pairs)  # [..., pairs]
    native = distances(as_positions(reference), pairs)  # [pairs]
    # 1 / (1 + exp(x)) as a hyperbolic tangent, which cannot overflow for contacts far apart.
    present = 0.5 * (1.0 - np.tanh(0.5 * beta * (now - tolerance * native)))  # [..., pairs]
    return present.mean(axis=-1)


def _select(positions: np.ndarray, selection: np.ndarray | None) -> np.ndarray:
    return positions if selection is None else positions[..., selection, :]


def distances(positions: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the distance of each pair of beads.

    Args:
        positions: [..., beads, 3], angstrom.
        pairs: [pairs, 2] bead indices.

    Returns:
        [..., pairs], angstrom.
    """
    difference = positions[..., pairs[:, 0], :] - positions[..., pairs[:, 1], :]
    return np.linalg.norm(difference, axis=-1)


def _check_shapes(positions: np.ndarray, reference: np.ndarray) -> None:
    if reference.ndim != 2 or positions.shape[-2:] != reference.shape or reference.shape[-1] != 3:
        raise ValueError(
            f"The positions {positions.shape} must be [..., beads, 3] "
            f"and the reference {reference.shape} [beads, 3] with the same beads."
        )
