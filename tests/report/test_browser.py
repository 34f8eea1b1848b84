"""The report in a real browser, from a file, without a network."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flashschnet_lab.analysis.run_folder import open_run
from flashschnet_lab.proteins.embedded import embedded_protein
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


class ReportPage:
    """A report in the browser; what it tells of itself is in the canvas's data."""

    def __init__(self, page: Any) -> None:
        self.page, self.canvas = page, page.locator("#molecule")

    def told(self, name: str) -> str:
        return self.canvas.get_attribute(f"data-{name}") or ""

    def until(self, condition: Callable[[], object]) -> None:
        """Wait; playwright's own waiting evaluates text, which the page forbids."""
        for _ in range(300):
            if condition():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError("the page did not come so far in 15 seconds")

    def changes(self, name: str, action: Callable[[], object]) -> None:
        """Do something and wait until it shows."""
        before = self.told(name)
        action()
        self.until(lambda: self.told(name) != before)


@contextmanager
def opened(report: Path, width: int, **options: Any) -> Iterator[ReportPage]:
    """Open a report without a network; it may neither complain nor ask for anything."""
    with open_page(width, 1000, **options) as page:
        complaints, asked = list[str](), list[str]()
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.context.set_offline(True)
        page.goto(report.as_uri())
        shown = ReportPage(page)
        shown.until(lambda: shown.told("drawn"))
        assert colours(shown.canvas) > 200, "the canvas is blank"
        yield shown
        assert complaints == []
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_the_molecule_turns_and_plays(report: Path, pictures: Path):
    with opened(report, 1300) as shown:
        page, canvas = shown.page, shown.canvas
        page.screenshot(path=pictures / "report.png")
        picture = canvas.screenshot()
        box = canvas.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        shown.changes("turn", lambda: page.mouse.move(x + 90, y + 30))
        page.mouse.up()
        assert canvas.screenshot() != picture
        canvas.focus()
        shown.changes("turn", lambda: page.keyboard.press("ArrowLeft"))

        assert shown.told("frame") == "0"
        page.get_by_role("button", name="Play").click()
        shown.until(lambda: int(shown.told("frame")) > 2)
        page.get_by_role("button", name="Pause").click()
        stopped = shown.told("frame")
        page.wait_for_timeout(200)
        assert shown.told("frame") == stopped
        canvas.focus()
        shown.changes("frame", lambda: page.keyboard.press(" "))
        page.keyboard.press(" ")

        shown.changes("x", lambda: page.locator("#replica").select_option("2"))
        assert "replica 2" in page.locator("#says").inner_text()
        tube = canvas.screenshot()
        page.locator("#style").select_option("beads")
        shown.until(lambda: canvas.screenshot() != tube)
        beads = canvas.screenshot()
        page.locator("#native").check()
        shown.until(lambda: canvas.screenshot() != beads)


def test_on_a_telephone_in_the_dark(report: Path, pictures: Path):
    with opened(report, 390, color_scheme="dark") as shown:
        page = shown.page
        page.screenshot(path=pictures / "report_dark.png")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        ground = "getComputedStyle(document.body).backgroundColor"
        dark = page.evaluate(ground)
        page.locator("#theme").click()
        assert page.evaluate(ground) != dark
