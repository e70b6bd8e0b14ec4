"""A chain on disk: one line for each record, in files of bounded size, durable when asked for.

What was written is there when the process dies; what was synced is there when the machine does. A line that was cut
short by a crash was never acknowledged, and is cut off at the next start.
"""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from headgate_control.audit.chain import Anchor, Chain, Fault, Record, faults
from headgate_processors.errors import StoreError, TransientError
from headgate_processors.store.lock import Lock

SUFFIX = ".jsonl"
_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """`file_bytes_max`: when a file is this large the next one is begun. `line_bytes_max`: what a record may be."""

    file_bytes_max: int = 64 << 20
    line_bytes_max: int = 1 << 20


class AuditLog:
    """The log of one writer. `append` may be called by any number of threads, and waits for no disk."""

    def __init__(self, folder: Path, lock: Lock, chain: Chain, file: int, config: LogConfig) -> None:
        self._folder, self._lock, self._chain, self._config = folder, lock, chain, config
        self._file, self._size = file, os.fstat(file).st_size
        self._guard = threading.Lock()
        self._syncing = threading.Lock()
        self._synced = chain.number
        self._broken: OSError | None = None

    @classmethod
    def open(cls, folder: Path, writer: str, config: LogConfig = LogConfig()) -> "AuditLog":
        """The log of `writer` in `folder`, for this process alone.

        Raises:
            StoreError: another process writes it, or its last file is damaged before its last line.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = Lock.take(folder / f"{writer}.lock", wait_s=1.0)
        try:
            chain, path = _end(folder, writer)
            file = _opened(path)
            _sync_folder(folder)
            return cls(folder, lock, chain, file, config)
        except BaseException:
            lock.release()
            raise

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._folder

    def append(self, body: Mapping[str, object]) -> Record:
        """Write the next record; it is in the chain when this returns, and durable after `sync`.

        Raises:
            TransientError: it could not be written, and is not in the chain.
        """
        with self._guard:
            self._check()
            number, head = self._chain.number, self._chain.head
            record = self._chain.add(body)
            try:
                self._write(record)
            except (OSError, ValueError) as error:
                self._chain.number, self._chain.head = number, head
                self._cut()
                raise self._unwritten(error) from error
            return record

    def sync(self, record: Record) -> None:
        """Return when the record is durable; callers that wait together share one sync of the disk.

        Raises:
            TransientError: the disk refuses; nothing more can be written then.
        """
        self._sync_to(record.number)

    def durable_anchor(self) -> Anchor:
        """The head as it is now, once it is durable.

        Raises:
            TransientError: the disk refuses.
        """
        anchor = self.anchor()
        self._sync_to(anchor.number)
        return anchor

    def _sync_to(self, number: int) -> None:
        with self._syncing:
            if self._synced >= number:
                return
            with self._guard:
                self._check()
                written, file = self._chain.number, self._file
            try:
                os.fsync(file)
            except OSError as error:
                self._broken = error
                raise self._unwritten(error) from error
            self._synced = written

    def anchor(self) -> Anchor:
        """The head as it is now."""
        with self._guard:
            return self._chain.anchor

    def close(self) -> None:
        """Make everything durable and let go of the log. Safe to call twice."""
        with self._syncing, self._guard:
            if self._file >= 0:
                with suppress(OSError):
                    os.fsync(self._file)
                os.close(self._file)
                self._file = -1
                self._broken = OSError("the log is closed")
                self._lock.release()

    def _check(self) -> None:
        if self._broken is not None:
            raise self._unwritten(self._broken)

    def _unwritten(self, error: Exception) -> TransientError:
        return TransientError(f"the audit log in {self._folder} cannot be written, so nothing is allowed: {error}")

    def _write(self, record: Record) -> None:
        line = record.line()
        if len(line) > self._config.line_bytes_max:
            raise ValueError(f"a record of {len(line)} bytes; {self._config.line_bytes_max} are allowed")
        if self._size and self._size + len(line) > self._config.file_bytes_max:
            self._turn(record.number)
        left = memoryview(line)
        while left:
            left = left[os.write(self._file, left) :]
        self._size += len(line)

    def _turn(self, number: int) -> None:
        """Begin the next file. What is in this one is durable first, for `sync` looks at one file only."""
        os.fsync(self._file)
        file = _opened(_path(self._folder, self._chain.writer, number))
        os.close(self._file)
        self._file, self._size = file, 0
        _sync_folder(self._folder)

    def _cut(self) -> None:
        """Take back what was written of a record; where that fails the log is at its end."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError as error:
            self._broken = error


