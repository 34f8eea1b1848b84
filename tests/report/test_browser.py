"""The report in a real browser, from a file, without a network."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from flashschnet_lab.analysis.run_folder import open_run
from flashschnet_lab.proteins.library import embedded_protein
from flashschnet_lab.report.material import gather
from flashschnet_lab.report.write import write_report
from tests.browser import open_page
from tests.trajectories import shaken, write_run

pytestmark = pytest.mark.browser

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    protein = embedded_protein("chignolin").protein
    positions = shaken(protein, 120, 3, 1.0, seed=1)
    folder = write_run(
        tmp_path_factory.mktemp("browser") / "run",
        protein,
        positions,
        native=protein.positions,
        temperatures=[300.0] * 3,
    )
    write_report(gather(open_run(folder)), folder / "report.html")
    return folder / "report.html"


def colours(element: Any) -> int:
    """Return how many different colours an element shows."""
    picture = Image.open(io.BytesIO(element.screenshot())).convert("RGB")
    return len(picture.getcolors(maxcolors=1 << 24))


@pytest.mark.parametrize(("theme", "width"), [("light", 1300), ("dark", 390)])
def test_the_molecule_turns_and_plays(report: Path, pictures: Path, theme: str, width: int):
    with open_page(width, 1000, color_scheme=theme) as page:
        complaints, asked = list[str](), list[str]()
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.context.set_offline(True)
        page.goto(report.as_uri())
        canvas = page.locator("#molecule")
        page.wait_for_function("document.querySelector('#molecule').dataset.drawn > 0")
        page.screenshot(path=pictures / f"report_{theme}.png", full_page=True)
        assert colours(canvas) > 200, "the canvas is blank"

        def told(name: str) -> str:
            return str(canvas.get_attribute(f"data-{name}"))

        before, picture = told("turn"), canvas.screenshot()
        box = canvas.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2 + 90, box["y"] + box["height"] / 2 + 30)
        page.mouse.up()
        page.wait_for_function(f"document.querySelector('#molecule').dataset.turn != '{before}'")
        assert canvas.screenshot() != picture

        canvas.focus()
        before = told("turn")
        page.keyboard.press("ArrowLeft")
        page.wait_for_function(f"document.querySelector('#molecule').dataset.turn != '{before}'")

        assert told("frame") == "0"
        page.get_by_role("button", name="Play").click()
        page.wait_for_function("document.querySelector('#molecule').dataset.frame > 2")
        page.get_by_role("button", name="Pause").click()
        stopped = told("frame")
        page.wait_for_timeout(200)
        assert told("frame") == stopped
        canvas.focus()
        page.keyboard.press(" ")
        page.wait_for_function(f"document.querySelector('#molecule').dataset.frame > {stopped}")
        page.keyboard.press(" ")

        x = told("x")
        page.locator("#replica").select_option("2")
        page.wait_for_function(f"document.querySelector('#molecule').dataset.x != '{x}'")
        assert "replica 2" in page.locator("#says").inner_text()
        for style in ("beads", "tube"):
            drawn = told("drawn")
            page.locator("#style").select_option(style)
            page.wait_for_function(f"document.querySelector('#molecule').dataset.drawn != {drawn}")
            assert colours(canvas) > 200
        before = canvas.screenshot()
        page.locator("#native").check()
        page.wait_for_timeout(100)
        assert canvas.screenshot() != before

        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        ground = "getComputedStyle(document.body).backgroundColor"
        first = page.evaluate(ground)
        page.locator("#theme").click()
        assert page.evaluate(ground) != first
        assert complaints == []
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
