"""Work that goes on in a thread of its own while a person presses buttons.

One daemon thread does all the work: chunks while the status is "running", and requests (a new
temperature, another plan) between two chunks. It ends when there is nothing left to do and is
started again when it is needed, so that nothing waits in the background. Whatever is called from
outside only leaves a note for it and returns at once.

    idle --start--> running --pause--> paused --start--> running ...
    running --nobody touched it for long--> stopped --start--> running
    any --an exception--> failed --reset--> idle
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from flashschnet_lab.errors import UserError

IDLE, RUNNING, PAUSED, STOPPED, FAILED = "idle", "running", "paused", "stopped", "failed"
STATUSES = (IDLE, RUNNING, PAUSED, STOPPED, FAILED)
IDLE_SECONDS = 900.0
"""Closing a page does not stop its kernel: work that nobody touches for so long stops by itself."""
BREATH_SECONDS = 0.002
"""Between two chunks, so that other threads of the kernel get their turn."""

AFTER_FAILURE = "Press Reset to begin again."

Action = Callable[[], object]


class Live:
    """Does a piece of work again and again in a thread of its own.

    Args:
        work: does one chunk, best about a tenth of a second.
        changed: shows what has changed; called in the worker after every chunk and request, and
            once more whenever the status has changed.
        idle_seconds: stop when no method was called for so long.
        clock: returns seconds.

    Attributes:
        error: the exception that made it fail, or None.
        notice: one sentence for the person: what was refused, or why it stopped; or empty.
    """

    def __init__(
        self,
        work: Action,
        changed: Action,
        *,
        idle_seconds: float = IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work, self._changed = work, changed
        self._idle_seconds, self._clock = idle_seconds, clock
        self._state = threading.Condition()
        self._status, self._announced = IDLE, IDLE
        self._requests: deque[tuple[Action, str | None]] = deque()
        self._chunks: int | None = None  # left to do; None: until it is paused
        self._touched = clock()
        self._worker: threading.Thread | None = None
        self.error: Exception | None = None
        self.notice = ""

    @property
    def status(self) -> str:
        """One of `STATUSES`."""
        return self._status

    @property
    def is_worker(self) -> bool:
        """Whether the caller is the worker itself, as in what `changed` sets off."""
        return threading.current_thread() is self._worker

    @property
    def has_requests(self) -> bool:
        """Whether something was asked for that is not done yet."""
        return bool(self._requests)

    def start(self, chunks: int | None = None) -> None:
        """Run until it is paused, or for so many chunks.

        Raises:
            UserError: it has failed and was not reset.
        """
        if self._status == FAILED:
            raise UserError(self.notice)
        with self._state:
            self._chunks = chunks
            self._status, self.notice = RUNNING, ""
            self._wake()

    def step(self) -> None:
        """Do one chunk, then pause.

        Raises:
            UserError: as for `start`.
        """
        self.start(chunks=1)

    def pause(self) -> None:
        """Finish the present chunk and rest."""
        with self._state:
            if self._status == RUNNING:
                self._status = PAUSED
            self._wake()

    def request(self, action: Action) -> None:
        """Let the worker do something between two chunks.

        A `UserError` from it becomes the notice and the work goes on; any other exception makes
        it fail.
        """
        self._ask(action, None)

    def reset(self, action: Action) -> None:
        """Stop, let the worker do something, and be idle after it, also when it had failed."""
        with self._state:
            if self._status == RUNNING:
                self._status = PAUSED
        self._ask(action, IDLE)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the worker has nothing left to do, and return whether that is so.

        Args:
            seconds: at most so long; without it, for ever if it runs and nobody pauses it.

        Raises:
            Exception: what made it fail.
        """
        with self._state:
            done = self._state.wait_for(lambda: self._worker is None, seconds)
        if self.error is not None:
            raise self.error
        return done

    def close(self, seconds: float = 30.0) -> bool:
        """Stop, drop what was asked for, and return whether the thread has ended in time."""
        with self._state:
            self._requests.clear()
            if self._status in (RUNNING, PAUSED):
                self._status = STOPPED
            worker = self._worker
        if worker is not None and worker is not threading.current_thread():
            worker.join(seconds)
            return not worker.is_alive()
        return True

    def _ask(self, action: Action, then: str | None) -> None:
        with self._state:
            self.notice = ""
            self._requests.append((action, then))
            self._wake()

    def _wake(self) -> None:
        """Make sure that there is a worker; the caller holds the lock."""
        self._touched = self._clock()
        if self._worker is None:
            self._worker = threading.Thread(target=self._loop, name="flashschnet-live", daemon=True)
            self._worker.start()

    def _loop(self) -> None:
        while True:
            with self._state:
                asked = self._requests.popleft() if self._requests else None
                works = asked is None and self._status == RUNNING
                if asked is None and not works and self._announced == self._status:
                    self._worker = None
                    self._state.notify_all()
                    return
            try:
                if asked is not None:
                    self._answer(*asked)
                elif works:
                    self._one_chunk()
                self._announced = self._status
                self._changed()
            except Exception as error:
                self._fail(error)
            time.sleep(BREATH_SECONDS)

    def _answer(self, action: Action, then: str | None) -> None:
        try:
            action()
        except UserError as error:
            self.notice = str(error)
            return
        if then is not None:
            with self._state:
                self._status, self.error = then, None

    def _one_chunk(self) -> None:
        self._work()
        with self._state:
            if self._chunks is not None:
                self._chunks -= 1
            if self._status != RUNNING:
                return
            if self._chunks == 0:
                self._status = PAUSED
            elif self._clock() - self._touched > self._idle_seconds:
                self._status = STOPPED
                self.notice = (
                    f"stopped by itself: nobody touched it for {self._idle_seconds / 60:.0f} "
                    "minutes; press Start to go on"
                )

    def _fail(self, error: Exception) -> None:
        with self._state:
            self._status, self._announced, self.error = FAILED, FAILED, error
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            self.notice = f"{kind}{error}. {AFTER_FAILURE}"
        with suppress(Exception):  # showing it may be what fails; the error itself is kept
            self._changed()
