"""`flashschnet lab`: the notebooks, copied into a folder of the user's, in JupyterLab."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from flashschnet_lab.errors import UserError
from flashschnet_lab.launcher import write_cards
from flashschnet_lab.paths import notebooks_folder

DEFAULT_FOLDER = Path("flashschnet-notebooks")
FIRST_NOTEBOOK = "00_start.ipynb"
COPIED = {".ipynb", ".md", ".py"}
HIDDEN = {".ipynb_checkpoints", "__pycache__"}
SOLUTIONS = "solutions"
RECORD = ".flashschnet-copied.json"
"""Beside the copies: the SHA-256 of each notebook as it was copied, {"00_start.ipynb": "..."}."""


def start_lab(
    folder: Path = DEFAULT_FOLDER,
    open_browser: bool = True,
    port: int | None = None,
    solutions: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Copy the notebooks and run JupyterLab on them until it is stopped.

    Args:
        folder: where the copies go; made if it is missing.
        open_browser: open the first notebook; otherwise only name its address.
        port: of the server; without it the first free one from 8888.
        solutions: copy those of the puzzles too.
        say: takes each line for the person, the address among them.

    Raises:
        UserError: JupyterLab is missing, the folder cannot be written, or the port is taken.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise UserError("JupyterLab is not installed; get it with: pip install jupyterlab")
    if port is not None:
        _check_port(port)
    for line in copy_notebooks(folder, solutions):
        say(line)
    write_cards(folder)
    from jupyterlab.labapp import LabApp

    os.chdir(folder)  # where the launcher looks for cards
    LabApp.launch_instance(argv=lab_arguments(Path.cwd(), open_browser, port))


def lab_arguments(folder: Path, open_browser: bool, port: int | None) -> list[str]:
    """Return JupyterLab's command line: the folder as its root, the first notebook open."""
    arguments = [
        f"--ServerApp.root_dir={folder.resolve()}",
        f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK}",
    ]
    if not open_browser:
        arguments.append("--no-browser")
    if port is not None:
        arguments += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--allow-root")  # in a container everybody is root
    return arguments


def copy_notebooks(folder: Path, solutions: bool = False) -> list[str]:
    """Bring the notebooks in a folder up to date without touching what a person has changed.

    A missing notebook is copied; an unchanged copy of an older version is replaced; a changed one
    stays, and a newer version is written beside it as NAME.new.ipynb (.md, .py).

    Args:
        folder: where the copies go; made if it is missing.
        solutions: copy those of the puzzles too.

    Returns:
        What was done, one line for each notebook that was copied or kept back.

    Raises:
        UserError: the folder cannot be written.
    """
    shipped = notebooks_folder()
    names = sorted(
        path.relative_to(shipped).as_posix()
        for path in shipped.rglob("*")
        if path.suffix in COPIED and not HIDDEN.intersection(path.parts)
        if solutions or SOLUTIONS not in path.relative_to(shipped).parts
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        copied = _read_record(folder)
        lines = [_copy(shipped / name, folder, name, copied) for name in names]
        (folder / RECORD).write_text(json.dumps(copied, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise UserError(
            f"The notebooks cannot be copied to {folder} ({error.strerror or error}): "
            "name another folder."
        ) from error
    return [line for line in lines if line]


def _check_port(port: int) -> None:
    """Raise a `UserError` unless a server can be opened on this port of this computer."""
    try:
        with socket.create_server(("127.0.0.1", port)):
            return
    except (OSError, OverflowError) as error:
        raise UserError(f"Port {port} cannot be used ({error}): choose another one.") from error


def _copy(source: Path, folder: Path, name: str, copied: dict[str, str]) -> str:
    """Copy one notebook where it may go; note it in `copied`; return a line, or "" for nothing."""
    target, new = folder / name, _digest(source)
    present = _digest(target)
    if present == new or (present and copied.get(name) == new):
        # Already up to date, or changed by its owner since this very version was copied.
        copied[name] = new
        return ""
    if present in ("", copied.get(name)):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        copied[name] = new
        return f"{name}: {'updated' if present else 'copied'}"
    beside = Path(name).with_suffix(f".new{Path(name).suffix}").as_posix()
    if _digest(folder / beside) not in ("", new, copied.get(beside)):
        return f"{name}: a newer version waits until you move or delete {beside}"
    shutil.copyfile(source, folder / beside)
    copied[name] = copied[beside] = new
    return f"{name}: yours is kept; the newer version is {beside}"


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file, or "" without one."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _read_record(folder: Path) -> dict[str, str]:
    """Return what was copied; nothing if the record is missing or damaged.

    Without a record every notebook counts as changed, so that none is overwritten.
    """
    try:
        record = json.loads((folder / RECORD).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return {str(name): str(digest) for name, digest in dict(record).items()}
