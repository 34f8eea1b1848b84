"""The molecule of a report: frames of some replicas as 16-bit integers, and their card."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from flashschnet_lab.analysis.blocks import Watch, blocks
from flashschnet_lab.analysis.observables import Observations
from flashschnet_lab.analysis.pictures import viewing_rotation
from flashschnet_lab.analysis.run_folder import Run
from flashschnet_lab.analysis.structure import as_positions, c_alpha_indices, superpose
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.widgets.bead_canvas import BEAD_CANVAS, bead_radii, chain_colors

MOST_BYTES = 2_400_000
"""Of coordinates in one report; base64 makes 3.2 MB of them, and pictures need room too."""
MOST_FRAMES = 600
"""Of one replica: half a minute of film."""
FEWEST_FRAMES = 60
"""Rather fewer replicas than films shorter than this."""
INT16 = 32767
SHOWN = ("rmsd", "q", "rg")
"""Observables that are told with every frame, the first of them over time."""


@dataclass(frozen=True)
class Movie:
    """Superposed conformations, small enough for a page.

    Attributes:
        protein: the molecule.
        packed: [replicas, frames, beads, 3] int16, in units of `resolution`; right, up, towards the
            eye.
        native: [beads, 3] int16, or None.
        resolution: angstrom.
        replicas: numbers of those that are shown.
        rows: [frames] their places in the observations.
        left_out: what the film lacks, as a sentence; empty if nothing.
    """

    protein: Protein
    packed: np.ndarray
    native: np.ndarray | None
    resolution: float
    replicas: np.ndarray
    rows: np.ndarray
    left_out: str


def make_movie(
    run: Run, frames: slice, count: int, watch: Watch | None = None, most_bytes: int = MOST_BYTES
) -> Movie:
    """Return the film of a run; as many evenly spaced frames and replicas as may be.

    Args:
        run: what is shown.
        frames: the frames that the observations have.
        count: how many these are.
        watch: called with the conformations done and their number.
        most_bytes: of all coordinates.
    """
    trajectory, protein = run.trajectory, run.protein
    conformation = protein.beads * 3 * 2
    room = max(1, most_bytes // conformation)
    shown = min(trajectory.replicas, max(1, room // min(count, FEWEST_FRAMES)))
    replicas = np.unique(np.linspace(0, trajectory.replicas - 1, shown).round().astype(np.int64))
    stride = max(1, -(-count // max(1, min(MOST_FRAMES, room // len(replicas)))))
    rows = np.arange(0, count, stride)
    taken = slice(frames.start, frames.stop, frames.step * stride)

    alphas = c_alpha_indices(protein)
    first = trajectory.positions(slice(frames.start, frames.start + 1))[0]
    target = as_positions(protein.positions if run.native is None else run.native)
    if not np.isfinite(target).all():
        target = as_positions(first)
    target = target - target[alphas].mean(axis=0)
    target = target @ viewing_rotation(target[alphas])
    film = np.zeros((len(replicas), len(rows), protein.beads, 3), dtype=np.float32)
    for block in blocks(trajectory, taken, watch):
        finite = block.finite
        for place, replica in enumerate(replicas):
            if not block.replicas.start <= replica < block.replicas.stop:
                continue
            column = replica - block.replicas.start
            good = finite[:, column]
            film[place, block.rows][good] = superpose(block.positions[good, column], target, alphas)
    largest = max(float(np.abs(film).max()), float(np.abs(target).max()))
    resolution = max(0.001, largest / INT16)
    return Movie(
        protein=protein,
        packed=np.rint(film / resolution).astype("<i2"),
        native=None if run.native is None else np.rint(target / resolution).astype("<i2"),
        resolution=resolution,
        replicas=replicas,
        rows=rows,
        left_out=_left_out(len(rows), count, len(replicas), trajectory.replicas),
    )


def movie_card(movie: Movie, table: Observations) -> str:
    """Return the card of a film: canvas, controls and data, all in HTML.

    Args:
        movie: from `make_movie`.
        table: observables of the same frames.
    """
    options = "".join(
        f'<option value="{place}">{number}</option>' for place, number in enumerate(movie.replicas)
    )
    ghost = (
        '<label><input type="checkbox" id="native"> native fold in grey</label>'
        if movie.native is not None
        else ""
    )
    name = escape(movie.protein.name)
    caption = "All conformations are superposed on the Cα beads of the native structure"
    if movie.native is None:
        caption = "All conformations are superposed on the Cα beads of the first structure"
    caption += "; blue is the N terminus, red the C terminus. "
    caption += movie.left_out or "All frames of all replicas are here."
    return f"""<figure class="card movie wide">
