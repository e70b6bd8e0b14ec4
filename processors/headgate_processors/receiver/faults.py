"""Unexpected exceptions: counted each time, logged with their traceback once."""

import logging
import threading

from headgate_processors.receiver.counters import Counters

MAX_KINDS = 256


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


def _kind(error: BaseException) -> tuple[str, str, int]:
    """The type of an exception and the file and line that raised it."""
    trace = error.__traceback__
    if trace is None:
        return type(error).__name__, "", 0
    while trace.tb_next is not None:
        trace = trace.tb_next
    return type(error).__name__, trace.tb_frame.f_code.co_filename, trace.tb_lineno
