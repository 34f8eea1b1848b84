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

from flashschnet_lab.analysis.pictures import CHAIN_COLORS
from flashschnet_lab.proteins.protein import Protein

RADII = {"CA": 1.1, "CB": 1.0}
BACKBONE_RADIUS = 0.6  # angstrom: N, C and O of the backbone

DRAW = r"""
function floats(model, name, Kind) {
  const view = model.get(name);
  return new Kind(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

function mixed(color, share) {  // with white, as in mist
  const parts = [1, 3, 5].map((k) => parseInt(color.slice(k, k + 2), 16));
  return `rgb(${parts.map((part) => Math.round(255 + share * (part - 255))).join()})`;
}

function render({ model, el }) {
  const width = model.get("width"), height = model.get("height");
  const canvas = document.createElement("canvas");
  canvas.className = "fs-beads";
  canvas.width = width;
  canvas.height = height;
  canvas.style.cssText = "max-width: 100%; cursor: grab; touch-action: none";
  el.appendChild(canvas);
  const pen = canvas.getContext("2d");
  let turnX = 0, turnY = 0, zoom = 1, asked = 0, drawn = 0, grip = null;

  function project(positions) {  // to right, up and towards the eye, around the middle
    const count = positions.length / 3, middle = [0, 0, 0];
    for (let k = 0; k < positions.length; k++) middle[k % 3] += positions[k] / count;
    const cx = Math.cos(turnX), sx = Math.sin(turnX), cy = Math.cos(turnY), sy = Math.sin(turnY);
    const scale = zoom * 0.9 * Math.min(width, height) / model.get("span");
    const points = [];
    for (let i = 0; i < count; i++) {
      const [x, y, z] = [0, 1, 2].map((k) => positions[3 * i + k] - middle[k]);
      const right = cy * x + sy * z, deep = -sy * x + cy * z;
      const up = cx * y - sx * deep, near = sx * y + cx * deep;
      points.push({ x: width / 2 + scale * right, y: height / 2 - scale * up, near });
    }
    return { points, scale };
  }

  function draw() {
    asked = 0;
    const positions = floats(model, "positions", Float32Array);
    const bonds = floats(model, "bonds", Int32Array);
    const radii = model.get("radii"), colors = model.get("colors");
    const { points, scale } = project(positions);
    const depths = points.map((point) => point.near);
    const far = Math.min(...depths), reach = Math.max(...depths) - far || 1;
    const parts = points.map((point, bead) => ({ near: point.near, bead }));
    for (let k = 0; k < bonds.length; k += 2) {
      const ends = [points[bonds[k]], points[bonds[k + 1]]];
      parts.push({ near: (ends[0].near + ends[1].near) / 2 - 1e-3, ends });
    }
    parts.sort((a, b) => a.near - b.near);  // the farthest first
    pen.clearRect(0, 0, width, height);
    for (const part of parts) {
      const share = 0.45 + 0.55 * Math.max(0, Math.min(1, (part.near - far) / reach));
      pen.beginPath();
      if (part.ends) {
        pen.strokeStyle = mixed("#8a949e", share);
        pen.lineWidth = Math.max(1, 0.45 * scale);
        pen.moveTo(part.ends[0].x, part.ends[0].y);
        pen.lineTo(part.ends[1].x, part.ends[1].y);
        pen.stroke();
      } else {
        const { x, y } = points[part.bead];
        pen.fillStyle = mixed(colors[part.bead], share);
        pen.strokeStyle = mixed("#30363d", share);
        pen.lineWidth = 0.6;
        pen.arc(x, y, Math.max(1.5, radii[part.bead] * scale), 0, 2 * Math.PI);
        pen.fill();
        pen.stroke();
      }
    }
    drawn += 1;
    canvas.dataset.drawn = drawn;
    canvas.dataset.x = positions[0];
  }

  function ask() {  // at most one drawing per picture of the screen
    if (!asked) asked = requestAnimationFrame(draw);
  }

  model.on("change:positions", ask);
  canvas.onpointerdown = (event) => {
    grip = [event.clientX, event.clientY];
    canvas.setPointerCapture(event.pointerId);
  };
  canvas.onpointerup = () => { grip = null; };
  canvas.onpointermove = (event) => {
    if (!grip) return;
    turnY += (event.clientX - grip[0]) / 120;
    turnX += (event.clientY - grip[1]) / 120;
    grip = [event.clientX, event.clientY];
    ask();
  };
  canvas.onwheel = (event) => {
    event.preventDefault();
    zoom *= Math.exp(-event.deltaY / 600);
    ask();
  };
  ask();
  return () => { cancelAnimationFrame(asked); model.off("change:positions", ask); };
}
export default { render };
"""

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
            radii=[RADII.get(name, BACKBONE_RADIUS) for name in protein.bead_names],
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


def chain_colors(protein: Protein) -> list[str]:
    """Return a colour for every bead, from the N terminus to the C terminus."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    colormap = LinearSegmentedColormap.from_list("chain", CHAIN_COLORS)
    last = max(1, len(protein.residues) - 1)
    return [to_hex(colormap(residue / last)) for residue in protein.residue_of_bead]


def _bytes(positions: np.ndarray) -> bytes:
    return np.ascontiguousarray(positions, dtype="<f4").tobytes()
