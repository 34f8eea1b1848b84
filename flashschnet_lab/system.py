"""A system: one protein with the model that moves it."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from flashschnet_kernels.plan import (
    REFERENCE,
    KernelPlan,
    check_usable,
    default_plan,
    flash,
    parse_plan,
)
from flashschnet_kernels.quantization.calibration import calibrate
from flashschnet_kernels.quantization.linear import quantize_linear_layers
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.batch import Batch
from flashschnet_lab.potentials.bead_rows import BeadRows
from flashschnet_lab.potentials.prior_table import PriorTable
from flashschnet_lab.potentials.priors import Priors
from flashschnet_lab.potentials.schnet import SchNet
from flashschnet_lab.potentials.structure_based import Contacts, StructureBased
from flashschnet_lab.potentials.sum import ForceField
from flashschnet_lab.proteins.protein import Protein, check_mapping

if TYPE_CHECKING:
    from flashschnet_kernels.filter_table.table import FilterTable

_log = logging.getLogger(__name__)

CALIBRATION_BEADS = 300
CALIBRATION_COPIES = 2
NETWORK_TYPES = ("five_bead", "per_bead", "by_residue")


@dataclass(frozen=True, eq=False)
class Model:
    """What moves a protein: priors, and a network or a structure-based potential.

    Attributes:
        name: for people.
        prior: table of the classical terms, or None.
        network: SchNet in float32, or None.
        network_types: "five_bead": rows of the embedding are the bead types; "per_bead": each bead
            of the one protein has a row of its own (bead index); "by_residue": `rows` says them.
        contacts: the structure-based potential, or None.
        only_for: fingerprint of the only protein that the model describes, or "".
        folder: that the model was read from, where tables of its filters may lie, or None.
        rows: row of the embedding by names of residues and beads, for "by_residue" alone.
        mapping: the only mapping that the model describes, or "" for any.
        masses: of beads by name, {"CA": 12.0} in dalton, where the model was made for others than
            ours, or None. Every bead of its proteins must be named.
        digest: SHA-256 over all numbers; receipts and restarts compare it.
    """

    name: str
    prior: PriorTable | None = None
    network: SchNet | None = None
    network_types: str = "five_bead"
    contacts: Contacts | None = None
    only_for: str = ""
    folder: Path | None = None
    rows: BeadRows | None = None
    mapping: str = ""
    masses: dict[str, float] | None = None

    def __post_init__(self) -> None:
        if self.network_types not in NETWORK_TYPES:
            raise UserError(
                f"network_types {self.network_types!r} is unknown; known: "
                f"{', '.join(NETWORK_TYPES)}"
            )
        if (self.rows is not None) != (self.network_types == "by_residue"):
            raise UserError('network_types "by_residue" needs rows by residue, and only that does')
        if self.mapping:
            check_mapping(self.mapping)

    @property
    def digest(self) -> str:
        """SHA-256 over priors, weights, contacts, and how they meet a protein."""
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
        # Only what is there, so that models without have the digest that they always had.
        said = {"rows": self.rows and self.rows.to_dict(), "masses": self.masses}
        for name, value in said.items():
            if value is not None:
                sha.update(name.encode() + json.dumps(value, sort_keys=True).encode())
        return sha.hexdigest()


@dataclass(frozen=True, eq=False)
class System:
    """A protein (with its starting conformation) and the model that moves it.

    Attributes:
        protein: beads, topology and positions in angstrom; its masses are those of the model where
            that has its own.
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
        if model.mapping and model.mapping != protein.mapping:
            raise UserError(
                f"model {model.name} is for proteins with the mapping {model.mapping}, but "
                f"{protein.name} has {protein.mapping}; read it with --mapping {model.mapping}"
            )
        if model.rows is not None:
            model.rows.of(protein, model.name)  # a residue without a row is found here
        if model.masses is not None:
            object.__setattr__(self, "protein", replace(protein, masses=_masses(model, protein)))

    @property
    def name(self) -> str:
        """Name of the protein."""
        return self.protein.name

    def with_positions(self, positions: np.ndarray) -> System:
        """Return the same system starting from other positions [beads, 3] in angstrom."""
        return replace(self, protein=self.protein.with_positions(positions))


