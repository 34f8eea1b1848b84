"""Readers of the golden data: mlcg's names and layouts to ours. Used by the golden tests alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from flashschnet_lab.potentials.prior_table import PriorTable
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.proteins.protein import Protein, Residue, make_protein
from flashschnet_lab.proteins.residues import ONE_LETTER

PDB_NAMES = {
    "chignolin": "chignolin_CLN025",
    "trpcage": "trpcage_2JOF",
    "1enh": "homeodomain_1ENH",
}


def protein_from_types(name: str, types: np.ndarray, positions: np.ndarray) -> Protein:
    """Rebuild a five-bead protein from bead types: the residue sits on CB, for glycine on CA."""
    names = list(ONE_LETTER)
    residues = [
        Residue(names[t - 1], number, "", "A", 0)
        for number, t in enumerate((t for t in types if t <= 20), start=1)
    ]
    return make_protein(name, "five_bead", residues, positions)


def mlcg_prior_table(path: Path) -> PriorTable:
    """Read mlcg's 51-term table."""
    bonds, angles, dihedrals = {}, {}, {}
    sigma = np.zeros((25, 25))
    for name, values in json.loads(path.read_text()).items():
        term = name.removesuffix(".model")
        if "sigma" in values:
            sigma = np.array(values["sigma"]["dense"])
        elif "x_0" in values:
            target = bonds if term.endswith("bonds") else angles
            k = dict(zip(map(tuple, values["k"]["index"]), values["k"]["value"], strict=True))
            for types, x_0 in zip(values["x_0"]["index"], values["x_0"]["value"], strict=True):
                target[term, tuple(types)] = (k[tuple(types)], x_0)
        else:
            v_0 = values["v_0"]
            for types, offset in zip(v_0["index"], v_0["value"], strict=True):
                dihedrals[term, tuple(types)] = [offset] + [0.0] * 6
            for first, key in ((1, "k1s"), (4, "k2s")):
                entries = zip(values[key]["index"], values[key]["value"], strict=True)
                for (order, *types), value in entries:
                    dihedrals[term, tuple(types)][first + order] = value
    rows = {key: tuple(value) for key, value in dihedrals.items()}
    return PriorTable(bonds, angles, rows, sigma)


def mlcg_schnet(path: Path, shape: SchNetShape) -> SchNet:
    """Load a state of mlcg's StandardSchNet into ours, float64."""
    network = SchNet(shape).double()
    theirs = {k: torch.from_numpy(v).double() for k, v in np.load(path).items()}
    renames = {
        "embedding_layer.": "embedding.",
        "interaction_blocks.": "blocks.",
        "conv.lin1.": "to_channels.",
        "conv.filter_network.layers.": "filter_network.",
        "conv.lin2.": "update.0.",
        ".lin.": ".update.2.",
        "output_network.layers.": "output.",
        "rbf_layer.means": "radial_basis.centres",
        "rbf_layer.betas": "radial_basis.betas",
        "rbf_layer.offset": "radial_basis.centres",
        "rbf_layer.coeff": "radial_basis.coefficient",
    }
    ours = {}
    for name, tensor in theirs.items():
        for old, new in renames.items():
            name = name.replace(old, new)
        if name in dict(network.named_parameters()) or name in dict(network.named_buffers()):
            ours[name] = tensor
    missing = set(network.state_dict()) - set(ours)
    assert not missing, missing
    network.load_state_dict(ours)
    return network
