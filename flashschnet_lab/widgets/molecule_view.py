"""Show the present conformation of a run, and only that one: nothing grows, however long it runs.

Two views with one method, `show`: nglview where there is WebGL, beads on a flat canvas elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flashschnet_lab.analysis.pictures import viewing_rotation
from flashschnet_lab.analysis.structure import as_positions, c_alpha_indices, superpose
from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.widgets.bead_view import BeadView, WebGLProbe
from flashschnet_lab.widgets.viewer import TrajectoryView

VIEWS = ("auto", "nglview", "beads")
NO_WEBGL = "This browser has no WebGL, so beads are drawn on a flat canvas instead of with nglview."
WIDTH, HEIGHT = 480, 360
FIT = """
const stage = this.stage;
(function fit(tries) {  // what has no size yet cannot be fitted into it
    stage.handleResize();
    const { width, height } = stage.viewer;
    if (width > 1 && height > 1) { stage.autoView(0); stage.viewerControls.zoom(-0.15); }
    else if (tries > 0) setTimeout(() => fit(tries - 1), 100);
})(100);
"""
"""JavaScript, in the view: look at the whole molecule, with room to open."""
TO_NGL = np.array([-1.0, 1.0, -1.0])  # NGL looks along +z, x leftwards


class NglMolecule:
    """One conformation in nglview.

    Attributes:
        widget: the `nglview.NGLWidget`.
    """

    def __init__(self, protein: Protein) -> None:
        self._movie = TrajectoryView(protein)
        self.widget: Any = self._movie.widget
        self.widget._set_size(f"{WIDTH}px", f"{HEIGHT}px")
        # Inside a row of boxes the browser gives the view its size after the molecule is there.
        self.widget._js(FIT)

    def show(self, positions: np.ndarray) -> None:
        """Show positions [beads, 3]: right, up, towards the eye."""
        turned = (positions * TO_NGL).astype(np.float32)
        self._movie.frames[0] = turned  # what a page gets that is opened or reloaded later
        self.widget.set_coordinates({0: turned})


class BeadMolecule:
    """One conformation on a flat canvas.

    Attributes:
        widget: the `BeadView`.
    """

    def __init__(self, protein: Protein, positions: np.ndarray) -> None:
        self.widget = BeadView(protein, positions, WIDTH, HEIGHT)

    def show(self, positions: np.ndarray) -> None:
        """Show positions [beads, 3]: right, up, towards the eye."""
        self.widget.show(positions)


class MoleculeView:
    """The view that works here, and a sentence that says which one it is if it is not nglview.

    Args:
        protein: the molecule; what is shown is laid over its positions, seen from the broadest
            side, so that it neither drifts nor tumbles.
        view: "nglview", "beads", or "auto": nglview, and beads if nglview is not installed or the
            browser has no WebGL.

    Attributes:
        widget: an ipywidgets box around the present view.
        molecule: the present view, `NglMolecule` or `BeadMolecule`.
        note: why it is not nglview, or empty.

    Raises:
        UserError: an unknown view, or nglview was asked for and cannot work here.
    """

    def __init__(self, protein: Protein, view: str = "auto") -> None:
        import ipywidgets

        if view not in VIEWS:
            raise UserError(f"view {view!r} is unknown; known: {', '.join(VIEWS)}")
        self._protein = protein
        self._alphas = c_alpha_indices(protein)
        own = as_positions(protein.positions)
        self._target = own @ viewing_rotation(own[self._alphas])
        self._shown = self._target
        self._note = ipywidgets.HTML()
        self._note.add_class("fs-view-note")
        self._probe = WebGLProbe()
        self.widget = ipywidgets.VBox(layout={"width": f"{WIDTH + 8}px"})
        self.note = ""
        self.molecule: NglMolecule | BeadMolecule
        if view == "beads":
            self._use(BeadMolecule(protein, self._shown), "")
            return
        try:
            self._use(NglMolecule(protein), "")
        except UserError as error:
            if view == "nglview":
                raise
            self.use_beads(f"Beads are drawn on a flat canvas: {error}")
            return
        self._probe.when_missing(self.use_beads)

    def show(self, positions: Any) -> None:
        """Show a conformation [beads, 3] in angstrom."""
        self._shown = superpose(positions, self._target, self._alphas)
        self.molecule.show(self._shown)

    def use_beads(self, note: str = NO_WEBGL) -> None:
        """Go on with beads on a flat canvas, and say why."""
        self._use(BeadMolecule(self._protein, self._target), note)
        self.molecule.show(self._shown)

    def _use(self, molecule: NglMolecule | BeadMolecule, note: str) -> None:
        self.molecule, self.note = molecule, note
        self._note.value = note
        self.widget.children = (molecule.widget, self._note, self._probe)
