"""How many requests, and how many bytes of them, a receiver holds at once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from headgate_processors.errors import OverloadError


class Admission:
    """Bounds the requests that are held, the bytes that they hold, and those that are worked on.

    A request first takes a place, at once or never; then reserves the bytes it holds, at once or never;
    then waits for its turn, for `wait_s` at most. Each refusal is an `OverloadError`.
    """

    def __init__(self, *, places: int, running: int, wait_s: float, max_bytes: int) -> None:
        self._places = threading.BoundedSemaphore(places)
        self._running = threading.BoundedSemaphore(running)
        self._wait_s = wait_s
        self._max_bytes = max_bytes
        self._held_bytes = 0
        self._lock = threading.Lock()

    @contextmanager
    def place(self) -> Iterator["Place"]:
        """A place for one request; what it reserved is given back at the end."""
        if not self._places.acquire(blocking=False):
            message = "the receiver holds as many requests as it may"
            raise OverloadError(message)
        place = Place(self._hold)
        try:
            yield place
        finally:
            self._hold(-place.held_bytes)
            self._places.release()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The right to work; blocks for `wait_s` at most."""
        if not self._running.acquire(timeout=self._wait_s):
            message = f"the receiver was busy for {self._wait_s:g} s"
            raise OverloadError(message)
        try:
            yield
        finally:
            self._running.release()

    def _hold(self, size: int) -> None:
        with self._lock:
            if size > 0 and self._held_bytes + size > self._max_bytes:
                message = f"the receiver holds {self._held_bytes} bytes of requests, {self._max_bytes} at most"
                raise OverloadError(message)
            self._held_bytes += size


class Place:
    """One request's place: knows how many bytes the request holds."""

    def __init__(self, hold: Callable[[int], None]) -> None:
        self._hold = hold
        self.held_bytes = 0

    def reserve(self, size: int) -> None:
        """Hold `size` more bytes.

        Raises:
            OverloadError: all requests together hold as much as they may.
        """
        self._hold(size)
        self.held_bytes += size
