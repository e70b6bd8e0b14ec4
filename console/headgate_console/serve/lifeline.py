"""The child's side of a supervised process: its settings, what it tells, and its end when the parent ends.

The parent writes the settings to the child's stdin as one line of JSON and keeps that pipe open: its end
means that the parent is gone. The child tells what happens on its stdout, one JSON object a line.
"""

import json
import logging
import os
import signal
import sys
import threading
from types import FrameType

from headgate_console.settings import Settings
from headgate_processors.workers.lifeline import die_with_parent

ORPHANED = 70
GIVES_WAY = 5
"""How much nicer than control a process is that takes in or derives, in the words of nice(2)."""


class Lifeline:
    """A child's tie to its supervisor. Make it first thing in the main thread.

    One that `gives_way` leaves the processor to others, such as control, on whose stops somebody waits, and to agents.
    """

    def __init__(self, *, gives_way: bool = False) -> None:
        sys.argv[0] = "headgate up"
        if gives_way:
            os.nice(GIVES_WAY)
        self.stopping = threading.Event()
        self._telling = threading.Lock()
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        die_with_parent()
        self.settings = Settings(**json.loads(sys.stdin.readline()))
        threading.Thread(target=_watch_parent, name="headgate-lifeline", daemon=True).start()

    def tell(self, event: str, **fields: object) -> None:
        """Tell the supervisor that a listener is `listening`, the part is `ready`, or `say` something to people."""
        with self._telling:
            sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
            sys.stdout.flush()

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.stopping.set()


def log_to_stderr() -> None:
    """Send warnings and errors of this process to stderr, for people."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="headgate %(name)s: %(message)s")


def _watch_parent() -> None:
    while sys.stdin.read(4096):
        continue
    os._exit(ORPHANED)
