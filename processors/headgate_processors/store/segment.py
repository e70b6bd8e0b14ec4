"""A segment: the rows that are acknowledged and not yet in Parquet.

The file is a header line, then frames. One frame is one commit:

    magic 4 | where the frame begins 8 | length 8 | crc32 of these 4 | crc32 of the rest 4 | directory | every part

A part is the Arrow IPC stream of one batch, schema and dictionaries included, so that a frame can be read
whatever became of those before it; a commit is there for every dataset or for none. A frame that says where it
begins cannot be mistaken for a copy of one inside somebody's content. Bytes that are no good frame are left out,
and told: after a crash the last of them are a commit that was never acknowledged.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import ipc

from headgate_processors.store.disk import Bytes, Disk

HEADER = b"headgate segment 2\n"

_MAGIC = b"HGFR"
_FRAME = struct.Struct("<4sQQII")
_CHECKED = struct.Struct("<4sQQ")
_DIRECTORY = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The rows of one commit: one batch per dataset, and the datasets that may repeat older records."""

    batches: Mapping[str, pa.RecordBatch]
    unsettled: frozenset[str]


class SegmentWriter:
    """The open end of a segment. After an error it must be given up: half a frame may stand at its end."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self._disk = disk
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        self._end = 0

    @property
    def bytes(self) -> int:
        """Size of the file up to the end of the last good frame."""
        return self._end

    def append(self, commit: Commit) -> int:
        """Write one frame and return when it is durable; its size in bytes, about what its rows take in memory.

        Raises:
            OSError: the disk refused; the file was cut back to the last good frame where that was possible.
        """
        parts = self._frame(commit)
        try:
            self._disk.append(self._fd, parts)
            self._disk.sync(self._fd)
            if not self._end:
                self._disk.sync_folder(self.path.parent)
        except OSError:
            self._cut_back()
            raise
        size = sum(len(part) for part in parts)
        self._end += size
        return size

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _frame(self, commit: Commit) -> list[Bytes]:
        directory: list[list[object]] = []
        content: list[Bytes] = []
        for dataset, batch in commit.batches.items():
            part = _stream(batch)
            directory.append([dataset, len(part), batch.num_rows, dataset in commit.unsettled])
            content.append(part)
        listing = json.dumps(directory).encode()
        body: list[Bytes] = [_DIRECTORY.pack(len(listing)), listing, *content]
        start, length = self._end or len(HEADER), sum(map(len, body))
        crc = 0
        for piece in body:
            crc = zlib.crc32(piece, crc)
        frame = _FRAME.pack(_MAGIC, start, length, zlib.crc32(_CHECKED.pack(_MAGIC, start, length)), crc)
        return [frame, *body] if self._end else [HEADER, frame, *body]

    def _cut_back(self) -> None:
        try:
            self._disk.truncate(self._fd, self._end)
        except OSError:
            return


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Bytes that are no good frame; `torn` when they look like a commit that a crash cut short."""

    offset: int
    bytes: int
    torn: bool

    def __str__(self) -> str:
        kind = "an unfinished commit" if self.torn else "damaged"
        return f"{self.bytes} bytes from byte {self.offset} on are {kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRows:
    """What a segment holds in its good frames: rows by dataset; and the gaps between them or behind them."""

    settled: Mapping[str, pa.Table]
    unsettled: Mapping[str, pa.Table]
    frames: int
    good_bytes: int
    gaps: tuple[Gap, ...]

    @property
    def rows(self) -> int:
        """Rows of all datasets."""
        return sum(table.num_rows for tables in (self.settled, self.unsettled) for table in tables.values())

    @property
    def cut_bytes(self) -> int:
        """Bytes that are in no good frame."""
        return sum(gap.bytes for gap in self.gaps)

    @property
    def damage(self) -> tuple[Gap, ...]:
        """The gaps that no crash of a writer explains."""
        return tuple(gap for gap in self.gaps if not gap.torn)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    dataset: str
    batch: pa.RecordBatch
    unsettled: bool