def writers(folder: Path) -> list[str]:
    """Whose logs a folder holds."""
    return sorted({path.name.rpartition("-")[0] for path in folder.glob(f"*-{'[0-9]' * _DIGITS}{SUFFIX}")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A file of a log that nothing is written to any more, and its last record."""

    path: Path
    last: Anchor


def segment_paths(folder: Path, writer: str) -> list[Path]:
    """The files of a log before the last that holds anything, which its next start needs."""
    paths = _paths(folder, writer)
    written = [path for path in paths if path.stat().st_size]
    return paths[: paths.index(written[-1])] if written else []


def closed_segments(folder: Path, writer: str) -> Iterator[Segment]:
    """The same with the last record of each; a file is read when it is asked for.

    Raises:
        StoreError: the last line of one is damaged.
    """
    for path in segment_paths(folder, writer):
        content = path.read_bytes()
        if last := _last(path, content[: content.rfind(b"\n") + 1]):
            yield Segment(path=path, last=Anchor(writer=writer, number=last.number, digest=last.digest))


def segment_bodies(path: Path) -> Iterator[Mapping[str, Any]]:
    """What the records of a file say.

    Raises:
        StoreError: a line is no record.
    """
    with path.open("rb") as file:
        for line in file:
            try:
                yield orjson.loads(Record.parse(line).body)
            except ValueError as error:
                raise StoreError(f"{path}: {error}. See what is damaged: headgate audit verify") from error


def log_head(folder: Path, writer: str) -> Anchor:
    """The head of a writer's log, which may be written meanwhile.

    Raises:
        StoreError: its last whole line is no record.
    """
    for path in reversed(_paths(folder, writer)):
        content = path.read_bytes()
        if last := _last(path, content[: content.rfind(b"\n") + 1]):
            return Anchor(writer=writer, number=last.number, digest=last.digest)
    return Chain(writer).anchor


def last_body(folder: Path, writer: str) -> Mapping[str, Any] | None:
    """What the last whole record of a writer's log says; None where there is none.

    Raises:
        StoreError: it is no record.
    """
    for path in reversed(_paths(folder, writer)):
        content = path.read_bytes()
        if last := _last(path, content[: content.rfind(b"\n") + 1]):
            found: Mapping[str, Any] = orjson.loads(last.body)
            return found
    return None


def last_bodies(folder: Path, writer: str, *, count: int, bytes_max: int = 16 << 20) -> list[Mapping[str, Any]]:
    """What the last `count` records of a writer's last file say, as far as they are in its last `bytes_max`.

    Raises:
        StoreError: one of them is no record.
    """
    for path in reversed(_paths(folder, writer)):
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - bytes_max))
            lines = file.read(bytes_max).splitlines(keepends=True)[size > bytes_max :]
        if lines:
            return [_body(path, line) for line in lines[-count:] if line.endswith(b"\n")]
    return []


def _body(path: Path, line: bytes) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = orjson.loads(Record.parse(line).body)
    except ValueError as error:
        raise StoreError(f"{path}: {error}. See what is damaged: headgate audit verify") from error
    return found


def log_faults(folder: Path, writer: str, anchors: Iterable[Anchor] = ()) -> Iterator[Fault]:
    """Everything that is wrong with a writer's log."""
    yield from faults(log_entries(folder, writer), anchors=anchors, writer=writer)


def file_of(folder: Path, writer: str, number: int) -> str:
    """The name of the file in which a record is, or should be; the log's own where there is none."""
    names = [path.name for path in _paths(folder, writer) if _first(path) <= number]
    return names[-1] if names else f"{writer}{SUFFIX}"


def records_since(folder: Path, writer: str, *, kind: str) -> list[Mapping[str, Any]]:
    """The bodies of a log from the last record of a kind on; all of them where there is none."""
    found: list[Mapping[str, Any]] = []
    for path in reversed(_paths(folder, writer)):
        lines = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        bodies = [orjson.loads(Record.parse(line).body) for line in lines]
        place = next((number for number in range(len(bodies) - 1, -1, -1) if bodies[number]["kind"] == kind), None)
        found = [*bodies[place or 0 :], *found]
        if place is not None:
            break
    return found


def last_path_with(folder: Path, writer: str, *, kind: str) -> Path | None:
    """The file with the last record of a kind: `records_since` reads from there on. None where there is none."""
    mark = b'"kind":"%b"' % kind.encode()
    for path in reversed(_paths(folder, writer)):
        with path.open("rb") as file:
            if any(mark in line and line.endswith(b"\n") for line in file):
                return path
    return None


def log_records(folder: Path, writer: str, unreadable: list[Fault]) -> Iterator[Record]:
    """The records of a writer's log up to the first that is none, which is added to `unreadable`."""
    for entry in log_entries(folder, writer):
        if isinstance(entry, Fault):
            unreadable.append(entry)
            return
        yield entry


def log_entries(folder: Path, writer: str) -> Iterator[Record | Fault]:
    """Every record of a writer's log; one that cannot be read as what is wrong with it.

    A last line that is cut short is no fault: it was never acknowledged.
    """
    paths = _paths(folder, writer)
    number = _first(paths[0]) - 1 if paths else 0
    for path in paths:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n") and path == paths[-1]:
                    return
                entry = _entry(path, line, Fault(writer=writer, number=number + 1, problem=path.name))
                number = entry.number
                yield entry


def _entry(path: Path, line: bytes, otherwise: Fault) -> Record | Fault:
    try:
        return Record.parse(line)
    except ValueError as error:
        return replace(otherwise, problem=f"{path.name}: {error}")


def misnamed(folder: Path, writer: str) -> Iterator[Fault]:
    """Files of a writer's log whose names do not say with which record they begin."""
    for path in _paths(folder, writer):
        with path.open("rb") as file:
            line = file.readline()
        entry = _entry(path, line, Fault(writer=writer, number=_first(path), problem=""))
        if isinstance(entry, Record) and (entry.number, entry.writer) != (_first(path), writer):
            problem = f"{path.name}: it begins with record {entry.number} of {entry.writer}: it was renamed"
            yield Fault(writer=writer, number=_first(path), problem=problem)


def _paths(folder: Path, writer: str) -> list[Path]:
    return sorted(folder.glob(f"{writer}-{'[0-9]' * _DIGITS}{SUFFIX}"))


def _first(path: Path) -> int:
    """The number of the record with which a file begins."""
    return int(path.stem[-_DIGITS:])


def _path(folder: Path, writer: str, number: int) -> Path:
    return folder / f"{writer}-{number:0{_DIGITS}d}{SUFFIX}"


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _end(folder: Path, writer: str) -> tuple[Chain, Path]:
    """The end of a chain, and the file in which it goes on; what a crash left of a line is cut off.

    Raises:
        StoreError: the last line is whole, and no record.
    """
    paths = _paths(folder, writer)
    for path in reversed(paths):
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(path, len(whole))
        if last := _last(path, whole):
            return Chain(writer, number=last.number, head=last.digest), paths[-1]
    return Chain(writer), paths[-1] if paths else _path(folder, writer, 1)


def _last(path: Path, whole: bytes) -> Record | None:
    """The record of the last of some whole lines; None where there is none.

    Raises:
        StoreError: the line is no record.
    """
    if not whole:
        return None
    try:
        return Record.parse(whole[whole.rfind(b"\n", 0, -1) + 1 :])
    except ValueError as error:
        message = f"{path}: its last line is damaged ({error}). See what else is: headgate audit verify"
        raise StoreError(message) from error
