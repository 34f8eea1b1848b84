"""What is measured: proteins of the library, structure files, and molecules of any size.

A molecule without a trained network of its own gets one for benchmarks: the trained filters and
layers of engrailed homeodomain, with the embedding averaged by bead type. Its forces have the
ordinary size of a trained network's, but it folds nothing.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import torch

from flashschnet_kernels.neighbors.reference import pairs_within
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import default_prior, load_system, trained_model
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.proteins.protein import Protein, Residue, make_protein
from flashschnet_lab.proteins.residues import bead_names
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.system import Model, System

DONOR = "1enh"
"""The protein of the library whose network and conformation benchmarks borrow."""

FEWEST_BEADS = 24
_CLEARANCE = 4.0  # angstrom between the beads of neighbouring chains
_CUTOFF = SchNetShape().cutoff
LARGEST_RELAXED = 4096
"""Beads up to which clashes are removed; the chains of a lattice are clear of each other anyway."""


def directed_edges(system: System, positions: torch.Tensor | None = None) -> int:
    """Return the directed edges of a replica below the network's cutoff (15 A without a network).

    Args:
        system: protein and model.
        positions: [replicas, beads, 3]; the mean over replicas is taken. Default: the system's.
    """
    if positions is None:
        positions = torch.from_numpy(system.protein.positions)[None]
    network = system.model.network
    cutoff = _CUTOFF if network is None else network.shape.cutoff
    pairs = sum(pairs_within(x, (len(x),), cutoff).shape[1] for x in positions)
    return int(np.rint(2 * pairs / len(positions)))


def benchmark_system(which: str | Path, model: str | Path | None = None) -> System:
    """Return a protein to measure: of the library, or of a file with a network lent to it.

    Args:
        which: name of the library, PDB or mmCIF file.
        model: model folder. Default: the trained network of the protein if there is one.

    Raises:
        UserError: an unknown name or file.
    """
    system = load_system(which, model)
    if model is not None or system.model.network is not None:
        return system
    return _relaxed(system.protein)


def system_of_beads(beads: int) -> System:
    """Return a molecule of exactly so many beads at the density of a protein.

    Chains of engrailed homeodomain lie side by side on a lattice; the last is cut short, and a few
    of its side chains are left out (glycine), so that the number fits.

    Raises:
        UserError: too few beads.
    """
    if beads < FEWEST_BEADS:
        raise UserError(f"a molecule of {beads} beads is too small; at least {FEWEST_BEADS}")
    donor = embedded_protein(DONOR).protein
    chain, copies = _principal_frame(donor.positions), -(-beads // donor.beads)
    lengths = [donor.beads] * (copies - 1) + [beads - (copies - 1) * donor.beads]
    if lengths[-1] < FEWEST_BEADS and copies > 1:
        lengths[-2:] = [sum(lengths[-2:]) - FEWEST_BEADS, FEWEST_BEADS]
    residues, positions = [], []
    for number, place in enumerate(_lattice(chain, copies)):
        own, kept = _shortened(donor, lengths[number], number)
        residues += own
        positions.append(chain[kept] + place)
    name = f"{beads} beads"
    protein = make_protein(name, donor.mapping, residues, np.concatenate(positions))
    if beads > LARGEST_RELAXED:
        return System(protein, lent_model(protein))
    return _relaxed(protein)


def lent_model(protein: Protein) -> Model:
    """Return priors and a network for any protein, for benchmarks alone."""
    donor = embedded_protein(DONOR).protein
    trained = trained_model(donor)
    if trained is not None and trained.network is not None and protein.mapping == donor.mapping:
        name, network = f"network lent by {DONOR}", _by_type(trained.network, donor)
    else:
        generator = torch.random.get_rng_state()
        torch.manual_seed(1)
        name, network = "random network", SchNet(SchNetShape())
        torch.random.set_rng_state(generator)
    return Model(f"{name}, for benchmarks", default_prior(protein.mapping), network)


def _relaxed(protein: Protein) -> System:
    """Return a protein with a lent network, its clashes removed by the priors alone."""
    priors_only = System(protein, Model("priors", default_prior(protein.mapping)))
    simulation = Simulation(priors_only, device="cpu", dtype="float64", minimise=True)
    positions = simulation.state.positions[0].numpy()
    return System(protein.with_positions(positions), lent_model(protein))


def _by_type(network: SchNet, donor: Protein) -> SchNet:
    """Return the network with an embedding row per bead type: the mean over the donor's beads."""
    types = torch.from_numpy(donor.bead_types)
    rows = network.embedding.weight.detach()
    side_chains = rows[types <= 20].mean(0)  # stands for amino acids that the donor lacks
    shape = SchNetShape(**{**network.shape.to_dict(), "types": SchNetShape().types})  # type: ignore[arg-type]
    lent = SchNet(shape)
    weights = {k: v for k, v in network.state_dict().items() if k != "embedding.weight"}
    lent.load_state_dict(weights, strict=False)
    with torch.no_grad():
        for number in range(shape.types):
            found = rows[types == number]
            lent.embedding.weight[number] = found.mean(0) if len(found) else side_chains
    return lent


def _shortened(donor: Protein, beads: int, number: int) -> tuple[list[Residue], np.ndarray]:
    """Return the first residues of a chain, and the donor's beads that they have."""
    kept: list[int] = []
    residues: list[Residue] = []
    for index, residue in enumerate(donor.residues):
        if len(kept) >= beads:
            break
        kept += np.flatnonzero(donor.residue_of_bead == index).tolist()
        residues.append(Residue(residue.name, residue.number, "", f"{number + 1}", number))
    for index in range(len(residues) - 1, -1, -1):
        if len(kept) == beads:
            break
        if "CB" in bead_names(residues[index].name, donor.mapping):
            side = next(
                b for b in kept if donor.residue_of_bead[b] == index and donor.bead_names[b] == "CB"
            )
            kept.remove(side)
            residues[index] = Residue("GLY", residues[index].number, "", f"{number + 1}", number)
    return residues, np.array(kept)


def _principal_frame(positions: np.ndarray) -> np.ndarray:
    """Return positions about their centre, longest axis first."""
    centred = positions - positions.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    return centred @ axes.T


def _lattice(chain: np.ndarray, copies: int) -> list[np.ndarray]:
    """Return the offsets of copies of a chain: close together, yet clear of each other."""
    neighbours = [np.array(o) for o in product((-1, 0, 1), repeat=3) if o > (0, 0, 0)]

    def clearance(spacing: np.ndarray) -> float:
        return min(
            np.linalg.norm(chain[:, None] - chain[None] - o * spacing, axis=-1).min()
            for o in neighbours
        )

    spacing = np.ptp(chain, axis=0) + _CLEARANCE
    for step in (4.0, 1.0, 0.25):
        for axis in (0, 1, 2):
            closer = spacing.copy()
            while clearance(closer) >= _CLEARANCE:
                spacing = closer.copy()
                closer[axis] -= step
    # The places nearest to the corner, so that the molecule is round.
    side = range(int(np.ceil(copies ** (1 / 3))) + 1)
    places = sorted(product(side, repeat=3), key=lambda p: (np.linalg.norm(p * spacing), p))
    return [spacing * np.array(place) for place in places[:copies]]
