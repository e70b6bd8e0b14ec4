"""A file that others replace while we run: read again when it has changed."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from headgate_processors.errors import ConfigError
from headgate_processors.files import FileState, file_state

FILE_BYTES_MAX = 16 << 20
_OTHERS_MAY_WRITE = 0o022

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read(Generic[Value]):
    """What a reading gave: a value, or why there is none."""

    state: FileState | None
    value: Value | None
    problem: str


class WatchedFile(Generic[Value]):
    """The parsed content of a file. Each look costs one `stat`; it is read when the file is another one.

    `absent` is the value while there is no file; without it a missing file is a problem like any other.
    Safe for many threads.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], Value], *, absent: Value | None = None) -> None:
        self.path = path
        self._parse = parse
        self._absent = absent
        self._lock = threading.Lock()
        self._last: _Read[Value] | None = None

    def value(self) -> Value:
        """The content as the file is at this moment.

        Raises:
            ConfigError: it cannot be read, may be written by others, or is not what it should be.
        """
        state = file_state(self.path)
        last = self._last
        if last is None or last.state != state:
            with self._lock:
                last = self._last
                if last is None or last.state != state:
                    last = self._last = self._read(state)
        if last.value is None:
            raise ConfigError(f"{self.path}: {last.problem}")
        return last.value

    def _read(self, state: FileState | None) -> _Read[Value]:
        try:
            return _Read(state=state, value=self._parse(read_guarded(self.path)), problem="")
        except FileNotFoundError:
            return _Read(state=state, value=self._absent, problem="there is no such file")
        except OSError as error:
            return _Read(state=state, value=None, problem=f"cannot be read: {error.strerror or error}")
        except ValueError as error:
            return _Read(state=state, value=None, problem=str(error))


def read_guarded(path: Path) -> bytes:
    """The bytes of a file that decides who may do what.

    Raises:
        OSError: it cannot be read.
        ValueError: others than its owner may write it, or it is too large.
    """
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        if found.st_mode & _OTHERS_MAY_WRITE:
            message = f"others than its owner may write it, so it is not believed: chmod 600 {path}"
            raise ValueError(message)
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        message = f"larger than {FILE_BYTES_MAX >> 20} MiB: remove what has expired"
        raise ValueError(message)
    return content
