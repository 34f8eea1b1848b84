"""The tile explorer without a browser: sliders redraw, the animation ends, threads end."""

from __future__ import annotations

import io
import threading
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

import flashschnet_lab as fl  # noqa: E402
from flashschnet_lab.errors import UserError  # noqa: E402
from flashschnet_lab.measure.tile_walk import on_chip, walk_tiles  # noqa: E402
from flashschnet_lab.system import System  # noqa: E402
from flashschnet_lab.widgets import TileExplorer, tile_explorer  # noqa: E402
from flashschnet_lab.widgets.tile_picture import TilePicture, pair_kinds, readable  # noqa: E402


@pytest.fixture(scope="module")
def system() -> System:
    return fl.load_system("chignolin")


@pytest.fixture
def explorer(system: System, monkeypatch: pytest.MonkeyPatch) -> TileExplorer:
    monkeypatch.setattr(tile_explorer, "PICTURES_PER_SECOND", 1000.0)
    explorer = TileExplorer(system, cutoff=8.0)
    explorer.wait()
    return explorer


def pixels(explorer: TileExplorer) -> np.ndarray:
    """Return the picture that the browser would show, [height, width, 3]."""
    explorer.wait()
    image = Image.open(io.BytesIO(explorer._image.value)).convert("RGB")
    return np.asarray(image)


def words(figure: Any) -> str:
    """Return all that is written in a figure."""
    import matplotlib.text

    return " ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def drawing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tiles"]


def test_it_shows_itself_and_its_thread_ends(explorer: TileExplorer) -> None:
    assert "application/vnd.jupyter.widget-view+json" in explorer._repr_mimebundle_()
    assert len(np.unique(pixels(explorer).reshape(-1, 3), axis=0)) > 20
    assert not drawing_threads()
    assert "times less than the baseline" in explorer._note.value


def test_sliders_redraw(explorer: TileExplorer) -> None:
    first = pixels(explorer)
    explorer.show(step=5)
    second = pixels(explorer)
    explorer.show(cutoff=6.0)
    third = pixels(explorer)
    explorer.show(side=4)
    fourth = pixels(explorer)
    for before, after in ((first, second), (second, third), (third, fourth)):
        assert (before != after).any()
    assert (explorer.walk.side, explorer.walk.cutoff) == (4, 6.0)
    assert explorer._place.max == explorer.walk.tiles
    assert explorer._place.value == explorer.step + 1


def test_play_goes_over_all_tiles_and_stands(explorer: TileExplorer) -> None:
    button, seen = explorer._play, []
    explorer._place.observe(lambda change: seen.append(change["new"]), "value")
    explorer._stride.value = 4
    button.click()
    assert button.description == "Pause"
    explorer.wait()
    last = explorer.walk.tiles
    assert seen == [*range(5, last, 4), last] or seen == list(range(5, last + 1, 4))
    assert not explorer.playing and button.description == "Play"
    assert not drawing_threads()
    button.click()  # once more, from the beginning
    button.click()
    explorer.wait()
    assert explorer.step < last - 1 and not drawing_threads()


def test_a_slider_that_is_moved_while_it_plays_is_followed(explorer: TileExplorer) -> None:
    tiles = explorer.walk.tiles
    explorer.play()
    explorer.show(step=tiles - 2)
    explorer.wait()
    assert explorer.step == tiles - 1


def test_what_goes_wrong_is_shown(explorer: TileExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> bytes:
        raise RuntimeError("no ink")

    monkeypatch.setattr(TilePicture, "png", broken)
    explorer.play()
    explorer.wait()
    assert "no ink" in explorer._note.value and not explorer.playing
    monkeypatch.undo()
    explorer.show(step=2)  # it works again
    explorer.wait()
    assert "no ink" not in explorer._note.value


def test_its_widths_are_those_of_the_network(system: System, explorer: TileExplorer) -> None:
    network = system.model.network
    assert network is not None and explorer.walk.shape == network.shape
    total = on_chip(network.shape, 8).total / 1024
    assert f"on the chip: {total:.0f} of 484 KB, fits" in words(explorer.picture())
    explorer.show(side=32)
    assert "does not fit" in words(explorer.picture())


def test_a_static_picture_needs_no_browser(explorer: TileExplorer) -> None:
    figure = explorer.picture(3)
    assert f"tile 4 of {explorer.walk.tiles}:" in words(figure)
    assert len(figure.axes) == 4
    with pytest.raises(UserError, match="there are tiles 0 to"):
        explorer.picture(10_000)


def test_a_cutoff_without_pairs_is_said(system: System) -> None:
    lonely = system.with_positions(30.0 * system.protein.positions)
    explorer = TileExplorer(lonely, cutoff=5.0)
    explorer.play()
    explorer.wait()
    assert "no two beads are within 5" in explorer._note.value
    assert "nothing to do" in words(explorer.picture())


@pytest.mark.parametrize("side", [4, 8])
def test_pairs_are_drawn_as_what_they_are(system: System, side: int) -> None:
    walk = walk_tiles(system.protein.positions, side, 8.0)
    for step in (0, walk.tiles // 2, walk.tiles - 1):
        kinds, done = pair_kinds(walk, step), walk.pairs[:step].sum()
        assert (kinds == 4).sum() >= walk.pairs[step] > 0
        assert ((kinds == 3) & walk.near).sum() == 0
        assert ((kinds == 1) & ~walk.near).sum() == 0
        finished = np.triu(kinds == 2) | np.triu((kinds == 2).T)
        assert done <= finished.sum() <= done + walk.pairs[step]
    assert not (kinds == 1).any()


@pytest.mark.parametrize(
    ("amount", "text"), [(12, "12 B"), (4096, "4.1 kB"), (999_900, "1 MB"), (2.5e9, "2.5 GB")]
)
def test_amounts_are_written_with_a_unit(amount: float, text: str) -> None:
    assert readable(amount) == text


def test_bad_input_is_named(system: System) -> None:
    with pytest.raises(UserError, match="shows a system such as"):
        TileExplorer("chignolin")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="not 30"):
        TileExplorer(system, cutoff=30.0)
    with pytest.raises(UserError, match="beads a side, not 3"):
        TileExplorer(system, side=3)


def test_a_moment_passes_between_pictures(system: System) -> None:
    """An animation is watched: it must not run through at the speed of the processor."""
    explorer = TileExplorer(system)
    explorer.wait()
    begun, tiles = time.monotonic(), 4
    explorer.show(step=explorer.walk.tiles - tiles)
    explorer.wait()
    explorer.play()
    explorer.wait()
    assert time.monotonic() - begun >= (tiles - 1) / tile_explorer.PICTURES_PER_SECOND
