"""The parent's side of a supervised process: start it, hear what it tells, end it."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headgate_processors.memory import SPARING

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of Headgate that runs in a process of its own: a module with a main.

    `after` names the part that it sends to, which listens before this one is started.
    """

    name: str
    module: str
    after: str | None = None


class Child:
    """One running process of a part. `on_event` is called by a thread of its own; the last event is `ended`."""

    def __init__(self, part: Part, settings: Mapping[str, Any], on_event: Callable[["Child", Event], None]) -> None:
        self.part = part
        self._on_event = on_event
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-P", "-m", part.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=SPARING | os.environ,
        )
        self._write(json.dumps(settings) + "\n")
        self._listener = threading.Thread(target=self._listen, name=f"headgate-{part.name}", daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask it to finish what it does and end."""
        if self.running:
            self._process.terminate()

    def kill(self) -> None:
        """End it at once, and wait until nothing of it is left."""
        if self.running:
            self._process.kill()
        self._listener.join()

    def _write(self, text: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(text)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass

    def _listen(self) -> None:
        with self._process:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                event = _parsed(line)
                self._on_event(self, event if event is not None else {"event": "say", "text": line.rstrip()})
        self._on_event(self, {"event": "ended", "code": self._process.returncode})


def _parsed(line: str) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None