<div class="stage">
<canvas id="molecule" tabindex="0" role="img" aria-label="{name}, moving. Drag or use the arrow keys
 to turn it, plus and minus to zoom, space to play."></canvas>
<output id="says"></output>
<div class="hint">drag to turn · wheel to zoom · double click to reset</div>
</div>
<canvas id="course" aria-hidden="true"></canvas>
<div class="controls">
<button type="button" id="play" aria-pressed="false">▶ Play</button>
<input type="range" id="frame" min="0" max="{len(movie.rows) - 1}" value="0" aria-label="frame">
<label>replica <select id="replica">{options}</select></label>
<label>style <select id="style"><option value="tube">tube</option>
<option value="beads">beads</option></select></label>
{ghost}
<button type="button" id="reset">Reset view</button>
</div>
<figcaption style="padding: 0 1rem 1rem">{escape(caption)}</figcaption>
<script type="application/json" id="movie-data">{_data(movie, table)}</script>
</figure>"""


def movie_script() -> str:
    """Return the JavaScript that plays the film."""
    play = Path(__file__).with_name("movie.js").read_text(encoding="utf-8")
    return BEAD_CANVAS + play


def _data(movie: Movie, table: Observations) -> str:
    protein = movie.protein
    names, residues = np.array(protein.bead_names), protein.residue_of_bead
    segments = np.array([residue.segment for residue in protein.residues])[residues]
    alphas = c_alpha_indices(protein)
    alpha_of = {residues[alpha]: int(alpha) for alpha in alphas}
    pins = [[alpha_of[residues[b]], int(b)] for b in np.flatnonzero(names == "CB")]
    shown = [name for name in SHOWN if name in table.values]
    reach = np.abs(movie.packed.astype(np.float64)).max(axis=(2, 3)) * movie.resolution
    kelvin = table.temperatures[movie.rows][:, movie.replicas].T  # [replicas, frames]
    data: dict[str, Any] = {
        "resolution": movie.resolution,
        "radii": bead_radii(protein),
        "colors": chain_colors(protein),
        "bonds": protein.topology.bonds.ravel().tolist(),
        "chains": [alphas[segments[alphas] == s].tolist() for s in np.unique(segments)],
        "pins": sum(pins, []),
        # Most conformations fill the view; an open chain may leave it for a moment.
        "span": float(2.0 * np.quantile(reach, 0.9) + 2.0),
        "times": np.round(table.times_ps[movie.rows], 4).tolist(),
        "kelvin": None if len(table.ladder) < 2 else np.round(kelvin, 1).tolist(),
        "shown": [
            {"title": table.observables[n].title, "unit": f" {table.unit(n)}".rstrip()}
            for n in shown
        ],
        "native": None if movie.native is None else _base64(movie.native),
        "replicas": [
            {
                "number": int(number),
                "frames": _base64(movie.packed[place]),
                "values": [_numbers(table[name][movie.rows, number]) for name in shown],
            }
            for place, number in enumerate(movie.replicas)
        ],
    }
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _numbers(values: np.ndarray) -> list[float | None]:
    return [round(float(v), 3) if np.isfinite(v) else None for v in values]


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def _left_out(frames: int, of_frames: int, replicas: int, of_replicas: int) -> str:
    """Return what the film lacks, as a sentence."""
    parts = []
    if frames < of_frames:
        parts.append(f"{frames} of {of_frames} frames, evenly spaced")
    if replicas < of_replicas:
        parts.append(f"{replicas} of {of_replicas} replicas")
    if not parts:
        return ""
    return f"To keep this file small, the film has {' and '.join(parts)}; tables count all."
