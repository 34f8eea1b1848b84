"""A JupyterLab of its own and a page of a real browser on one of its notebooks."""

from __future__ import annotations

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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
TOKEN = "only-for-this-test"
BROKEN = ("not registered", "Failed to load model", "Error displaying widget", "Error rendering")
HARMLESS = ("favicon", "Service Worker", "service worker", "ResizeObserver loop", "GPU stall")
"""Parts of console errors that are the browser's or JupyterLab's own."""

# JavaScript, evaluated in the page. JupyterLab shows its application as window.jupyterapp.
NOTEBOOK = "window.jupyterapp.shell.currentWidget"
IDLE = f"{NOTEBOOK}?.sessionContext?.session?.kernel?.status === 'idle'"
CELLS = f"[...{NOTEBOOK}.content.model.cells].filter(cell => cell.type === 'code')"
ERRORS = f"""() => {CELLS}.flatMap(cell =>
    Array.from({{length: cell.outputs.length}}, (_, index) => cell.outputs.get(index).toJSON())
         .filter(output => output.output_type === 'error')
         .map(output => output.ename + ': ' + output.evalue))"""
RUN = """async code => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    await kernel.requestExecute({code, silent: true, store_history: false}).done;
}"""
SHOW_CELL = f"""async marker => {{
    const content = {NOTEBOOK}.content;
    const codes = content.widgets.map(
        cell => cell.model.type === 'code' ? cell.model.sharedModel.source.trim() : '');
    let place = codes.indexOf(marker);
    if (place < 0) place = codes.findIndex(code => code.includes(marker));
    if (place < 0) return false;
    content.deselectAll();
    content.activeCellIndex = place;
    await content.scrollToItem(place, 'start');
    return true;
}}"""
# NGL's stage can be reached from inside its view alone.
SPY = """
    window.molecules = this.stage.compList;
    window.seen = new Set();  // first x coordinate of the molecule, as it moves
    setInterval(() => window.seen.add(window.molecules[0]?.structure.atomStore.x[0]), 30);
"""


@contextmanager
def running_lab(folder: Path) -> Iterator[str]:
    """Start JupyterLab on copies of the notebooks without outputs; yield its address."""
    copy_notebooks(folder / "notebooks")
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
        address = f"http://127.0.0.1:{port}"
        _wait_for_server(server, f"{address}/api/status?token={TOKEN}", folder / "log")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # the server and the kernels that it started
        server.wait(timeout=30)


def copy_notebooks(folder: Path) -> None:
    """Copy all notebooks, without what they have printed and drawn."""
    shutil.copytree(NOTEBOOKS, folder, ignore=shutil.ignore_patterns("solutions", ".ipynb*"))
    for path in folder.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.update(outputs=[], execution_count=None)
        nbformat.write(notebook, path)


class LabPage:
    """One notebook in JupyterLab, as a person would use it.

    Args:
        page: of playwright.
        address: of the server.
        notebook: file name.
    """

    def __init__(self, page: Any, address: str, notebook: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        workspace = f"test-{uuid.uuid4().hex[:8]}"  # a new one restores no tabs
        page.goto(f"{address}/lab/workspaces/{workspace}/tree/{notebook}?token={TOKEN}")
        self.wait(f"() => window.jupyterapp && {IDLE}", 2)

    def wait(self, condition: str, minutes: float = 1.0) -> None:
        """Wait for a condition in JavaScript; by the clock, for a busy page draws no pictures."""
        self.page.wait_for_function(condition, polling=250, timeout=minutes * 60_000)

    def run_cells(self, *markers: str, minutes: float = 3.0) -> None:
        """Run, for each text, the code cell that is this text, or the first that contains it.

        The page stays at the last of them.
        """
        for marker in markers:
            assert self.page.evaluate(SHOW_CELL, marker), f"no cell has {marker!r}"
            self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
            self.wait(f"() => {IDLE}", minutes)
            assert self.page.evaluate(ERRORS) == []

    def run_code(self, code: str) -> None:
        """Run code in the kernel, beside the notebook."""
        self.page.evaluate(RUN, code)

    def spy_on(self, ngl_widget: str) -> None:
        """Count the positions that an nglview widget, named by its variable, shows."""
        self.run_code(f"{ngl_widget}._js({SPY!r})")
        self.wait("() => window.molecules?.length === 1", 2)

    def positions_seen(self) -> int:
        """Return how many different pictures the molecule has had since `spy_on`."""
        return int(self.page.evaluate("() => window.seen.size"))

    def moves(self, seconds: float = 60.0) -> bool:
        """Return whether the molecule shows new positions within a time."""
        before, end = self.positions_seen(), time.monotonic() + seconds
        while time.monotonic() < end:
            if self.positions_seen() > before + 2:
                return True
            time.sleep(0.25)
        return False

    def press(self, text: str) -> None:
        """Press the button of exactly this text."""
        self.page.locator(".jupyter-button:visible", has_text=text).first.click()

    def text(self, css: str) -> str:
        """Return the text of the first element, or nothing without one."""
        found = self.page.locator(css)
        return str(found.first.inner_text()) if found.count() else ""

    def check_health(self) -> None:
        """Fail on an error in a cell, a widget that is none, or an error in the console."""
        assert self.page.evaluate(ERRORS) == []
        assert self.page.get_by_text("Error displaying widget").count() == 0
        assert not [text for text in self.complaints if any(word in text for word in BROKEN)]
        errors = [text for text in self.complaints if text.startswith("error: ")]
        assert not [text for text in errors if not any(word in text for word in HARMLESS)]

    def _heard(self, message: Any) -> None:
        self.complaints.append(f"{message.type}: {message.text}")


def _wait_for_server(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Return when the server answers; fail with its log when it does not."""
    for _ in range(300):
        try:
            urllib.request.urlopen(address, timeout=2)
            return
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, log.read_text()
            time.sleep(0.2)
    raise AssertionError(log.read_text())
