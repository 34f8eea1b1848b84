"""Every imported model of the golden data with its molecules, and how far its forces are off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from flashschnet_kernels.plan import parse_plan
from flashschnet_lab.checkpoints.importer import Choices, import_checkpoint
from flashschnet_lab.proteins.protein import Protein, Residue, make_protein
from flashschnet_lab.proteins.residues import modified_name, standard_name
from flashschnet_lab.system import Model, System, build_force_field
from tests.potentials.mlcg_data import protein_from_types

PRIOR = "torchmd_ca_priors-dihedrals_general_2xweaker.yaml"
SPECIALISED = "mlcg_schnet_cln_ca_specialized_model_and_config.pt"
CHECKPOINTS = {
    "mlcg exp-normal": "mlcg_schnet_5bead_random_expnormal_model_and_prior.pt",
    "mlcg Gaussian": "mlcg_schnet_5bead_random_gaussian_model_and_prior.pt",
    "mlcg CLN CA": SPECIALISED,
    "TorchMD General": "General_epoch97_val719.2455.ckpt",
    "TorchMD Chignolin": "Chignolin_epoch47_val739.5398.ckpt",
}


@dataclass(frozen=True, eq=False)
class Case:
    """One molecule of one model: positions [frames, beads, 3], energies and forces, float64.

    `float32` holds forces of the network alone by the original code in float32, `labels` what kind
    of conformation a frame is.
    """

    model: str
    molecule: str
    protein: Protein
    positions: np.ndarray
    energy: np.ndarray
    forces: np.ndarray
    network_forces: np.ndarray
    float32: np.ndarray
    labels: np.ndarray

    def some(self, frames: np.ndarray | slice) -> Case:
        """Return the same molecule with some of its frames."""
        arrays = ("positions", "energy", "forces", "network_forces", "float32", "labels")
        return replace(self, **{name: getattr(self, name)[frames] for name in arrays})


@dataclass(frozen=True)
class Error:
    """The worst frame's errors.

    Attributes:
        energy: kcal/mol.
        relative_energy: over the energy's size, or over 1 kcal/mol where that is more.
        forces: norm of the error over the norm of the forces.
        network: the same of the network alone.
    """

    energy: float
    relative_energy: float
    forces: float
    network: float


@cache
def imported_model(golden: Path, name: str) -> Model:
    """Return an imported model."""
    folder = golden / "checkpoints"
    choices = Choices(prior=folder / PRIOR) if name.startswith("TorchMD") else Choices()
    return import_checkpoint(folder / CHECKPOINTS[name], choices).model


def cases(golden: Path, name: str) -> Iterator[Case]:
    """Yield the molecules that the golden data have of a model."""
    if name.startswith("TorchMD"):
        data = dict(np.load(golden / f"torchmd_{name.split()[1].lower()}.npz"))
        for system in data["systems"].tolist():
            protein = protein_of_names(system, data[f"{system}_resname"], data[f"{system}_pos"][0])
            yield Case(
                name, system, protein, data[f"{system}_pos"],
                data[f"{system}_energy_total"], data[f"{system}_forces_total"],
                data[f"{system}_forces_net"], data[f"{system}_forces_net_float32"],
                data[f"{system}_label"],
            )  # fmt: skip
    elif name == "mlcg CLN CA":
        data = dict(np.load(golden / "mlcg_schnet_cln_ca.npz"))
        protein = import_checkpoint(golden / "checkpoints" / SPECIALISED).protein
        assert protein is not None
        yield Case(
            name, "chignolin", protein, data["pos"], data["energy_total"], data["forces_total"],
            data["forces_SchNet"], data["forces_SchNet_float32"], data["label"],
        )  # fmt: skip
    else:
        kind = {"mlcg exp-normal": "expnormal", "mlcg Gaussian": "gaussian"}[name]
        data = dict(np.load(golden / "mlcg_schnet_5bead_random.npz"))
        for system in ("chignolin", "trpcage", "1enh"):
            positions = data[f"{system}_pos"]
            protein = protein_from_types(system, data[f"{system}_atom_types"], positions[0])
            yield Case(
                name, system, protein, positions,
                data[f"{system}_energy_total_{kind}"], data[f"{system}_forces_total_{kind}"],
                data[f"{system}_forces_{kind}"], data[f"{system}_forces_{kind}_float32"],
                data[f"{system}_label"],
            )  # fmt: skip


def protein_of_names(name: str, names: np.ndarray, positions: np.ndarray) -> Protein:
    """Return a chain of C-alpha beads from the residue names of a PSF file."""
    residues = [
        Residue(standard_name(own) or own, number, "", "A", 0, modified_name(own))
        for number, own in enumerate(names.tolist(), start=1)
    ]
    return make_protein(name, "ca", residues, positions)


def error_of(model: Model, case: Case, plan: str, dtype: torch.dtype) -> Error:
    """Return how far a plan is off on a molecule, with priors and without."""
    energy, forces = evaluate(model, case, plan, dtype)
    network = evaluate(replace(model, prior=None), case, plan, dtype)[1]
    off = np.abs(energy - case.energy)
    return Error(
        energy=float(off.max()),
        relative_energy=float((off / np.maximum(1.0, np.abs(case.energy))).max()),
        forces=worst_frame(forces, case.forces),
        network=worst_frame(network, case.network_forces),
    )


def evaluate(
    model: Model, case: Case, plan: str, dtype: torch.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """Return energies [frames] and forces [frames, beads, 3] of all frames at once."""
    system = System(case.protein, model)
    positions = torch.from_numpy(case.positions)
    # Stored coordinates lie far from the origin, where float32 has few digits left.
    positions = (positions - positions.mean(1, keepdim=True)).to(dtype)
    force_field = build_force_field(
        [system] * len(positions), dtype=dtype, plan=parse_plan(plan, "cpu")
    )
    found = force_field(positions)
    return found.energy.double().numpy(), found.forces.double().numpy()


def worst_frame(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest |found - expected| / |expected| of a frame, [frames, beads, 3]."""
    error = np.linalg.norm(found - expected, axis=(1, 2))
    # A frame of beads too far apart to see each other has no forces to speak of.
    size = np.maximum(np.linalg.norm(expected, axis=(1, 2)), 1e-3)
    return float((error / size).max())
