"""A system: one protein with the model that moves it."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from flashschnet_kernels.plan import KernelPlan

from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.batch import Batch
from flashschnet_lab.potentials.prior_table import PriorTable
from flashschnet_lab.potentials.priors import Priors
from flashschnet_lab.potentials.schnet import SchNet
from flashschnet_lab.potentials.structure_based import Contacts, StructureBased
from flashschnet_lab.potentials.sum import ForceField
from flashschnet_lab.proteins.protein import Protein


@dataclass(frozen=True)
class Model:
    """What moves a protein: priors, and a network or a structure-based potential.

    Attributes:
        name: for people.
        prior: table of the classical terms, or None.
        network: SchNet in float32, or None.
        network_types: "five_bead": rows of the embedding are the bead types; "per_bead": each bead
            of the one protein has a row of its own (bead index).
        contacts: the structure-based potential, or None.
        only_for: fingerprint of the only protein that the model describes, or "".
        digest: SHA-256 over all numbers; receipts and restarts compare it.
    """

    name: str
    prior: PriorTable | None = None
    network: SchNet | None = None
    network_types: str = "five_bead"
    contacts: Contacts | None = None
    only_for: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 over priors, weights and contacts."""
        sha = hashlib.sha256(self.network_types.encode())
        if self.prior is not None:
            sha.update(self.prior.to_json().encode())
        if self.network is not None:
            sha.update(repr(self.network.shape).encode())
            for name, tensor in sorted(self.network.state_dict().items()):
                sha.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        if self.contacts is not None:
            for array in (self.contacts.pairs, self.contacts.r0, self.contacts.depth):
                sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()


@dataclass(frozen=True)
class System:
    """A protein (with its starting conformation) and the model that moves it.

    Attributes:
        protein: beads, topology and positions in angstrom.
        model: priors and network or teacher.
        reference: [beads, 3] native conformation for RMSD, in angstrom, or None if unknown.
    """

    protein: Protein
    model: Model
    reference: np.ndarray | None = None

    def __post_init__(self) -> None:
        model, protein = self.model, self.protein
        if model.only_for and model.only_for != protein.fingerprint():
            raise UserError(
                f"model {model.name} was made for one other protein, not for {protein.name} "
                f"({protein.beads} beads); make one with: flashschnet distil FILE.pdb"
            )

    @property
    def name(self) -> str:
        """Name of the protein."""
        return self.protein.name

    def with_positions(self, positions: np.ndarray) -> System:
        """Return the same system starting from other positions [beads, 3] in angstrom."""
        return replace(self, protein=self.protein.with_positions(positions))


def build_force_field(
    systems: Sequence[System],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    plan: KernelPlan | None = None,
    deterministic: bool = False,
) -> ForceField:
    """Return the force field of molecules laid end to end.

    Args:
        systems: one per molecule; the same system again is a replica. All share one model, unless
            they have no network (networks of different models do not mix in one batch).
        device: where it runs.
        dtype: float32 or float64 of positions and weights.
        plan: implementation of every operator.
        deterministic: see `ForceField`.

    Raises:
        UserError: systems with different networks.
    """
    batch = Batch(tuple(s.protein.beads for s in systems))
    models = [s.model for s in systems]
    if any(m.network is not models[0].network for m in models):
        raise UserError("systems with different networks cannot share a batch; run them apart")
    first = models[0]
    priors = Priors(first.prior, [s.protein for s in systems]) if first.prior else None
    contacts = None
    if all(m.contacts is not None for m in models):
        contacts = StructureBased([m.contacts for m in models if m.contacts is not None], batch)
    network, types = None, None
    if first.network is not None:
        network = copy.deepcopy(first.network).requires_grad_(False)
        types = torch.cat([torch.from_numpy(_network_types(s)) for s in systems])
    force_field = ForceField(batch, priors, network, types, contacts, plan, deterministic)
    return force_field.to(device=device, dtype=dtype).eval()


def _network_types(system: System) -> np.ndarray:
    if system.model.network_types == "per_bead":
        return np.arange(system.protein.beads)
    return system.protein.bead_types
