"""Observables of a run: the right numbers, in the right place, with the right temperature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flashschnet_lab.analysis import observables
from flashschnet_lab.analysis.observables import OBSERVABLES, Observable, observe
from flashschnet_lab.analysis.progress import bar
from flashschnet_lab.analysis.run_folder import open_run
from flashschnet_lab.analysis.structure import (
    c_alpha_indices,
    native_contacts,
    native_pairs,
    rmsd,
)
from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.proteins.mdtraj_io import write_pdb
from flashschnet_lab.simulation.exchange_record import Exchanges
from flashschnet_lab.simulation.store import open_trajectory
from tests.trajectories import STEPS_APART, shaken, write_run

mdtraj = pytest.importorskip("mdtraj")
FRAMES, REPLICAS = 60, 4


@pytest.fixture(scope="module")
def protein():
    return embedded_protein("chignolin").protein


@pytest.fixture(scope="module")
def positions(protein) -> np.ndarray:
    return shaken(protein, FRAMES, REPLICAS, 2.0, seed=2)


@pytest.fixture(scope="module")
def exchanges() -> Exchanges:
    """Two ladders of two rungs that trade at every frame."""
    rungs = np.array([[0, 1, 0, 1], [1, 0, 1, 0]])[np.arange(FRAMES + 1) % 2]
    energies = np.zeros((FRAMES, REPLICAS))
    return Exchanges((300.0, 360.0), STEPS_APART, 1, 0, rungs, energies)


@pytest.fixture(scope="module")
def run(protein, positions, tmp_path_factory) -> Path:
    return write_run(
        tmp_path_factory.mktemp("observables") / "run",
        protein,
        positions,
        native=protein.positions,
        temperatures=[300.0] * REPLICAS,
    )


def test_against_the_measures_and_mdtraj(run, protein, positions):
    table = observe(run, list(OBSERVABLES))
    alphas, native = c_alpha_indices(protein), protein.positions
    np.testing.assert_allclose(table["rmsd"], rmsd(positions, native, alphas))
    expected = native_contacts(positions, native, native_pairs(protein))
    np.testing.assert_allclose(table["q"], expected)
    for replica in range(REPLICAS):
        frames = open_trajectory(run).to_mdtraj(replica)
        ends = 10.0 * mdtraj.compute_distances(frames, alphas[[0, -1]][None])[:, 0]
        np.testing.assert_allclose(table["end_to_end"][:, replica], ends, rtol=1e-5)
        radius = 10.0 * mdtraj.compute_rg(frames, masses=np.ones(protein.beads))
        np.testing.assert_allclose(table["rg"][:, replica], radius, rtol=1e-5)
        letters = mdtraj.compute_dssp(frames)
        strands = (letters == "E").mean(axis=1)
        np.testing.assert_allclose(table["strand"][:, replica], strands)
    assert table.unit("rmsd") == "Å" and table.unit("q") == ""


def test_frames_that_were_chosen(run, positions):
    table = observe(run, ["rg"], skip_ps=0.5, every=5)
    trajectory = open_trajectory(run)
    np.testing.assert_array_equal(table.steps, trajectory.steps[12::5])
    np.testing.assert_array_equal(table.times_ps, trajectory.times_ps[12::5])
    np.testing.assert_allclose(table["rg"], observe(trajectory, ["rg"])["rg"][12::5])


def test_an_observable_of_ones_own_and_a_bar(run, protein):
    span = Observable("span", "extent", "Å", lambda x, _: np.ptp(x[..., 0], axis=-1))
    with bar("observing") as watch:
        table = observe(run, [span, "rg"], watch=watch)
    assert table["span"].shape == (FRAMES, REPLICAS)
    figure = table.picture(title="own")
    assert [axes.get_ylabel().replace("\n", " ") for axes in figure.axes] == [
        "extent (Å)",
        "radius of gyration (Å)",
    ]
    assert figure.axes[-1].get_xlabel() == "time (ps)"


def test_a_picture_of_a_long_run_is_thinned(run, monkeypatch):
    table = observe(run, ["rg"])
    monkeypatch.setattr(observables, "MOST_DRAWN", 25)
    assert table.drawn_every == 3
    (axes,) = table.picture().axes
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), table.times_ps[::3])


def test_tempering_by_replica_and_by_temperature(protein, positions, exchanges, tmp_path):
    folder = write_run(tmp_path / "run", protein, positions, exchanges=exchanges)
    table = observe(folder, ["rg"])
    np.testing.assert_array_equal(table.ladder, [300.0, 360.0])
    # Frame k is made before attempt k + 1: replica 0 is cold in the even ones.
    np.testing.assert_array_equal(table.temperatures[:3, 0], [300.0, 360.0, 300.0])
    sorted_ = table.by_temperature()
    assert sorted_.columns == ("300 K", "300 K", "360 K", "360 K")
    assert (sorted_.temperatures == [300.0, 300.0, 360.0, 360.0]).all()
    np.testing.assert_array_equal(sorted_["rg"][0::2, 0], table["rg"][0::2, 0])
    np.testing.assert_array_equal(sorted_["rg"][1::2, 0], table["rg"][1::2, 1])
    cold = sorted_["rg"][:, :2]
    assert sorted(cold.ravel()) == sorted(table["rg"][table.at(300.0)])


def test_replicas_at_fixed_temperatures(protein, positions, tmp_path):
    folder = write_run(
        tmp_path / "run", protein, positions, temperatures=[360.0, 300.0, 360.0, 300.0]
    )
    table = observe(folder, ["rg"])
    sorted_ = table.by_temperature()
    assert sorted_.columns == ("300 K", "300 K", "360 K", "360 K")
    np.testing.assert_array_equal(sorted_["rg"], table["rg"][:, [1, 3, 0, 2]])


def test_weights(protein, positions, run, tmp_path):
    """With one temperature all count alike; with two, equal energies count alike as well."""
    np.testing.assert_allclose(observe(run, ["rg"]).weights(300.0), 1 / (FRAMES * REPLICAS))
    folder = write_run(
        tmp_path / "run", protein, positions, temperatures=[360.0, 300.0, 360.0, 300.0]
    )
    np.testing.assert_allclose(observe(folder, ["rg"]).weights(300.0), 1 / (FRAMES * REPLICAS))
    silent = write_run(tmp_path / "silent", protein, positions)
    with pytest.raises(UserError, match="does not say at which temperature"):
        observe(silent, ["rg"]).weights(300.0)


def test_where_the_native_structure_comes_from(protein, positions, tmp_path):
    folder = write_run(tmp_path / "run", protein, positions)
    with pytest.raises(UserError, match="no native structure, which rmsd, q compares with"):
        observe(folder, ["rg", "rmsd", "q"])
    write_pdb(tmp_path / "native.pdb", protein)
    from_file = observe(folder, ["rmsd"], native=tmp_path / "native.pdb")
    given = observe(folder, ["rmsd"], native=protein.positions)
    np.testing.assert_allclose(from_file["rmsd"], given["rmsd"], atol=2e-3)  # the file has 0.001 A
    other = build_chain("AGPWYK", "helix")
    write_pdb(tmp_path / "other.pdb", other)
    with pytest.raises(UserError, match="not the native structure of .* its sequence is AGPWYK"):
        observe(folder, ["rmsd"], native=tmp_path / "other.pdb")
    with pytest.raises(UserError, match=r"is \[\d+, 3\], not"):
        observe(folder, ["rmsd"], native=other.positions)


def test_mistakes(run, protein, positions, exchanges, tmp_path):
    with pytest.raises(UserError, match="no observable 'rsmd'; there is rmsd, q"):
        observe(run, ["rsmd"])
    with pytest.raises(UserError, match="'q' was not observed"):
        observe(run, ["rg"])["q"]
    wrong = write_run(tmp_path / "run", protein, positions[:, :3], exchanges=exchanges)
    with pytest.raises(UserError, match="record of 4 replicas, but .* has 3"):
        open_run(wrong)
    stretched = build_chain("AGPWYK", "extended")
    flat = stretched.positions[None, None].repeat(2, 0).astype(np.float32)
    folder = write_run(tmp_path / "flat", stretched, flat, native=stretched.positions)
    with pytest.raises(UserError, match="has no contacts, so there is no Q"):
        observe(folder, ["q"])
