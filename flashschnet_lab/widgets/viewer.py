"""Look at a protein in the browser: one conformation, a trajectory, or a run as it happens.

nglview draws; it takes positions in angstrom. One view per notebook is good manners: a browser
keeps about 16 of them alive, and each holds a thread in the kernel.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flashschnet_lab.analysis.pictures import CHAIN_COLORS, viewing_rotation
from flashschnet_lab.analysis.structure import as_positions, c_alpha_indices, superpose
from flashschnet_lab.proteins.mdtraj_io import write_pdb
from flashschnet_lab.units import ANGSTROM_PER_NANOMETRE
from flashschnet_lab.widgets.frontend import load_nglview

if TYPE_CHECKING:
    import nglview

    from flashschnet_lab.proteins.protein import Protein
    from flashschnet_lab.simulation.reporters import Frame

FRAMES_PER_SECOND = 12.0
"""More pictures in a second than this would only queue up in the browser."""

STRUCTURE_IS_LOADED = "flashschnet_structure_is_loaded"


def view(protein: Protein, positions: Any = None) -> nglview.NGLWidget:
    """Show one conformation in the browser, to be turned with the mouse.

    Args:
        protein: the molecule.
        positions: [beads, 3], angstrom; the protein's own without it.

    Returns:
        An nglview widget; it shows itself at the end of a notebook cell. Positions [beads, 3] in
        angstrom can be sent to it with `widget.set_coordinates({0: positions})`.

    Raises:
        UserError: nglview is missing or cannot work here.
    """
    return TrajectoryView(protein, positions).widget


class TrajectoryView:
    """A molecule that moves: follow a run while it computes, then play it again.

    Attributes:
        widget: the nglview widget.
        frames: what has been shown so far, each [beads, 3] float32 in angstrom, superposed on the
            protein's C-alpha beads, seen from their broadest side: it does not drift out of sight.
    """

    def __init__(self, protein: Protein, positions: Any = None) -> None:
        """Open a view.

        Args:
            protein: the molecule.
            positions: [beads, 3] or [frames, beads, 3] in angstrom, or an mdtraj.Trajectory of the
                beads; the protein's own positions without it.

        Raises:
            UserError: nglview is missing or cannot work here.
        """
        self._protein = protein
        beads = as_positions(protein.positions)
        to_the_eye = viewing_rotation(beads[c_alpha_indices(protein)])
        self._reference = beads @ to_the_eye * [-1.0, 1.0, -1.0]  # NGL looks along +z, x leftwards
        self._shown_at = 0.0  # time.monotonic() of the latest picture
        frames = _frames(protein.positions if positions is None else positions)
        self.frames = [self._in_sight(frame) for frame in frames]
        self.widget = _open_widget(protein, self.frames)
        self._controls = _player(self.widget)

    def add(self, positions: Any) -> None:
        """Add a conformation to the end and show it, unless the last picture is too recent.

        Args:
            positions: [beads, 3], angstrom.
        """
        self.frames.append(self._in_sight(as_positions(positions)))
        if time.monotonic() - self._shown_at >= 1.0 / FRAMES_PER_SECOND:
            self.show_last()

    def show_last(self) -> None:
        """Show the newest conformation now."""
        self._shown_at = time.monotonic()
        self.widget.max_frame = len(self.frames) - 1
        self.widget.frame = len(self.frames) - 1  # sends the coordinates

    def follow(self, frames: Iterable[Frame], replica: int = 0) -> Iterator[Frame]:
        """Show every frame of a running simulation and hand it on.

        Args:
            frames: as they come from `simulation.iterate(...)`.
            replica: which one to watch.

        Yields:
            The frames, unchanged.
        """
        try:
            for frame in frames:
                self.add(frame.positions[replica])
                yield frame
        finally:
            self.show_last()

    def _in_sight(self, positions: np.ndarray) -> np.ndarray:
        alphas = c_alpha_indices(self._protein)
        return superpose(positions, self._reference, alphas).astype(np.float32)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self._controls._repr_mimebundle_(**options)


class _FrameSource:
    """What nglview asks of a trajectory: a structure in PDB format, and frames by number."""

    ext = "pdb"

    def __init__(self, protein: Protein, frames: list[np.ndarray]) -> None:
        self.id = "frames"
        self.params: dict[str, Any] = {}
        self._protein = protein
        self._frames = frames  # grows while a simulation runs

    @property
    def n_frames(self) -> int:
        return len(self._frames)

    def get_coordinates(self, index: int) -> np.ndarray:
        return self._frames[index]

    def get_structure_string(self) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "protein.pdb"
            write_pdb(path, self._protein, self._frames[0])
            return path.read_text(encoding="ascii")


def _open_widget(protein: Protein, frames: list[np.ndarray]) -> Any:
    """Return an nglview widget on these frames, drawn, centred, with a little air around."""
    widget = load_nglview().NGLWidget()
    widget.add_trajectory(_FrameSource(protein, frames), default_representation=False)
    color = {"color_scheme": "residueindex", "color_scale": list(CHAIN_COLORS)}
    if protein.mapping == "ca":
        widget.add_representation("tube", radius=0.35, **color)
        widget.add_representation("spacefill", radius=0.8, **color)
    else:
        widget.add_representation("cartoon", quality="high", **color)
        widget.add_representation("ball+stick", radius_size=0.15, opacity=0.6, **color)
    widget.center()
    widget.control.zoom(0.1)

    # Positions that arrive while the browser still loads the structure are lost. When it is done,
    # also after the page was reloaded, it says so and gets those of the present frame.
    def send_present_frame(_: Any, message: dict[str, Any], buffers: Any) -> None:
        if message.get("type") == STRUCTURE_IS_LOADED:
            widget.set_coordinates({0: frames[widget.frame]})

    widget.on_msg(send_present_frame)
    widget._js(f"this.send({{type: '{STRUCTURE_IS_LOADED}'}})", fire_embed=True)
    return widget


def _player(widget: Any) -> Any:
    """Return the widget above a play button and a slider over its frames."""
    import ipywidgets

    player = ipywidgets.Play(interval=round(1000 / FRAMES_PER_SECOND), max=widget.max_frame)
    slider = ipywidgets.IntSlider(description="frame", max=widget.max_frame)
    slider.layout.width = "60%"
    for control in (player, slider):
        ipywidgets.jslink((widget, "frame"), (control, "value"))
        ipywidgets.jslink((widget, "max_frame"), (control, "max"))
    return ipywidgets.VBox([widget, ipywidgets.HBox([player, slider])])


def _frames(positions: Any) -> np.ndarray:
    """Return positions of any accepted kind as [frames, beads, 3] float64 in angstrom."""
    if hasattr(positions, "xyz"):  # an mdtraj.Trajectory, in nanometres
        positions = ANGSTROM_PER_NANOMETRE * positions.xyz
    frames = as_positions(positions)
    return frames[None] if frames.ndim == 2 else frames
