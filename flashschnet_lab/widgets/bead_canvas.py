"""The molecule on a flat canvas that Jupyter's view and the report draw with."""

from __future__ import annotations

from pathlib import Path

from flashschnet_lab.analysis.pictures import CHAIN_COLORS
from flashschnet_lab.proteins.protein import Protein

BEAD_CANVAS = Path(__file__).with_name("bead_canvas.js").read_text(encoding="utf-8")
"""JavaScript: the function `beadCanvas(canvas, molecule, look)`."""

RADII = {"CA": 1.1, "CB": 1.0}
BACKBONE_RADIUS = 0.6  # angstrom: N, C and O of the backbone


def bead_radii(protein: Protein) -> list[float]:
    """Return the radius of every bead as it is drawn, angstrom."""
    return [RADII.get(name, BACKBONE_RADIUS) for name in protein.bead_names]


def chain_colors(protein: Protein) -> list[str]:
    """Return a colour for every bead, from the N terminus to the C terminus."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    colormap = LinearSegmentedColormap.from_list("chain", CHAIN_COLORS)
    last = max(1, len(protein.residues) - 1)
    return [to_hex(colormap(residue / last)) for residue in protein.residue_of_bead]
