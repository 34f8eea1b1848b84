"""Execute notebooks and keep what a reader can see without a kernel.

    python tests/notebooks/execute.py                 # all of notebooks/
    python tests/notebooks/execute.py notebooks/00_start.ipynb

Static figures and text stay. Live widgets are left out, state and views alike: without a running
kernel they are error messages.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
TIMEOUT_S = 600


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Run a notebook with `folder` as its working folder and return it, without widgets.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT_S,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return without_widgets(notebook)


def without_widgets(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Remove widgets, what was written to stderr, and the times of execution, in place."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [
                output
                for output in cell.outputs
                if WIDGET_VIEW not in output.get("data", {}) and output.get("name") != "stderr"
            ]
    return notebook


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("**/*.ipynb")):
        nbformat.write(execute(path, path.parent), path)
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
