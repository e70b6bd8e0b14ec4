"""A segment: the rows that are acknowledged and not yet in Parquet.

The file is a header line, then frames. One frame is one commit:

    magic 4 | length 8 | crc32 4 | directory | bytes of every part

A part is what the Arrow IPC *stream* of one dataset grew by, so all frames of a segment together hold one
stream per dataset, and a commit is there for every dataset or for none. Reading stops at the first frame
that is cut or damaged: what follows was never acknowledged.
"""

import io
import json
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import ipc

from headgate_processors.store.disk import Bytes, Disk

HEADER = b"headgate segment 1\n"

_MAGIC = b"HGFR"
_FRAME = struct.Struct("<4sQI")
_DIRECTORY = struct.Struct("<I")
_STREAM_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The rows of one commit: one batch per dataset, and the datasets that may repeat older records."""

    batches: Mapping[str, pa.RecordBatch]
    unsettled: frozenset[str]


class _Chunks(io.RawIOBase):
    """A file that keeps what is written to it until it is taken away."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, chunk: bytes) -> int:  # type: ignore[override]
        self._chunks.append(bytes(chunk))
        return len(chunk)

    def take(self) -> list[bytes]:
        taken, self._chunks = self._chunks, []
        return taken


class _Stream:
    """The Arrow IPC stream of one dataset, handed out as it grows."""

    def __init__(self, schema: pa.Schema) -> None:
        self._chunks = _Chunks()
        self._buffer = pa.BufferedOutputStream(pa.PythonFile(self._chunks, "w"), _STREAM_BUFFER)
        self._writer = ipc.new_stream(self._buffer, schema)

    def grow(self, batch: pa.RecordBatch) -> list[bytes]:
        self._writer.write_batch(batch)
        self._buffer.flush()
        return self._chunks.take()


class SegmentWriter:
    """The open end of a segment. After an error it must be given up: its streams are ahead of the file."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self._disk = disk
        self._streams: dict[str, _Stream] = {}
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
            stream = self._streams.get(dataset)
            if stream is None:
                stream = self._streams[dataset] = _Stream(batch.schema)
            chunks = stream.grow(batch)
            directory.append([dataset, sum(map(len, chunks)), batch.num_rows, dataset in commit.unsettled])
            content += chunks
        listing = json.dumps(directory).encode()
        body: list[Bytes] = [_DIRECTORY.pack(len(listing)), listing, *content]
        crc = 0
        for part in body:
            crc = zlib.crc32(part, crc)
        frame = _FRAME.pack(_MAGIC, sum(map(len, body)), crc)
        return [frame, *body] if self._end else [HEADER, frame, *body]

    def _cut_back(self) -> None:
        try:
            self._disk.truncate(self._fd, self._end)
        except OSError:
            return


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRows:
    """What a segment holds up to its last good frame: rows by dataset, and how many bytes follow that frame."""

    settled: Mapping[str, pa.Table]
    unsettled: Mapping[str, pa.Table]
    frames: int
    good_bytes: int
    cut_bytes: int

    @property
    def rows(self) -> int:
        """Rows of all datasets."""
        return sum(table.num_rows for tables in (self.settled, self.unsettled) for table in tables.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    dataset: str
    content: memoryview
    rows: int
    unsettled: bool


def read_segment(content: Bytes) -> SegmentRows:
    """The rows in a segment's bytes, up to the first frame that is cut or damaged."""
    view = memoryview(content)
    parts: list[_Part] = []
    frames, position = 0, 0
    if view[: len(HEADER)] == HEADER:
        position = len(HEADER)
        while (frame := _read_frame(view, position)) is not None:
            position, found = frame
            frames += 1
            parts += found
    settled, unsettled = _tables(parts)
    return SegmentRows(
        settled=settled, unsettled=unsettled, frames=frames, good_bytes=position, cut_bytes=len(view) - position
    )


def _read_frame(view: memoryview, position: int) -> tuple[int, list[_Part]] | None:
    start = position + _FRAME.size
    if len(view) < start:
        return None
    magic, length, crc = _FRAME.unpack(view[position:start])
    body = view[start : start + length]
    if magic != _MAGIC or len(body) != length or zlib.crc32(body) != crc:
        return None
    (listing_bytes,) = _DIRECTORY.unpack(body[: _DIRECTORY.size])
    offset = _DIRECTORY.size + listing_bytes
    parts = []
    for dataset, size, rows, unsettled in json.loads(bytes(body[_DIRECTORY.size : offset])):
        parts.append(_Part(dataset=dataset, content=body[offset : offset + size], rows=rows, unsettled=unsettled))
        offset += size
    return start + length, parts


def _tables(parts: Sequence[_Part]) -> tuple[dict[str, pa.Table], dict[str, pa.Table]]:
    settled: dict[str, pa.Table] = {}
    unsettled: dict[str, pa.Table] = {}
    for dataset in dict.fromkeys(part.dataset for part in parts):
        mine = [part for part in parts if part.dataset == dataset]
        with ipc.open_stream(pa.py_buffer(b"".join(part.content for part in mine))) as reader:
            batches = list(reader)
            schema = reader.schema
        for target, flag in ((settled, False), (unsettled, True)):
            chosen = [batch for part, batch in zip(mine, batches, strict=True) if part.unsettled is flag]
            if chosen:
                target[dataset] = pa.Table.from_batches(chosen, schema)
    return settled, unsettled
