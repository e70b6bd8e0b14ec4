"""A thread that does one thing again and again until it is told to end."""

import logging
import threading
from collections.abc import Callable

_LOG = logging.getLogger(__name__)


class Loop:
    """Calls `action` every `interval_s`, and at once after `soon`. An error is logged and told to `on_error`."""

    def __init__(
        self, *, name: str, interval_s: float, action: Callable[[], None], on_error: Callable[[Exception], None]
    ) -> None:
        self._interval_s, self._action, self._on_error = interval_s, action, on_error
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def soon(self) -> None:
        """Call the action without waiting for the interval."""
        self._wake.set()

    @property
    def is_ending(self) -> bool:
        """Whether the loop was told to end; a long action looks at it between steps."""
        return self._ending.is_set()

    def end(self) -> None:
        """End the loop and wait for an action under way; safe to call twice, or before `start`."""
        self._ending.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._wake.wait(self._interval_s)
            self._wake.clear()
            if self._ending.is_set():
                return
            try:
                self._action()
            except Exception as error:  # noqa: BLE001 -- edge of a worker: it goes on, and says what failed
                _LOG.error("%s failed: %s", self._thread.name, error)
                self._on_error(error)
