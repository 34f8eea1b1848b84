"""The first notebook in a real JupyterLab and a real browser: the molecule is there, and moves.

A notebook runner without a browser passes even when every view is an error message, so one test
looks at the page itself, at the coordinates inside NGL and at the pixels of its canvas.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
if importlib.util.find_spec("nglview") is None:  # importing it here would be too early
    pytest.skip("nglview is not installed", allow_module_level=True)
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--use-gl=angle",  # WebGL drawn by the processor: no GPU and no display are needed
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOKEN = "only-for-this-test"

# JavaScript, evaluated in the page. JupyterLab shows its application as window.jupyterapp.
NOTEBOOK = "window.jupyterapp.shell.currentWidget"
KERNEL_IS_IDLE = f"{NOTEBOOK}?.sessionContext?.session?.kernel?.status === 'idle'"
CELLS = f"[...{NOTEBOOK}.content.model.cells].filter(cell => cell.type === 'code')"
ALL_HAVE_RUN = f"() => {CELLS}.every(cell => cell.executionCount !== null) && {KERNEL_IS_IDLE}"
ERRORS = f"""() => {CELLS}.flatMap(cell =>
    Array.from({{length: cell.outputs.length}}, (_, index) => cell.outputs.get(index).toJSON())
         .filter(output => output.output_type === 'error')
         .map(output => output.ename + ': ' + output.evalue))"""
POSITIONS_SEEN = "() => window.seen.size"
RUN_LIVE_CELL = f"""() => {{
    const cells = {NOTEBOOK}.content;
    cells.activeCellIndex = cells.widgets.findIndex(
        cell => cell.model.type === 'code' && cell.model.sharedModel.source.includes('.follow('));
    return window.jupyterapp.commands.execute('notebook:run-cell');
}}"""
# Put into the notebook behind its view: NGL's stage can be reached from inside the view alone.
SPY = """movie.widget._js('''
    window.molecules = this.stage.compList;
    window.seen = new Set();  // first x coordinate of the molecule, as it moves
    setInterval(() => window.seen.add(window.molecules[0]?.structure.atomStore.x[0]), 30);
''')"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A JupyterLab of its own on a copy of the notebooks; yields its address."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(NOTEBOOKS, folder / "notebooks")
    add_spy(folder / "notebooks" / "00_start.ipynb")
    settings = folder / "config/lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--expose-app-in-browser", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}/notebooks"]
    own = {
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(
            command,
            env=dict(os.environ, **own),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for_server(server, f"http://127.0.0.1:{port}/api/status?token={TOKEN}", folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # the server and the kernels that it started
        server.wait(timeout=30)


def add_spy(path: Path) -> None:
    """Add a cell that watches the molecule after the one that opens its view."""
    notebook = nbformat.read(path, as_version=4)
    places = [n for n, cell in enumerate(notebook.cells) if "TrajectoryView(" in cell.source]
    notebook.cells.insert(places[0] + 1, nbformat.v4.new_code_cell(SPY))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    nbformat.write(notebook, path)


def wait_for_server(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Return when the server answers; fail with its log when it does not."""
    for _ in range(300):
        try:
            urllib.request.urlopen(address, timeout=2)
            return
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, log.read_text()
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")


@pytest.fixture
def page() -> Iterator[Any]:
    """An empty page; what the browser complains about is collected in `page.complaints`."""
    browser_path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser_path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the path")
    with playwright.sync_playwright() as runner:
        browser = runner.chromium.launch(executable_path=browser_path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        yield page
        browser.close()


def wait(page: Any, condition: str, minutes: float) -> None:
    """Wait for a JavaScript condition; asked by the clock, for a busy page draws no pictures."""
    page.wait_for_function(condition, polling=250, timeout=minutes * 60_000)


def test_the_molecule_moves(lab: str, page: Any, tmp_path: Path) -> None:
    workspace = f"test-{uuid.uuid4().hex[:8]}"  # a new one restores no tabs
    page.goto(f"{lab}/lab/workspaces/{workspace}/tree/00_start.ipynb?token={TOKEN}")
    wait(page, f"() => window.jupyterapp && {KERNEL_IS_IDLE}", 1)

    page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    wait(page, ALL_HAVE_RUN, 5)
    assert page.evaluate(ERRORS) == []

    canvas = page.locator(".jp-OutputArea canvas").first
    canvas.scroll_into_view_if_needed()
    wait(page, "() => window.molecules?.length === 1", 1)
    picture = Image.open(io.BytesIO(canvas.screenshot(path=tmp_path / "molecule.png")))
    colors = picture.convert("RGB").getcolors(maxcolors=1 << 24)
    assert len(colors) > 200, "the canvas is blank"

    # The run was perhaps over before the browser had loaded the molecule: run its cell once more.
    before = page.evaluate(POSITIONS_SEEN)
    page.evaluate(RUN_LIVE_CELL)
    wait(page, f"() => ({POSITIONS_SEEN})() > {before} + 3", 2)
    wait(page, ALL_HAVE_RUN, 2)
    assert page.evaluate(ERRORS) == []

    before = page.evaluate(POSITIONS_SEEN)
    page.locator(".widget-play button:visible").first.click()
    wait(page, f"() => ({POSITIONS_SEEN})() > {before} + 3", 1)
    page.screenshot(path=tmp_path / "page.png")

    broken = ("not registered", "Failed to load model", "Error displaying widget")
    assert not [text for text in page.complaints if any(word in text for word in broken)]
    assert page.get_by_text("Error displaying widget").count() == 0
