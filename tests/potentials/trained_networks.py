"""The trained networks of the golden data as ours, and what the original codes computed with them.

Used by the golden tests alone. mlcg's C-alpha network has its own alpha and hidden width 256;
TorchMD-Net's have a lower cutoff, biases everywhere and one hidden output layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.system import Model, System
from tests.potentials.mlcg_data import mlcg_schnet

C_ALPHA = SchNetShape(types=42, hidden=256, blocks=3, radial_functions=33, cutoff=5.0, alpha=1.0)
TORCHMD = SchNetShape(
    types=100,
    radial_functions=18,
    cutoff=12.0,
    output_widths=(64,),
    cutoff_lower=3.0,
    filter_bias=True,
    output_bias=True,
)
NAMES = ("c-alpha", "chignolin", "general", "general trp")
"""Of the network and, where it is not chignolin, of the molecule."""


@dataclass(frozen=True)
class Golden:
    """A network and its energies and forces at some positions, kcal/mol and kcal/mol/A.

    Attributes:
        network: in float64.
        bead_types: [beads] int64.
        positions: [frames, beads, 3] float64.
        energy: [frames] float64.
        forces: [frames, beads, 3] float64.
        forces32: [frames, beads, 3], what the original code computed in float32.
    """

    network: SchNet
    bead_types: Tensor
    positions: Tensor
    energy: np.ndarray
    forces: np.ndarray
    forces32: np.ndarray


def load_golden(shared: Path, name: str) -> Golden:
    """Return one of `NAMES`."""
    folder = shared / "golden"
    if name == "c-alpha":
        state = folder / "weights_npz/mlcg_schnet_cln_ca_state.npz"
        with np.load(folder / "mlcg_schnet_cln_ca.npz") as file:
            arrays = [file[key] for key in ("atom_types", "pos", "energy_SchNet", "forces_SchNet")]
            return _golden(mlcg_schnet(state, C_ALPHA), *arrays, file["forces_SchNet_float32"])
    kind, _, system = name.partition(" ")
    system = system or "cln"
    keys = ("z", "pos", "energy_net", "forces_net", "forces_net_float32")
    with np.load(folder / f"torchmd_{kind}.npz") as file:
        arrays = [file[f"{system}_{key}"] for key in keys]
    return _golden(torchmd_schnet(folder / f"weights_npz/torchmd_{kind}_state.npz"), *arrays)


SEQUENCES = {10: "YYDPETGTWY", 20: "DAYAQWLADGGPSSGRPPPS"}
"""By number of residues: of chignolin and of Trp-cage."""


def system_of(golden: Golden) -> System:
    """Return the network in float32 and its protein, each bead with an embedding of its own."""
    shape = replace(golden.network.shape, types=len(golden.bead_types))
    network = SchNet(shape)
    state = golden.network.float().state_dict()
    golden.network.double()
    state["embedding.weight"] = state["embedding.weight"][golden.bead_types]
    network.load_state_dict(state)
    protein = build_chain(SEQUENCES[len(golden.bead_types)], "extended", "ca")
    protein = protein.with_positions(golden.positions[0].numpy())
    return System(protein, Model("golden", None, network, "per_bead"))


def _golden(
    network: SchNet,
    types: np.ndarray,
    positions: np.ndarray,
    energy: np.ndarray,
    forces: np.ndarray,
    forces32: np.ndarray,
) -> Golden:
    positions = positions - positions.mean(1, keepdims=True)  # far from 0, float32 loses digits
    x, z = torch.from_numpy(positions), torch.from_numpy(types)
    return Golden(network, z, x, energy, forces, forces32.astype(float))


def torchmd_schnet(path: Path) -> SchNet:
    """Load a state of TorchMD-Net's graph network into ours, float64."""
    network = SchNet(TORCHMD).double()
    renames = {
        "representation_model.": "",
        "output_model.output_network.": "output.",
        "distance_expansion.means": "radial_basis.centres",
        "distance_expansion.betas": "radial_basis.betas",
        "interactions.": "blocks.",
        "conv.lin1.": "to_channels.",
        "conv.net.": "filter_network.",
        "conv.lin2.": "update.0.",
        ".lin.": ".update.2.",
    }
    ours = {}
    with np.load(path) as state:
        for name in set(state) - {"mean", "std"}:
            renamed = name
            for old, new in renames.items():
                renamed = renamed.replace(old, new)
            ours[renamed] = torch.from_numpy(state[name]).double()
        assert (state["mean"], state["std"]) == (0.0, 1.0)
    network.load_state_dict(ours)
    return network
