"""Watch the tiles of one message-passing block pass through the fast memory of a chip.

    TileExplorer(fl.load_system("trpcage"))

The sliders change the size of a tile and the cutoff; Play walks over the tiles in the order in
which the kernels visit them. What is computed is `measure.tile_walk`, what is drawn
`widgets.tile_picture`.
"""

from __future__ import annotations

import threading
import time
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.tile_walk import SIDES, TileWalk, walk_tiles
from flashschnet_lab.potentials.schnet import SchNetShape
from flashschnet_lab.widgets.tile_picture import TilePicture, readable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flashschnet_lab.system import System

PICTURES_PER_SECOND = 8.0
LARGEST = 2500
"""Beads up to which all pairs are drawn; a larger picture would take seconds."""
CUTOFFS = (5.0, 20.0)


class TileExplorer:
    """An animation of the tiles of a fused convolution, with sliders for tile size and cutoff.

    One thread draws changes. It begins when there is something to draw and ends when all is drawn:
    nothing is left running when the page is closed while the animation stands.

    Attributes:
        widget: the ipywidgets box.
        walk: the tiles that are shown.
        step: number of the tile that is shown, from 0.
        playing: whether the animation runs.
    """

    def __init__(self, system: System, side: int = 8, cutoff: float | None = None) -> None:
        """Show a protein.

        Args:
            system: the protein; the widths are those of its network, or of CGSchNet without one.
            side: beads along each side of a tile at the start, one of `tile_walk.SIDES`.
            cutoff: in angstrom at the start, 5 to 20; that of the network without it.

        Raises:
            UserError: something else than a system, another side or cutoff, or a protein whose
                pairs are too many to be drawn.
        """
        if not hasattr(system, "protein"):
            raise UserError(
                f"TileExplorer shows a system such as fl.load_system('trpcage'), not a "
                f"{type(system).__name__}"
            )
        network = system.model.network
        self._shape = SchNetShape() if network is None else network.shape
        cutoff = self._shape.cutoff if cutoff is None else cutoff
        if not CUTOFFS[0] <= cutoff <= CUTOFFS[1]:
            raise UserError(f"the cutoff must lie between 5 and 20 angstrom, not {cutoff:g}")
        if system.protein.beads > LARGEST:
            raise UserError(
                f"{system.name} has {system.protein.beads} beads; pairs of more than {LARGEST} "
                "cannot be drawn one by one. Take a smaller protein."
            )
        self._positions = np.asarray(system.protein.positions)
        self._name = system.name
        self.walk = self._walk(side, cutoff)
        self.step = 0
        self.playing = False
        self._picture = TilePicture(self._positions, self.walk)  # of one thread at a time
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._working = False
        self._changed = False
        self.widget = self._build_widget()
        self._draw()  # here: a browser may miss a picture that arrives before it shows the page

    def play(self) -> None:
        """Walk over the tiles from where the slider is, or from the first after the last."""
        if self.step >= self.walk.tiles - 1:
            self.step = 0
        self.playing = True
        self._play.description = "Pause"
        self._wake()

    def pause(self) -> None:
        """Stop the animation."""
        self.playing = False
        self._play.description = "Play"

    def show(
        self, step: int | None = None, side: int | None = None, cutoff: float | None = None
    ) -> None:
        """Move a slider, as the mouse does; what is not given stays as it is.

        Args:
            step: number of the tile, from 0.
            side: beads along each side of a tile.
            cutoff: in angstrom.
        """
        if side is not None:
            self._side.value = side
        if cutoff is not None:
            self._cutoff.value = cutoff
        if step is not None:
            self._place.value = step + 1

    def picture(self, step: int | None = None) -> Figure:
        """Return one tile as a static figure.

        Args:
            step: number of the tile, from 0; the one that the animation shows without it, or one in
                the middle before it has begun.
        """
        if step is None:
            step = self.step or self.walk.tiles // 2
        if not 0 <= step < max(1, self.walk.tiles):
            raise UserError(f"there are tiles 0 to {self.walk.tiles - 1}, not {step}")
        return TilePicture(self._positions, self.walk, dpi=100).show(self.walk, step)

    def wait(self, seconds: float = 60.0) -> None:
        """Return when nothing is left to draw; the animation must end or be paused for that."""
        if self._worker is not None:
            self._worker.join(seconds)

    def _walk(self, side: int, cutoff: float) -> TileWalk:
        return walk_tiles(self._positions, side, cutoff, self._shape)

    def _build_widget(self) -> Any:
        import ipywidgets

        self._play = ipywidgets.Button(description="Play", tooltip="walk over the tiles")
        self._play.on_click(lambda _: self.pause() if self.playing else self.play())
        self._place = ipywidgets.IntSlider(
            1, min=1, max=max(1, self.walk.tiles), description="tile", continuous_update=True
        )
        self._stride = ipywidgets.IntSlider(
            1 + self.walk.tiles // 150, min=1, max=20, description="tiles at once"
        )
        self._side = ipywidgets.SelectionSlider(
            options=[(f"{side} x {side}", side) for side in SIDES],
            value=self.walk.side,
            description="tile size",
        )
        self._cutoff = ipywidgets.FloatSlider(
            self.walk.cutoff, min=CUTOFFS[0], max=CUTOFFS[1], step=0.5, description="cutoff (Å)",
            continuous_update=False, readout_format=".1f",
        )  # fmt: skip
        self._image = ipywidgets.Image(
            format="png", layout={"width": "880px", "min_height": "440px"}
        )
        self._note = ipywidgets.HTML()
        self._place.observe(self._on_place, "value")
        for slider in (self._side, self._cutoff):
            slider.observe(self._on_size, "value")
        for slider in (self._place, self._stride, self._side, self._cutoff):
            slider.style.description_width = "80px"
        first = ipywidgets.HBox([self._play, self._place, self._stride])
        second = ipywidgets.HBox([self._side, self._cutoff])
        return ipywidgets.VBox([first, second, self._image, self._note])

    def _on_place(self, change: Any) -> None:
        """Follow the slider; the thread moves it too, when the picture is already there."""
        if threading.current_thread() is not self._worker:
            self.step = change["new"] - 1
            self._wake()

    def _on_size(self, _: Any) -> None:
        """Walk anew with other tiles; the place along the walk stays about where it was."""
        share = self.step / max(1, self.walk.tiles - 1)
        self.walk = self._walk(self._side.value, self._cutoff.value)
        self.step = round(share * max(0, self.walk.tiles - 1))
        with self._place.hold_trait_notifications():
            self._place.max = max(1, self.walk.tiles)
            self._place.value = self.step + 1
        self._wake()

    def _wake(self) -> None:
        """Have the present tile drawn, by the thread that draws or by a new one."""
        with self._lock:
            self._changed = True
            if not self._working:
                self._working = True
                self._worker = threading.Thread(target=self._work, daemon=True, name="tiles")
                self._worker.start()

    def _work(self) -> None:
        """Draw what is new, and go on while the animation plays."""
        try:
            while self._has_work():
                begun = time.monotonic()
                self._draw()
                if self.playing:
                    time.sleep(max(0.01, 1.0 / PICTURES_PER_SECOND + begun - time.monotonic()))
                    self._advance()
        except Exception as error:  # a thread's traceback is seen by nobody
            self.pause()
            self._note.value = escape(f"stopped: {type(error).__name__}: {error}")
            with self._lock:
                self._working = False

    def _has_work(self) -> bool:
        """Whether something is to be drawn; if not, the thread is given up in the same breath."""
        with self._lock:
            if not (self._changed or self.playing):
                self._working = False
                return False
            self._changed = False
            return True

    def _draw(self) -> None:
        walk = self.walk
        step = min(self.step, max(0, walk.tiles - 1))
        self._image.value = self._picture.png(walk, step)
        if step == self.step:  # nobody moved the slider meanwhile
            self._place.value = step + 1
        self._note.value = escape(self._sentence(walk))

    def _advance(self) -> None:
        """Go on to the next tile; after the last one the animation stands."""
        if not self.playing:  # paused while the last picture was looked at
            return
        last = self.walk.tiles - 1
        if self.step >= last:
            self.pause()
        else:
            self.step = min(last, self.step + self._stride.value)

    def _sentence(self, walk: TileWalk) -> str:
        if walk.tiles == 0:
            return f"{self._name}: no two beads are within {walk.cutoff:g} Å"
        fewer = walk.baseline_bytes / walk.bytes_moved
        return (
            f"{self._name}: {walk.tiles} of {walk.candidates} tiles have a pair in reach, "
            f"{100 * walk.fill:.0f} % of their places are neighbours. The whole walk moves "
            f"{readable(walk.bytes_moved)}, {fewer:.0f} times less than the baseline."
        )

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)
