"""Cards in JupyterLab's launcher that open the notebooks.

JupyterLab's launcher shows the cards that jupyter_app_launcher finds in the server's own folder, so
they are there in a folder that `flashschnet lab` made, and nowhere else.
"""

from __future__ import annotations

import json
from pathlib import Path

FILE = "jp_app_launcher_flashschnet.yaml"
CATALOG = "FlashSchNet Lab"
CARDS = {
    "00_start.ipynb": ("Start", "A protein in motion: the first notebook"),
    "09_interactive_simulation.ipynb": ("Simulator", "Pull, heat and fold a protein, live"),
    "08_all_together.ipynb": ("Kernel switches", "What each kernel does to time and memory"),
    "puzzles/01_distance.ipynb": ("Puzzles", "Write the kernels yourself"),
}
"""File of the folder -> title and description of its card."""


def write_cards(folder: Path) -> None:
    """Write the cards of the notebooks that a folder holds; an unchanged file is left alone.

    Args:
        folder: the root of the Jupyter server.
    """
    text = cards_text([name for name in CARDS if (folder / name).is_file()])
    path = folder / FILE
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def cards_text(names: list[str]) -> str:
    """Return the launcher's configuration; JSON is YAML."""
    cards = []
    for name in names:
        title, description = CARDS[name]
        opening = {"label": title, "id": "docmanager:open", "args": {"path": name}}
        cards.append(
            {
                "title": title,
                "description": description,
                "catalog": CATALOG,
                "type": "jupyterlab-commands",
                "source": [opening],
            }
        )
    return json.dumps(cards, indent=1) + "\n"
