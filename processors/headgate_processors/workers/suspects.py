"""Requests that had a worker end, known by their bytes, so that poison is recognised when it is sent again."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b

from headgate_processors.workers.port import ExportRequest
from headgate_processors.workers.process import Cause

_MAX = 1024
_Key = tuple[int, bytes]


@dataclass(slots=True)
class _Blame:
    deaths: int = 0
    kills: int = 0


class Suspects:
    """How many workers ended over which request. It remembers the last thousand; any thread may ask."""

    def __init__(self, *, deaths_max: int, kills_max: int) -> None:
        self._deaths_max, self._kills_max = deaths_max, kills_max
        self._lock = threading.Lock()
        self._blamed: OrderedDict[_Key, _Blame] = OrderedDict()
        self._sizes: dict[int, int] = {}

    def knows(self, request: ExportRequest) -> bool:
        """Whether a worker ended over this request. Free while nothing is suspected."""
        if len(request.body) not in self._sizes:
            return False
        with self._lock:
            return _key(request) in self._blamed

    def is_poison(self, request: ExportRequest) -> bool:
        """Whether as many workers ended over this request as may."""
        with self._lock:
            blame = self._blamed.get(_key(request))
            return blame is not None and (blame.deaths >= self._deaths_max or blame.kills >= self._kills_max)

    def blame(self, request: ExportRequest, *, cause: Cause) -> None:
        """A worker ended while it had this request."""
        key = _key(request)
        with self._lock:
            if key not in self._blamed:
                self._blamed[key] = _Blame()
                self._sizes[key[0]] = self._sizes.get(key[0], 0) + 1
            blame = self._blamed[key]
            self._blamed.move_to_end(key)
            if cause in {"killed", "starved"}:
                blame.kills += 1
            else:
                blame.deaths += 1
            while len(self._blamed) > _MAX:
                self._forget(next(iter(self._blamed)))

    def acquit(self, request: ExportRequest) -> None:
        """A worker read this request and lives."""
        with self._lock:
            key = _key(request)
            if key in self._blamed:
                self._forget(key)

    def _forget(self, key: _Key) -> None:
        del self._blamed[key]
        self._sizes[key[0]] -= 1
        if not self._sizes[key[0]]:
            del self._sizes[key[0]]


def _key(request: ExportRequest) -> _Key:
    return len(request.body), blake2b(request.body, digest_size=16).digest()
