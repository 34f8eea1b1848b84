"""Bars that say how far a long reading is, in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flashschnet_lab.analysis.blocks import Watch

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def bar(what: str, console: Console | None = None) -> Iterator[Watch]:
    """Show a bar while the body runs; yields what to hand on as `watch`.

        with bar("observing") as watch:
            table = observe("runs/chignolin-001", watch=watch)

    Args:
        what: what is done.
        console: default the terminal, or the cell of a notebook.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<20}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} conformations"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=None)

        def watch(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield watch
