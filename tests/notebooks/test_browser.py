"""Notebooks in a real JupyterLab and a real browser: widgets are drawn, move, stop and answer.

A notebook runner without a browser passes even when every view is an error message, so these tests
look at the page itself, at the coordinates inside NGL and at the pixels of its canvas.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

Open = Callable[[str], Any]
ROWS = "() => document.querySelectorAll('.jp-OutputArea .widget-html table tr').length"


def assert_drawn(canvas: Any) -> None:
    picture = Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")
    assert len(picture.getcolors(maxcolors=1 << 24)) > 200, "the canvas is blank"


def play(lab: Any, pictures: Path, name: str) -> None:
    """Start, pause, switch kernels and reset the simulator of a notebook."""
    lab.run_cells("%matplotlib", "import flashschnet_lab as fl", "system = fl.load_system(")
    lab.run_cells("simulator = Simulator(", "simulator")
    lab.spy_on("simulator.view.molecule.widget")
    canvas = lab.page.locator(".fs-simulator canvas").first
    canvas.scroll_into_view_if_needed()
    lab.page.screenshot(path=pictures / f"{name}_before.png")
    assert_drawn(canvas)

    lab.press("Start")
    lab.wait("() => document.querySelector('.fs-status').innerText === 'running'")
    assert lab.moves()
    lab.wait("() => Number(document.querySelector('.fs-steps').innerText) > 0")
    before = lab.text(".fs-plan")
    plans = lab.page.locator(".fs-simulator .widget-dropdown", has_text="kernel plan").first
    plans.locator("select").select_option("flash-float32")
    lab.wait("() => document.querySelector('.fs-plan').innerText === 'flash-float32'", 2)
    assert before not in ("", "flash-float32")
    lab.page.screenshot(path=pictures / f"{name}_running.png")

    lab.press("Pause")
    lab.wait("() => document.querySelector('.fs-status').innerText === 'paused'")
    lab.page.wait_for_timeout(1500)  # what was on its way arrives
    steps = lab.text(".fs-steps")
    assert not lab.moves(seconds=4.0)
    assert lab.text(".fs-steps") == steps

    lab.press("Reset")
    lab.wait("() => document.querySelector('.fs-steps').innerText === '0'")
    lab.page.screenshot(path=pictures / f"{name}_reset.png")
    lab.check_health()


def test_the_first_notebook(open_notebook: Open, pictures: Path) -> None:
    play(open_notebook("00_start.ipynb"), pictures, "00")


def test_the_live_simulation(open_notebook: Open, pictures: Path) -> None:
    play(open_notebook("09_interactive_simulation.ipynb"), pictures, "09")


@pytest.mark.parametrize(
    ("name", "also"),
    [("05_flash_message_passing", ("KernelSwitches, ",)), ("08_all_together", ())],
)
def test_switches_change_the_plan_and_add_rows(
    open_notebook: Open, pictures: Path, name: str, also: tuple[str, ...]
) -> None:
    lab = open_notebook(f"{name}.ipynb")
    lab.run_cells("%matplotlib", *also, "system = fl.load_system(", "switches = KernelSwitches(")
    plan = lab.page.get_by_text(re.compile("^plan "))
    assert plan.first.inner_text() == "plan exact"
    before = lab.page.evaluate(ROWS)

    buttons = lab.page.locator(".widget-toggle-buttons button")
    buttons.filter(has_text=re.compile(r"^\s*flash-float32\s*$")).first.click()
    lab.page.get_by_text("plan flash-float32").first.wait_for(timeout=30_000)
    lab.press("Run")
    lab.wait(f"() => ({ROWS})() > {before} + 1", 4)
    lab.press("Explain")
    lab.page.locator(".widget-html pre", has_text="message_passing").first.wait_for(timeout=30_000)
    lab.page.screenshot(path=pictures / f"{name[:2]}_switches.png", full_page=True)
    lab.check_health()