def read_segment(content: Bytes) -> SegmentRows:
    """The rows in a segment's bytes, from every frame that is whole, wherever the others are damaged."""
    view = memoryview(content)
    parts: list[_Part] = []
    gaps: list[Gap] = []
    position = len(HEADER) if view[: len(HEADER)] == HEADER else 0
    frames = good = 0
    while position < len(view):
        frame = _read_frame(view, position)
        if frame is None:
            after = _next_frame(view, position + 1)
            gaps.append(Gap(offset=position, bytes=after - position, torn=_is_torn(view, position, after)))
            position = after
            continue
        position, found = frame
        frames, good = frames + 1, position
        parts += found
    return SegmentRows(
        settled=_tables(part for part in parts if not part.unsettled),
        unsettled=_tables(part for part in parts if part.unsettled),
        frames=frames,
        good_bytes=good,
        gaps=tuple(gaps),
    )


def _read_head(view: memoryview, position: int) -> tuple[int, int] | None:
    """The length and checksum of the body of the frame that begins here; None when none does."""
    if len(view) < position + _FRAME.size:
        return None
    magic, begins, length, head_crc, crc = _FRAME.unpack(view[position : position + _FRAME.size])
    whole = zlib.crc32(view[position : position + _CHECKED.size]) == head_crc
    return (length, crc) if whole and magic == _MAGIC and begins == position else None


def _read_frame(view: memoryview, position: int) -> tuple[int, list[_Part]] | None:
    head = _read_head(view, position)
    if head is None:
        return None
    length, crc = head
    body = view[position + _FRAME.size : position + _FRAME.size + length]
    if len(body) != length or zlib.crc32(body) != crc:
        return None
    parts = _parts(body)
    return None if parts is None else (position + _FRAME.size + length, parts)


def _parts(body: memoryview) -> list[_Part] | None:
    """The batches in a frame's body; None when they cannot be read although their checksum is right."""
    (listing_bytes,) = _DIRECTORY.unpack(body[: _DIRECTORY.size])
    offset = _DIRECTORY.size + listing_bytes
    parts = []
    try:
        for dataset, size, _, unsettled in json.loads(bytes(body[_DIRECTORY.size : offset])):
            with ipc.open_stream(pa.py_buffer(body[offset : offset + size])) as stream:
                parts.append(_Part(dataset=dataset, batch=stream.read_next_batch(), unsettled=unsettled))
            offset += size
    except (pa.ArrowException, OSError, ValueError):
        return None
    return parts


def _next_frame(view: memoryview, position: int) -> int:
    """Where the next good frame begins; the end when there is none."""
    content = bytes(view[position:])
    found = content.find(_MAGIC)
    while found >= 0:
        if _read_frame(view, position + found) is not None:
            return position + found
        found = content.find(_MAGIC, found + 1)
    return len(view)


def _is_torn(view: memoryview, position: int, after: int) -> bool:
    """Whether a gap is what a crash leaves at the end: a frame that is not all there, or nothing but zeros."""
    if after < len(view):
        return False
    rest = bytes(view[position:after])
    if position == 0:
        return HEADER.startswith(rest)
    if len(rest) < _FRAME.size:
        return _MAGIC.startswith(rest[: len(_MAGIC)]) or not any(rest)
    head = _read_head(view, position)
    unfinished = head is not None and position + _FRAME.size + head[0] > len(view)
    return unfinished or not any(rest)


def _stream(batch: pa.RecordBatch) -> memoryview:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return memoryview(sink.getvalue())


def _tables(parts: Iterable[_Part]) -> dict[str, pa.Table]:
    batches: dict[str, list[pa.RecordBatch]] = {}
    for part in parts:
        batches.setdefault(part.dataset, []).append(part.batch)
    return {dataset: pa.Table.from_batches(mine) for dataset, mine in batches.items()}
