"""What is logged of requests that fail: unexpected exceptions once, with their traceback; bad credentials seldom."""

import logging
import threading
import time
from collections.abc import Callable

from headgate_processors.receiver.counters import Counters

MAX_KINDS = 256
STRANGERS_EVERY_S = 60.0


class Faults:
    """Remembers which faults were logged, by type and place, so that a fault in a loop fills no log.

    At most `MAX_KINDS` kinds are logged; every fault is counted.
    """

    def __init__(self, counters: Counters, logger: logging.Logger) -> None:
        self._counters = counters
        self._logger = logger
        self._lock = threading.Lock()
        self._seen: set[tuple[str, str, int]] = set()

    def record(self, error: BaseException, *, doing: str) -> None:
        """Count `error`, and log it when this kind was not logged before."""
        self._counters.add("headgate_receiver_faults_total", type=type(error).__name__)
        if self._is_first(_kind(error)):
            self._logger.error("unexpected %s while %s", type(error).__name__, doing, exc_info=error)

    def _is_first(self, kind: tuple[str, str, int]) -> bool:
        with self._lock:
            if kind in self._seen or len(self._seen) >= MAX_KINDS:
                return False
            self._seen.add(kind)
            return True


class Strangers:
    """Requests that were refused for who sent them: one line a minute, however many there are."""

    def __init__(self, logger: logging.Logger, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._logger, self._clock_s = logger, clock_s
        self._lock = threading.Lock()
        self._count = 0
        self._told_s: float | None = None

    def record(self, error: BaseException, *, doing: str) -> None:
        """Count one, and log how many there were when it is time to."""
        with self._lock:
            self._count += 1
            now_s = self._clock_s()
            if self._told_s is not None and now_s - self._told_s < STRANGERS_EVERY_S:
                return
            count, self._count, self._told_s = self._count, 0, now_s
        self._logger.warning("%d requests refused, the last while %s: %s", count, doing, error)


def _kind(error: BaseException) -> tuple[str, str, int]:
    """The type of an exception and the file and line that raised it."""
    trace = error.__traceback__
    if trace is None:
        return type(error).__name__, "", 0
    while trace.tb_next is not None:
        trace = trace.tb_next
    return type(error).__name__, trace.tb_frame.f_code.co_filename, trace.tb_lineno
