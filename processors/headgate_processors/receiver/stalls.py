"""Ends requests whose sender stopped sending: a thread that waits for them would wait for ever."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOGGER = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.25


class StallWatch:
    """Calls `end` of what is watched for longer than `timeout_s`, from one thread of its own."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._watched: dict[int, tuple[float, Callable[[], object]]] = {}
        self._next_id = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headgate-stall-watch", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def close(self) -> None:
        """Stop watching; what is still watched is left alone."""
        self._closing.set()
        self._thread.join()

    @contextmanager
    def watching(self, end: Callable[[], object], *, timeout_s: float | None = None) -> Iterator[None]:
        """Call `end` when the block takes longer than `timeout_s`, or than the timeout of all."""
        allowed_s = self._timeout_s if timeout_s is None else timeout_s
        with self._lock:
            self._next_id += 1
            key = self._next_id
            self._watched[key] = (time.monotonic() + allowed_s, end)
        try:
            yield
        finally:
            with self._lock:
                self._watched.pop(key, None)

    def end_oldest(self, *, older_than_s: float) -> bool:
        """Call `end` of what has been watched for longest, if that is longer than a time; says whether it did."""
        now = time.monotonic()
        with self._lock:
            oldest = next(iter(self._watched.items()), None)
            if oldest is None or oldest[1][0] - self._timeout_s + older_than_s > now:
                return False
            del self._watched[oldest[0]]
        oldest[1][1]()
        return True

    def _run(self) -> None:
        while not self._closing.wait(min(_LOOK_EVERY_S, self._timeout_s)):
            for end in self._overdue():
                try:
                    end()
                except Exception:  # the edge of a worker loop: without it nothing would be ended again
                    _LOGGER.exception("what took too long could not be ended")

    def _overdue(self) -> list[Callable[[], object]]:
        """What is overdue, each once."""
        now = time.monotonic()
        with self._lock:
            keys = [key for key, (deadline, _) in self._watched.items() if deadline <= now]
            return [self._watched.pop(key)[1] for key in keys]
