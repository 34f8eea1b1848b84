"""Load nglview so that the browser finds its part of it.

A widget has two halves: a Python class, and a JavaScript class in a JupyterLab extension. The
Python half tells the browser which version of the other half it wants. nglview 4.0.1 from PyPI
wants 4.0 and ships 3.1.5, so every view is an error message in the browser, while Python, and
every tool that runs notebooks without a browser, sees nothing wrong.

The remedy is to let nglview ask for what it ships. It takes the version from its one-line module
`nglview._frontend`; before nglview is first imported, `load_nglview` puts a module in that place
which names the installed extension's version. When an nglview appears that asks for what it
ships, nothing is done any more.
"""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from flashschnet_lab.errors import UserError

EXTENSION = "nglview-js-widgets"


def load_nglview() -> Any:
    """Import nglview, mended if it needs it, and return the module.

    Raises:
        UserError: nglview is not installed, or was imported before, unmended.
    """
    shipped = shipped_version()
    if "nglview" not in sys.modules:
        asked = asked_version()
        if shipped is not None and not satisfies(shipped, asked):
            remedy: Any = ModuleType("nglview._frontend")
            remedy.__frontend_version__ = shipped
            sys.modules["nglview._frontend"] = remedy
    import nglview

    check_frontend(nglview, shipped)
    return nglview


def check_frontend(nglview: Any, shipped: str | None) -> None:
    """Make sure that nglview asks the browser for the version that is installed.

    Args:
        nglview: the imported module.
        shipped: version of the installed extension; None, as where Jupyter runs in another
            environment than this Python, leaves nothing to compare.

    Raises:
        UserError: its views would be error messages.
    """
    asked = nglview.NGLWidget._model_module_version.default_value
    if shipped is not None and not satisfies(shipped, asked):
        raise UserError(
            f"nglview was imported too early: it asks the browser for version {asked} of "
            f"{EXTENSION}, but {shipped} is installed. Restart the kernel and get nglview from "
            "flashschnet_lab.widgets.frontend.load_nglview() instead of importing it."
        )


def shipped_version(folders: Iterable[str | Path] | None = None) -> str | None:
    """Return the version of nglview's installed JupyterLab extension, or None without one.

    Args:
        folders: where to look, first hit wins; without it the folders that JupyterLab searches:
            the user's, the environment's (`sys.prefix`) and the system's.
    """
    if folders is None:
        from jupyter_core.paths import jupyter_path

        folders = jupyter_path("labextensions")
    for folder in folders:
        package = Path(folder) / EXTENSION / "package.json"
        if package.is_file():
            return str(json.loads(package.read_text(encoding="utf-8"))["version"])
    return None


def satisfies(shipped: str, asked: str) -> bool:
    """Return whether a version is one that is asked for: "4.0" takes 4.0 and every 4.0.x.

    Ranges such as "^4.0" count as not satisfied; the remedy then asks for the exact version, which
    is right as well.
    """
    return shipped == asked or shipped.startswith(f"{asked}.")


def asked_version() -> str:
    """Return the version that nglview would ask for, without importing nglview.

    An empty string stands for an nglview that keeps its version elsewhere.

    Raises:
        UserError: nglview is not installed.
    """
    package = importlib.util.find_spec("nglview")
    if package is None or package.origin is None:
        raise UserError("nglview is not installed; get it with: pip install nglview")
    source = Path(package.origin).with_name("_frontend.py")
    if not source.is_file():
        return ""
    return str(runpy.run_path(str(source)).get("__frontend_version__", ""))
