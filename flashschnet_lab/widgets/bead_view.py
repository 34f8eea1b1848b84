"""A molecule as beads on a flat canvas, for browsers without WebGL; and the question whether it is.

Both are anywidgets whose JavaScript travels with them: nothing is loaded from elsewhere. Drag to
turn, use the wheel to come closer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import numpy as np
import traitlets

from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.widgets.bead_canvas import BEAD_CANVAS, bead_radii, chain_colors

DRAW = (
    BEAD_CANVAS
    + r"""
function floats(model, name, Kind) {
  const view = model.get(name);
  return new Kind(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

function render({ model, el }) {
  const canvas = document.createElement("canvas");
  canvas.className = "fs-beads";
  canvas.style.cssText = "max-width: 100%";
  canvas.width = model.get("width");
  canvas.height = model.get("height");
  canvas.tabIndex = 0;
  canvas.setAttribute("aria-label", "molecule; drag or use the arrow keys to turn it");
  el.appendChild(canvas);
  const molecule = {
    bonds: floats(model, "bonds", Int32Array), radii: model.get("radii"),
    colors: model.get("colors"), span: model.get("span"), chains: [], pins: [],
  };
  const view = beadCanvas(canvas, molecule, { mist: () => [255, 255, 255], style: "beads" });
  const show = () => view.show(floats(model, "positions", Float32Array));
  model.on("change:positions", show);
  show();
  return () => { view.stop(); model.off("change:positions", show); };
}
export default { render };
"""
)

PROBE = r"""
function render({ model }) {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("webgl2") || canvas.getContext("webgl");
  context?.getExtension("WEBGL_lose_context")?.loseContext();  // a browser keeps only sixteen
  model.set("answer", context ? "yes" : "no");
  model.save_changes();
}
export default { render };
"""


class BeadView(anywidget.AnyWidget):
    """Beads and bonds of one protein on a 2D canvas, coloured along the chain.

    Args:
        protein: the molecule.
        positions: [beads, 3] in angstrom: right, up, towards the eye.
        width, height: of the canvas, pixels.
    """

    _esm = DRAW
    positions = traitlets.Bytes(b"").tag(sync=True)
    bonds = traitlets.Bytes(b"").tag(sync=True)
    radii: Any = traitlets.List([]).tag(sync=True)
    colors: Any = traitlets.List([]).tag(sync=True)
    span = traitlets.Float(1.0).tag(sync=True)
    width = traitlets.Int(480).tag(sync=True)
    height = traitlets.Int(360).tag(sync=True)

    def __init__(
        self, protein: Protein, positions: np.ndarray, width: int = 480, height: int = 360
    ) -> None:
        centred = positions - positions.mean(axis=0)
        super().__init__(
            positions=_bytes(positions),
            bonds=np.ascontiguousarray(protein.topology.bonds, dtype="<i4").tobytes(),
            radii=bead_radii(protein),
            colors=chain_colors(protein),
            # Room for a chain that opens.
            span=float(2.6 * np.linalg.norm(centred, axis=1).max() + 4.0),
            width=width,
            height=height,
        )

    def show(self, positions: np.ndarray) -> None:
        """Show another conformation [beads, 3]; the one before is forgotten."""
        self.positions = _bytes(positions)


class WebGLProbe(anywidget.AnyWidget):
    """Asks the browser, when it is displayed, whether it has WebGL.

    Attributes:
        answer: "yes", "no", or empty before there is an answer.
    """

    _esm = PROBE
    answer = traitlets.Unicode("").tag(sync=True)

    def when_missing(self, action: Callable[[], object]) -> None:
        """Do something if the browser says that it has none."""

        def on_answer(change: dict[str, Any]) -> None:
            if change["new"] == "no":
                action()

        self.observe(on_answer, "answer")


def _bytes(positions: np.ndarray) -> bytes:
    return np.ascontiguousarray(positions, dtype="<f4").tobytes()
