"""Pieces of an HTML page: text, tables, pictures as inline SVG, cards, and the page itself."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from flashschnet_lab.analysis.pictures import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RASTER_DPI = 170
"""Of what is drawn cell by cell: as SVG, every cell would be a path."""
THEME = {
    INK: "currentColor",
    "#000000": "currentColor",
    "#e6eaee": "var(--rule)",
    "#9aa4ae": "var(--faint)",
    "#c9d8f0": "var(--band)",
}
"""Colours of pictures that follow the light or dark page."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""What the page may load: nothing that is not in the file."""

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: its name in links.
        title: heading.
        cards: finished HTML, laid out side by side where there is room.
        lead: a sentence or two below the heading, plain text.
    """

    anchor: str
    title: str
    cards: tuple[str, ...]
    lead: str = ""


def picture(figure: Figure, alt: str, caption: str = "", wide: bool = False) -> str:
    """Return a card with a figure as inline SVG.

    Args:
        figure: of matplotlib.
        alt: what it shows, for those who do not see it.
        caption: plain text below.
        wide: whether it takes the whole width.
    """
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    style = ' class="card wide"' if wide else ' class="card"'
    return f"<figure{style}>{_svg(figure, alt)}{below}</figure>"


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", wide: bool = False
) -> str:
    """Return a card with a table; cells are plain text, the first of each row is its heading."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    style = ' class="card wide"' if wide else ' class="card"'
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    heading = f"<thead><tr>{head}</tr></thead>" if any(columns) else ""
    return (
        f'<div{style}><div class="scroll" tabindex="0" role="region" '
        f'aria-label="{escape(caption or "table")}"><table>{title}{heading}'
        f"<tbody>{body}</tbody></table></div></div>"
    )


def note(text: str) -> str:
    """Return a card with a remark."""
    return f'<p class="card note wide">{escape(text)}</p>'


def tiles(facts: Iterable[tuple[str, str, str]]) -> str:
    """Return large numbers: for each its name, its value, and a remark."""
    return (
        '<dl class="tiles">'
        + "".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(remark)}</small></dd>"
            "</div>"
            for name, value, remark in facts
        )
        + "</dl>"
    )


def page(title: str, subtitle: str, top: str, sections: Sequence[Section], script: str) -> str:
    """Return the whole page.

    Args:
        title: plain text.
        subtitle: plain text.
        top: finished HTML below the title.
        sections: in order.
        script: JavaScript at its end.
    """
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    links = "".join(f'<a href="#{s.anchor}">{escape(s.title)}</a>' for s in sections)
    body = "".join(_section(section) for section in sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{style}
</style>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
<div class="bar"><nav aria-label="Sections">{links}</nav>
<button type="button" id="theme" aria-label="switch between light and dark">◐</button></div>
<h1>{escape(title)}</h1>
<p class="subtitle">{escape(subtitle)}</p>
{top}
</header>
<main id="main">
{body}
</main>
<footer>Made with FlashSchNet Lab. This file holds everything it shows and loads nothing.</footer>
<script>
{script}
</script>
</body>
</html>
"""


def _section(section: Section) -> str:
    lead = f'<p class="lead">{escape(section.lead)}</p>' if section.lead else ""
    cards = "\n".join(section.cards)
    return (
        f'<section id="{section.anchor}" aria-labelledby="{section.anchor}-title">'
        f'<h2 id="{section.anchor}-title">{escape(section.title)}</h2>{lead}'
        f'<div class="cards">{cards}</div></section>\n'
    )


def _svg(figure: Figure, alt: str) -> str:
    """Return a figure as an SVG element without addresses, in the colours of the page."""
    import matplotlib

    for axes in figure.axes:
        for mesh in axes.collections:
            if type(mesh).__name__ == "QuadMesh":
                mesh.set_rasterized(True)
        axes.patch.set_alpha(0.0)
    figure.patch.set_alpha(0.0)
    file = io.StringIO()
    # Text stays text: it can be read aloud and searched, and has the page's typeface.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": alt}):
        figure.savefig(file, format="svg", dpi=RASTER_DPI, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)  # inside HTML they go without saying
    text = text.replace("xlink:href", "href")
    for color, theme in THEME.items():
        text = text.replace(color, theme)
    view = re.search(r'viewBox="[^"]*"', text)
    assert view is not None, "matplotlib writes a viewBox"
    label = escape(alt)
    return re.sub(r"<svg[^>]*>", f'<svg {view[0]} role="img" aria-label="{label}">', text, count=1)
