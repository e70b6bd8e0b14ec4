"""Refused bytes, kept for whoever has to find out why: `dead-letters/<day>.jsonl`.

The bytes are as they came, so nothing in them is redacted: the folder is closed to others (0700, its
files 0600), holds a bounded number of bytes for seven days, and can be switched off. A disk that fails
here fails no request: the loss is counted.
"""

import base64
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from headgate_processors.otlp.port import Encoding, Signal
from headgate_processors.receiver.config import MEBIBYTE
from headgate_processors.receiver.counters import Counters

_NS_PER_S = 1_000_000_000
_SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Refused bytes: one record, or a whole request.

    `reason` is a short stable word for counting, `detail` a sentence for people, `size_bytes` what was
    refused, of which `raw` may hold only the beginning.
    """

    received_unix_nano: int
    signal: Signal
    encoding: Encoding
    reason: str
    detail: str
    size_bytes: int
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterConfig:
    """Whether letters are kept, for how long, and how much of them.

    `max_bytes` bounds the folder: the oldest days make room; when today's letters alone fill it,
    further ones are not kept. Of one letter `max_letter_bytes` are kept at most.
    """

    enabled: bool = True
    keep_days: int = 7
    max_bytes: int = 64 * MEBIBYTE
    max_letter_bytes: int = MEBIBYTE


class DeadLetters:
    """Appends refused bytes to the day's file. Safe to call from many threads; never raises."""

    def __init__(
        self,
        folder: Path,
        *,
        counters: Counters,
        config: DeadLetterConfig = DeadLetterConfig(),
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._folder = folder
        self._counters = counters
        self._config = config
        self._clock = clock
        self._lock = threading.Lock()

    def keep(self, raw: bytes, *, signal: Signal, encoding: Encoding, reason: str, detail: str) -> None:
        """Count a refusal by its reason and keep its bytes, as far as the bounds and the disk allow."""
        outcome = "off"
        if self._config.enabled:
            letter = DeadLetter(
                received_unix_nano=self._clock(),
                signal=signal,
                encoding=encoding,
                reason=reason,
                detail=detail,
                size_bytes=len(raw),
                raw=raw[: self._config.max_letter_bytes],
            )
            outcome = self._written(letter)
        self._counters.add("headgate_receiver_dead_letters_total", signal=signal, reason=reason, outcome=outcome)

    def expire(self) -> None:
        """Remove the days that are older than letters are kept."""
        with self._lock:
            try:
                self._remove_expired(self._clock())
            except OSError:
                return

    def _written(self, letter: DeadLetter) -> str:
        """`kept`, `full` or `failed`."""
        line = _line(letter)
        with self._lock:
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._remove_expired(letter.received_unix_nano)
                today = self._folder / f"{_day(letter.received_unix_nano)}{_SUFFIX}"
                if not self._has_room(len(line), today):
                    return "full"
                _append(today, line)
            except OSError:
                return "failed"
        return "kept"

    def _remove_expired(self, now_unix_nano: int) -> None:
        oldest = _day(now_unix_nano, days_before=self._config.keep_days)
        for path in _files(self._folder):
            if path.stem < oldest:
                path.unlink(missing_ok=True)

    def _has_room(self, size: int, today: Path) -> bool:
        files = _files(self._folder)
        free = self._config.max_bytes - sum(path.stat().st_size for path in files)
        for path in files:
            if size <= free:
                break
            if path != today:
                free += path.stat().st_size
                path.unlink(missing_ok=True)
        return size <= free


def read_dead_letters(folder: Path) -> Iterator[DeadLetter]:
    """Every letter in `folder`, oldest day first; a line that a crash or a full disk cut short is passed over."""
    for path in _files(folder):
        with path.open("rb") as lines:
            for line in lines:
                try:
                    fields = orjson.loads(line)
                except ValueError:
                    continue
                yield _letter(fields)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"????-??-??{_SUFFIX}"))


def _append(path: Path, line: bytes) -> None:
    """Append a line; behind one that a crash or a full disk cut short it begins a line of its own.

    Raises:
        OSError: it was not written whole.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        is_cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        content = b"\n" + line if is_cut else line
        if os.write(descriptor, content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def _line(letter: DeadLetter) -> bytes:
    fields: dict[str, Any] = {
        "received_unix_nano": letter.received_unix_nano,
        "signal": letter.signal,
        "encoding": letter.encoding,
        "reason": letter.reason,
        "detail": letter.detail.encode(errors="replace").decode(),
        "size_bytes": letter.size_bytes,
        "raw": base64.b64encode(letter.raw).decode("ascii"),
    }
    return orjson.dumps(fields) + b"\n"


def _letter(fields: dict[str, Any]) -> DeadLetter:
    return DeadLetter(
        **{**fields, "signal": Signal(fields["signal"]), "raw": base64.b64decode(fields["raw"])},
    )


def _day(unix_nano: int, *, days_before: int = 0) -> str:
    moment = datetime.fromtimestamp(unix_nano // _NS_PER_S, tz=UTC) - timedelta(days=days_before)
    return moment.date().isoformat()
