"""The view without WebGL: what it sends to the browser, and when it is chosen."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

pytest.importorskip("anywidget")
pytest.importorskip("ipywidgets")

from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.widgets import molecule_view
from flashschnet_lab.widgets.bead_canvas import chain_colors
from flashschnet_lab.widgets.bead_view import BeadView, WebGLProbe

needs_nglview = pytest.mark.skipif(
    importlib.util.find_spec("nglview") is None, reason="nglview is not installed"
)


@pytest.fixture(params=["five_bead", "ca"])
def helix(request: pytest.FixtureRequest) -> Protein:
    return build_chain("AGWKLE", shape="helix", mapping=request.param)


def sent(view: BeadView) -> np.ndarray:
    return np.frombuffer(view.positions, dtype="<f4").reshape(-1, 3)


def test_it_sends_the_molecule(helix: Protein) -> None:
    view = BeadView(helix, helix.positions)
    np.testing.assert_allclose(sent(view), helix.positions, atol=1e-5)
    bonds = np.frombuffer(view.bonds, dtype="<i4").reshape(-1, 2)
    np.testing.assert_array_equal(bonds, helix.topology.bonds)
    assert len(view.radii) == len(view.colors) == helix.beads
    colors = chain_colors(helix)
    assert colors[0] == "#2f5fb3" and colors[-1] == "#c8354f"  # N blue, C red


def test_a_new_conformation_replaces_the_old_one(helix: Protein) -> None:
    view = BeadView(helix, helix.positions)
    size = len(view.positions)
    for _ in range(5):
        view.show(helix.positions[::-1] + 1.0)
    np.testing.assert_allclose(sent(view), helix.positions[::-1] + 1.0, atol=1e-5)
    assert len(view.positions) == size


def test_nothing_is_loaded_from_elsewhere() -> None:
    for kind in (BeadView, WebGLProbe):
        script = str(kind._esm)
        assert "import " not in script and "http" not in script


def test_a_turned_molecule_stands_still_in_the_view(helix: Protein) -> None:
    """It neither drifts nor tumbles, and it is not mirrored."""
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    view = molecule_view.MoleculeView(helix, "beads")
    view.show(helix.positions)
    first = sent(view.molecule.widget)
    view.show(helix.positions @ turn + 50.0)
    np.testing.assert_allclose(sent(view.molecule.widget), first, atol=1e-3)
    assert first[0, 0] < first[-1, 0]  # N left, C right


def test_a_missing_nglview_is_told(helix: Protein, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: Protein) -> None:
        raise UserError("nglview is not installed; get it with: pip install nglview")

    monkeypatch.setattr(molecule_view, "NglMolecule", missing)
    view = molecule_view.MoleculeView(helix)
    assert isinstance(view.molecule, molecule_view.BeadMolecule)
    assert "pip install nglview" in view.note
    assert view.note in [getattr(child, "value", "") for child in view.widget.children]
    with pytest.raises(UserError, match="pip install"):
        molecule_view.MoleculeView(helix, "nglview")


@needs_nglview
def test_a_browser_without_webgl_gets_beads_and_a_message(helix: Protein) -> None:
    view = molecule_view.MoleculeView(helix)
    assert isinstance(view.molecule, molecule_view.NglMolecule) and view.note == ""
    moved = helix.positions * 1.1
    view.show(moved)
    (probe,) = (child for child in view.widget.children if isinstance(child, WebGLProbe))
    probe.answer = "no"  # as the browser says it
    assert isinstance(view.molecule, molecule_view.BeadMolecule)
    assert view.note == molecule_view.NO_WEBGL
    extent = np.ptp(sent(view.molecule.widget), axis=0)
    other = molecule_view.MoleculeView(helix, "beads")
    other.show(moved)
    np.testing.assert_allclose(extent, np.ptp(sent(other.molecule.widget), axis=0), atol=1e-3)


@needs_nglview
def test_a_browser_with_webgl_keeps_nglview(helix: Protein) -> None:
    view = molecule_view.MoleculeView(helix)
    (probe,) = (child for child in view.widget.children if isinstance(child, WebGLProbe))
    probe.answer = "yes"
    assert isinstance(view.molecule, molecule_view.NglMolecule) and view.note == ""


@needs_nglview
def test_nglview_keeps_one_frame(helix: Protein) -> None:
    view = molecule_view.MoleculeView(helix, "nglview")
    widget = view.molecule.widget
    archive, waiting = len(widget._ngl_msg_archive), len(widget._callbacks_before_loaded)
    for number in range(50):
        view.show(helix.positions * (1.0 + 0.01 * number))
    assert widget.max_frame == 0 and len(view.molecule._movie.frames) == 1  # type: ignore[union-attr]
    assert len(widget._ngl_msg_archive) == archive
    assert len(widget._callbacks_before_loaded) == waiting


def test_an_unknown_view_is_refused(helix: Protein) -> None:
    with pytest.raises(UserError, match="view 'vr' is unknown"):
        molecule_view.MoleculeView(helix, "vr")
