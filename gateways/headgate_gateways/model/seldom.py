"""Says what happens again and again once a second, with how often it was."""

import time
from collections.abc import Callable
from dataclasses import dataclass

EVERY_NS = 1_000_000_000


@dataclass(slots=True)
class Seldom:
    """Counts, and now and then has the count told. For one thread."""

    clock: Callable[[], int] = time.monotonic_ns
    _count: int = 0
    _told_ns: int | None = None

    def count(self) -> int | None:
        """One more; how many there were since it was told last, when it is time to tell."""
        self._count += 1
        now = self.clock()
        if self._told_ns is not None and now - self._told_ns < EVERY_NS:
            return None
        told, self._count, self._told_ns = self._count, 0, now
        return told
