"""nglview asks the browser for the JavaScript that is installed: a guard without a browser."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from flashschnet_lab.errors import UserError
from flashschnet_lab.widgets import frontend

if importlib.util.find_spec("nglview") is None:  # importing it here would be too early
    pytest.skip("nglview is not installed", allow_module_level=True)


def in_a_new_python(code: str) -> str:
    """Run code in a process of its own, because nglview is imported once for all."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def install(folder: Path, version: str) -> Path:
    """Write the part of a JupyterLab extension that names its version; return the search folder."""
    package = folder / frontend.EXTENSION / "package.json"
    package.parent.mkdir(parents=True)
    package.write_text(json.dumps({"name": frontend.EXTENSION, "version": version}))
    return folder


def test_nglview_asks_for_what_is_installed() -> None:
    shipped = frontend.shipped_version()
    if shipped is None:
        pytest.skip("nglview's JupyterLab extension is not installed in this environment")
    asked = in_a_new_python(
        "from flashschnet_lab.widgets.frontend import load_nglview\n"
        "nglview = load_nglview()\n"
        "print(nglview.NGLWidget._model_module_version.default_value)"
    )
    assert frontend.satisfies(shipped, asked)


def test_an_early_import_works_or_is_named() -> None:
    """Without the remedy nglview either needs none, or the person is told what to do."""
    in_a_new_python(
        "import nglview\n"
        "from flashschnet_lab.errors import UserError\n"
        "from flashschnet_lab.widgets.frontend import load_nglview, satisfies, shipped_version\n"
        "asked = nglview.NGLWidget._model_module_version.default_value\n"
        "shipped = shipped_version()\n"
        "try:\n"
        "    load_nglview()\n"
        "    assert shipped is None or satisfies(shipped, asked), (shipped, asked)\n"
        "except UserError as error:\n"
        "    assert not satisfies(shipped, asked) and 'Restart the kernel' in str(error)\n"
    )


def test_a_fixed_nglview_is_left_alone() -> None:
    """When the installed extension is what nglview asks for, its own version module stays."""
    origin = in_a_new_python(
        "from flashschnet_lab.widgets import frontend\n"
        "frontend.shipped_version = lambda: frontend.asked_version()\n"
        "nglview = frontend.load_nglview()\n"
        "import nglview._frontend\n"
        "print(nglview._frontend.__file__)"
    )
    assert origin.endswith("_frontend.py")


def test_the_guard_refuses_a_mismatch() -> None:
    trait = SimpleNamespace(default_value="4.0")
    nglview = SimpleNamespace(NGLWidget=SimpleNamespace(_model_module_version=trait))
    frontend.check_frontend(nglview, "4.0.2")
    frontend.check_frontend(nglview, None)
    with pytest.raises(UserError, match="asks the browser for version 4.0 .* but 3.1.5"):
        frontend.check_frontend(nglview, "3.1.5")


def test_the_first_folder_with_the_extension_counts(tmp_path: Path) -> None:
    user, system = install(tmp_path / "user", "3.1.5"), install(tmp_path / "system", "3.0.0")
    assert frontend.shipped_version([tmp_path / "none", user, system]) == "3.1.5"
    assert frontend.shipped_version([tmp_path / "none"]) is None


@pytest.mark.parametrize(
    ("shipped", "asked", "expected"),
    [
        ("3.1.5", "3.1.5", True),
        ("4.0.1", "4.0", True),
        ("3.1.5", "4.0", False),
        ("4.01.0", "4.0", False),
        ("3.1.5", "", False),
    ],
)
def test_versions(shipped: str, asked: str, expected: bool) -> None:
    assert frontend.satisfies(shipped, asked) is expected
