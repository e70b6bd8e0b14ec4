"""Who writes: one lock per writer name, kept as long as its process lives."""

import fcntl
import json
import os
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from headgate_processors.errors import StoreError


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that holds a lock; `since` is RFC 3339."""

    pid: int
    host: str
    since: str
    command: str

    @classmethod
    def of_this_process(cls) -> "Holder":
        """This process, as from this moment."""
        command = " ".join([Path(sys.argv[0] or "python").name, *sys.argv[1:]])
        return cls(
            pid=os.getpid(),
            host=socket.gethostname(),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command[:200],
        )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since} ({self.command})"


class Lock:
    """An exclusive `flock` on a file that says who holds it. The kernel frees it when the process dies."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path, self._fd = path, fd

    @classmethod
    def take(cls, path: Path, *, wait_s: float) -> "Lock":
        """Take the lock, waiting at most `wait_s`.

        Raises:
            StoreError: another process holds it; the message names it.
        """
        lock = cls.try_take(path)
        until = time.monotonic() + wait_s
        while lock is None:
            if time.monotonic() >= until:
                raise StoreError(_held(path))
            time.sleep(0.02)
            lock = cls.try_take(path)
        return lock

    @classmethod
    def try_take(cls, path: Path) -> "Lock | None":
        """Take the lock, or None when another holds it."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        content = json.dumps(asdict(Holder.of_this_process())).encode()
        os.ftruncate(fd, 0)
        os.pwrite(fd, content, 0)
        return cls(path, fd)

    def release(self) -> None:
        """Free the lock; safe to call twice."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def holder_of(path: Path) -> Holder | None:
    """Who wrote itself into a lock file last; None when nobody holds it or it cannot be read."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        return Holder(**json.loads(path.read_bytes()))
    return None


def is_held(path: Path) -> bool:
    """Whether a living process holds this lock."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _held(path: Path) -> str:
    holder = holder_of(path)
    return (
        f"{path.parent.parent} is written by {holder or 'another process'} as writer {path.stem!r}: "
        "query it with `headgate sql`, send to that process with `headgate replay --endpoint`, "
        "stop it, or use another --data folder"
    )
