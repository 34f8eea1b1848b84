"""Long work behind a widget: one daemon thread at a time, and an error that is shown, not lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import torch

from flashschnet_lab.errors import UserError

Result = TypeVar("Result")


class Background:
    """Runs one function at a time beside the kernel, which stays free for other cells.

    `done` and `failed` are called in the thread of the work. They may set traits of widgets, but
    must not draw with pyplot or write to an `Output`.
    """

    def __init__(self) -> None:
        self._worker: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def busy(self) -> bool:
        """Whether work is under way."""
        return self._worker is not None and self._worker.is_alive()

    def start(
        self,
        work: Callable[[], Result],
        done: Callable[[Result], None],
        failed: Callable[[str], None],
    ) -> bool:
        """Begin work unless other work is under way, and return whether it began.

        Args:
            work: without arguments.
            done: gets its result.
            failed: gets one line for people if `work` or `done` raises.
        """
        cores = torch.get_num_threads()

        def run() -> None:
            torch.set_num_threads(cores)  # a new thread would take PyTorch's own default
            try:
                done(work())
            except Exception as error:  # a thread has nobody else to tell
                failed(in_words(error))

        with self._lock:
            if self.busy:
                return False
            self._worker = threading.Thread(target=run, daemon=True, name="flashschnet widget")
            self._worker.start()
        return True

    def join(self, timeout: float | None = None) -> None:
        """Wait until nothing is under way, or until `timeout` seconds have passed."""
        if self._worker is not None and self._worker is not threading.current_thread():
            self._worker.join(timeout)


def in_words(error: Exception) -> str:
    """Return an exception as one line; a `UserError`, or a refused plan, speaks for itself."""
    text = " ".join(str(error).split())
    return text if isinstance(error, (UserError, ValueError)) else f"{type(error).__name__}: {text}"