def as_plan(plan: KernelPlan | str, device_type: str) -> KernelPlan:
    """Return a plan, given as itself or as `parse_plan` reads it.

    Raises:
        UserError: a text that describes no plan.
    """
    if isinstance(plan, KernelPlan):
        return plan
    try:
        return parse_plan(plan, device_type)
    except ValueError as error:
        raise UserError(str(error)) from error


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
        systems: one per molecule; the same system again is a replica. Molecules may differ, and so
            may their native contacts; priors and network must be the same for all.
        device: where it runs.
        dtype: float32 or float64 of positions and weights.
        plan: implementation of every operator; default the reference. One with a table of filters
            takes the table that is kept for the network, or makes it, which takes seconds.
        deterministic: see `ForceField`.

    Raises:
        UserError: models that do not mix, a network that has no row for a bead, a plan that cannot
            run on the device, or no table of filters that is as exact as the plan promises.
    """
    plan = plan or REFERENCE
    _check_plan(plan, torch.device(device), dtype, deterministic)
    batch = Batch(tuple(s.protein.beads for s in systems))
    models = list({id(s.model): s.model for s in systems}.values())
    _check_alike(models)
    first = models[0]
    priors = Priors(first.prior, [s.protein for s in systems]) if first.prior else None
    contacts = None
    if first.contacts is not None:
        found = [s.model.contacts for s in systems if s.model.contacts is not None]
        contacts = StructureBased(found, batch)
    network, types = None, None
    if first.network is not None:
        network = copy.deepcopy(first.network).requires_grad_(False)
        types = torch.cat([torch.from_numpy(embedding_rows(s)) for s in systems])
        _check_widths(network, plan)
        # Fused work on beads packs its own 16-bit weights.
        if plan.quantization != "none" and plan.nodes == "reference":
            network = quantized_network(network, systems[0], plan.quantization)
    table = _table(systems[0], plan)
    force_field = ForceField(
        batch, priors, network, types, contacts, plan, deterministic, table=table
    )
    return force_field.to(device=device, dtype=dtype).eval()


def force_field_under(
    plan: KernelPlan | None,
    systems: Sequence[System],
    *,
    device: torch.device,
    dtype: torch.dtype,
    deterministic: bool = False,
) -> ForceField:
    """Return the force field under a plan, or under the one that a simulation has by default.

    Args:
        plan: None: `default_plan`. A network that its kernels cannot take, or for whose filters no
            table is exact enough, gets the plan flash-float32, with a warning.
        systems, device, dtype, deterministic: see `build_force_field`.

    Raises:
        UserError: see `build_force_field`.
    """

    def build(chosen: KernelPlan) -> ForceField:
        return build_force_field(
            systems, device=device, dtype=dtype, plan=chosen, deterministic=deterministic
        )

    if plan is not None:
        return build(plan)
    plan = default_plan(device.type, dtype)
    try:
        return build(plan)
    except UserError as error:
        if not plan.tabulated:
            raise
        instead = flash(device.type)
        _log.warning("plan %s: %s. Going on with plan %s", plan.name, error, instead.name)
        return build(instead)


def quantized_network(network: SchNet, system: System, quantization: str) -> SchNet:
    """Return the network with all linear layers in 16 bit, calibrated on one protein.

    The calibration sees the native conformation (the start, where none is known) and small random
    displacements of it, at most `CALIBRATION_BEADS` beads: always the same, so that a restarted
    simulation gets the same weights.

    Args:
        network: in float32; it stays as it is.
        system: the protein and its bead types.
        quantization: "fp16" or "bf16".
    """
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[quantization]
    native = system.protein.positions if system.reference is None else system.reference
    native = native[:CALIBRATION_BEADS]
    noise = np.random.default_rng(0).normal(0.0, 0.2, (CALIBRATION_COPIES, *native.shape))
    x = torch.from_numpy(native + noise).float()
    types = torch.from_numpy(embedding_rows(system))[:CALIBRATION_BEADS]
    batch = Batch((len(native),) * CALIBRATION_COPIES)
    alone = ForceField(batch, network=network, bead_types=types.repeat(CALIBRATION_COPIES))
    seen = calibrate(network, [lambda: alone.energy(x)])
    quantized = quantize_linear_layers(network, dtype, seen)
    assert isinstance(quantized, SchNet)
    return quantized


def embedding_rows(system: System) -> np.ndarray:
    """Return the row of the network's embedding of every bead, [beads] int64.

    Raises:
        UserError: the network has no row for a bead.
    """
    protein, network = system.protein, system.model.network
    assert network is not None
    if system.model.rows is not None:
        types = system.model.rows.of(protein, system.model.name)
    elif system.model.network_types == "per_bead":
        types = np.arange(protein.beads)
    else:
        types = protein.bead_types
    if types.max() >= network.shape.types:
        bead = int(types.argmax())
        raise UserError(
            f"model {system.model.name!r} knows {network.shape.types} bead types, but "
            f"{protein.label(bead)} of {protein.name} is of type {types[bead]}; use a model that "
            "was made for this protein"
        )
    return types


def _masses(model: Model, protein: Protein) -> np.ndarray:
    """Return the masses that a model gives the beads of a protein, [beads] in dalton."""
    masses = model.masses or {}
    if missing := sorted(set(protein.bead_names) - masses.keys()):
        raise UserError(
            f"model {model.name} has no mass for beads {', '.join(missing)} of {protein.name}"
        )
    return np.array([masses[name] for name in protein.bead_names])


def _table(system: System, plan: KernelPlan) -> FilterTable | None:
    """Return the table of filters that a plan reads, or None: a model may have no network."""
    if not plan.tabulated or system.model.network is None:
        return None
    from flashschnet_lab.compiling import table_for

    return table_for(system, plan.table_class).table


def _check_widths(network: SchNet, plan: KernelPlan) -> None:
    """Refuse a network that does not fit the fused work on beads, before the first step."""
    if plan.nodes != "triton":
        return
    from flashschnet_kernels.nodes.pack import WHOLE, pack_nodes
    from flashschnet_lab.potentials.fused_network import node_weights

    try:
        width = pack_nodes(node_weights(network)).width
    except ValueError as error:
        raise UserError(str(error)) from error
    if width > WHOLE and plan.quantization != "none":
        # Measured on mlcg's C-alpha network, whose features differ by orders of magnitude: 2e-2.
        raise UserError(
            f"plan {plan.name!r} rounds beads to 16 bit, and layers of {width} numbers then lose "
            f"more than it promises; at most {WHOLE}, or take --plan exact or balanced"
        )


def _check_plan(
    plan: KernelPlan, device: torch.device, dtype: torch.dtype, deterministic: bool
) -> None:
    """Refuse a plan that cannot do what is asked of it."""
    try:
        check_usable(plan, device)
    except ValueError as error:
        raise UserError(str(error)) from error
    if plan.message_passing == "triton" and dtype != torch.float32:
        raise UserError("the fused convolution works in float32; use --plan reference for float64")
    if plan.nodes != "reference" and dtype != torch.float32:
        raise UserError(
            f"nodes={plan.nodes} works in float32; for {dtype} use "
            f"--plan filters={plan.filters} (exact tables in plain PyTorch), or reference"
        )
    if plan.quantization != "none" and dtype != torch.float32:
        raise UserError(f"quantization={plan.quantization} is for float32 runs, not {dtype}")
    if deterministic and device.type == "cuda" and plan.atomic:
        raise UserError(
            f"plan {plan.name!r} adds atomically, so a run cannot repeat to the bit; switch "
            "aggregation on too, or ask for deterministic=False"
        )


def _check_alike(models: Sequence[Model]) -> None:
    """Refuse models that cannot share a batch."""
    first, problem = models[0], ""
    for other in models[1:]:
        if other.network is not first.network:
            problem = "networks"
        elif (other.contacts is None) != (first.contacts is None):
            problem = "kinds of potential (only one has native contacts)"
        elif _text(other.prior) != _text(first.prior):
            problem = "priors"
        if problem:
            raise UserError(
                f"models {first.name!r} and {other.name!r} have different {problem} and cannot "
                "share a batch; run them apart"
            )


def _text(prior: PriorTable | None) -> str:
    return "" if prior is None else prior.to_json()
