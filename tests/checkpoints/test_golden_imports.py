"""Imported models against energies and forces that the original codes computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from flashschnet_lab.checkpoints.importer import Choices, import_checkpoint
from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.tables import class_of
from flashschnet_lab.proteins.mapping import read_protein
from flashschnet_lab.system import System, embedding_rows
from tests.checkpoints.golden_models import (
    CHECKPOINTS,
    PRIOR,
    cases,
    error_of,
    evaluate,
    imported_model,
    worst_frame,
)

pytestmark = pytest.mark.golden
RELATIVE = 1e-9
STRUCTURES = {
    "villin": "villin_2F4K",
    "cln": "chignolin_CLN025",
    "homeodomain": "homeodomain_1ENH",
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_float64_on_every_molecule(shared, name):
    """Network and priors; villin has norleucine, which has a row of its own in one numbering."""
    model = imported_model(shared / "golden", name)
    for case in cases(shared / "golden", name):
        if case.protein.beads > 100:  # 36,000 pairs of beads: one frame tells as much
            case = case.some(slice(1))
        energy, forces = evaluate(model, case, "reference", torch.float64)
        np.testing.assert_allclose(energy, case.energy, rtol=RELATIVE, atol=RELATIVE)
        assert worst_frame(forces, case.forces) < RELATIVE, case.molecule


def test_the_trained_network_alone_in_float64(shared):
    """Where priors are large they would hide it."""
    for name in ("mlcg CLN CA", "TorchMD General", "TorchMD Chignolin"):
        case = next(cases(shared / "golden", name))
        model = replace(imported_model(shared / "golden", name), prior=None)
        _, forces = evaluate(model, case, "reference", torch.float64)
        assert worst_frame(forces, case.network_forces) < RELATIVE


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_float32_is_as_good_as_the_original_float32(shared, name):
    """Of the network alone, on the first molecule."""
    model = imported_model(shared / "golden", name)
    case = next(cases(shared / "golden", name))
    theirs = worst_frame(case.float32.astype(float), case.network_forces)
    assert error_of(model, case, "reference", torch.float32).network < 2 * theirs


@pytest.mark.parametrize("name", ["TorchMD General", "TorchMD Chignolin"])
def test_a_table_keeps_its_promise(shared, name):
    """Where a simulation goes; and anywhere, up to twice the error of the original's float32.

    Displaced conformations bring beads so close that filters are steeper than float32 can follow.
    """
    pytest.importorskip("numba")
    model = imported_model(shared / "golden", name)
    case = next(cases(shared / "golden", name))
    forces = evaluate(replace(model, prior=None), case, "exact", torch.float32)[1]
    promise = class_of("exact").promise
    theirs = worst_frame(case.float32.astype(float), case.network_forces)
    assert worst_frame(forces, case.network_forces) < max(promise, 2 * theirs)
    met = np.isin(case.labels, ["experimental", "kcenters", "frames100", "crystal"])
    exact = case.network_forces[met]
    assert np.linalg.norm(forces[met] - exact) / np.linalg.norm(exact) < promise


@pytest.mark.parametrize("molecule", STRUCTURES)
def test_structures_take_the_rows_of_the_original(shared, molecule):
    golden = np.load(shared / "golden/torchmd_general.npz")
    protein = read_protein(shared / f"pdb/{STRUCTURES[molecule]}.pdb", mapping="ca")
    system = System(protein, imported_model(shared / "golden", "TorchMD General"))
    np.testing.assert_array_equal(embedding_rows(system), golden[f"{molecule}_z"])


def test_the_numbering_of_general_is_found_and_the_wrong_one_refused(shared):
    folder = shared / "golden/checkpoints"
    path = folder / CHECKPOINTS["TorchMD General"]
    found = import_checkpoint(path, Choices(prior=folder / PRIOR))
    assert any("torchmd-2021" in line for line in found.came_over)
    with pytest.raises(UserError, match=r"rows \[22\] of .* were trained"):
        import_checkpoint(path, Choices(embedding="torchmd-exp"))


def test_the_original_prior_file_alone(shared):
    found = import_checkpoint(shared / "golden/checkpoints/mlcg_prior.pt")
    full = imported_model(shared / "golden", "mlcg exp-normal")
    assert found.model.network is None
    assert found.model.prior.to_json() == full.prior.to_json()
