"""What travels between a receiver and a decode worker: frames over a socket, JSON heads, rows as Arrow IPC.

    magic 4 | bytes of the head 4 | bytes of the content 8 | head | content

Requests go as they came; nothing is unpickled on either side.
"""

import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import orjson
import pyarrow as pa
from pyarrow import ipc

from headgate_processors.errors import (
    ConfigError,
    HeadgateError,
    OverloadError,
    PermanentError,
    PoisonError,
    StoreError,
    TooLargeError,
    TransientError,
)
from headgate_processors.otlp.port import Rejected, Signal
from headgate_processors.receiver.port import Sender
from headgate_processors.workers.port import ExportRequest, Outcome, Prepared

Head = Mapping[str, Any]
Content: TypeAlias = Any
"""Bytes, a memoryview or an Arrow buffer."""

_PREFIX = struct.Struct("<4sIQ")
_MAGIC = b"HGW1"
_ERRORS: Mapping[str, type[HeadgateError]] = {
    kind.__name__: kind
    for kind in (PermanentError, PoisonError, TooLargeError, TransientError, OverloadError, ConfigError, StoreError)
}


class FrameError(Exception):
    """The other side sent what is no frame."""


def send(sock: socket.socket, head: Head, content: Sequence[Content] = ()) -> None:
    """Send one frame.

    Raises:
        OSError: the other side is gone.
    """
    packed = orjson.dumps(head)
    sizes = sum(memoryview(part).nbytes for part in content)
    sock.sendall(_PREFIX.pack(_MAGIC, len(packed), sizes) + packed)
    for part in content:
        sock.sendall(part)


def receive(sock: socket.socket) -> tuple[Head, memoryview] | None:
    """The next frame; None when the other side ended between two frames.

    Raises:
        FrameError: it ended within a frame, or sent something else.
        OSError: the connection broke.
    """
    prefix = bytearray(_PREFIX.size)
    if not _fill(sock, memoryview(prefix)):
        return None
    magic, head_bytes, content_bytes = _PREFIX.unpack(prefix)
    if magic != _MAGIC:
        raise FrameError("no frame begins like this")
    head = bytearray(head_bytes)
    content = memoryview(pa.allocate_buffer(content_bytes)) if content_bytes else memoryview(b"")
    if not _fill(sock, memoryview(head)) or not _fill(sock, content):
        raise FrameError("the connection ended within a frame")
    return orjson.loads(head), content


def request_frame(requests: Sequence[ExportRequest]) -> tuple[Head, list[Content]]:
    """The head and the content of a group of requests."""
    listed = [
        {
            "signal": request.signal,
            "encoding": request.encoding,
            "received_unix_nano": request.received_unix_nano,
            "role": request.sender.role,
            "subject": request.sender.subject,
            "token_id": request.sender.token_id,
            "bytes": len(request.body),
        }
        for request in requests
    ]
    return {"requests": listed}, [request.body for request in requests]


def read_requests(head: Head, content: memoryview) -> list[ExportRequest]:
    """The requests of a frame."""
    bodies = _Pieces(content)
    return [
        ExportRequest(
            body=bodies(listed["bytes"]).tobytes(),
            signal=Signal(listed["signal"]),
            encoding=listed["encoding"],
            sender=Sender(role=listed["role"], subject=listed["subject"], token_id=listed["token_id"]),
            received_unix_nano=listed["received_unix_nano"],
        )
        for listed in head["requests"]
    ]


def prepared_frame(prepared: Prepared, **more: int) -> tuple[Head, list[Content]]:
    """The head and the content of prepared rows; `more` is told beside them."""
    streams = {dataset: _stream(batch) for dataset, batch in prepared.batches.items()}
    raws: list[Content] = []
    outcomes = [_packed(outcome, raws) for outcome in prepared.outcomes]
    parts = [[dataset, stream.size] for dataset, stream in streams.items()]
    return {"outcomes": outcomes, "parts": parts, **more}, [*streams.values(), *raws]


def read_prepared(head: Head, content: memoryview) -> Prepared:
    """The prepared rows of a frame; they stay in the frame's memory."""
    pieces = _Pieces(content)
    batches = {dataset: _batch(pieces(size)) for dataset, size in head["parts"]}
    return Prepared(batches=batches, outcomes=[_unpacked(outcome, pieces) for outcome in head["outcomes"]])


def packed_error(error: HeadgateError) -> dict[str, Any]:
    """An error as JSON."""
    known = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _ERRORS or kind is HeadgateError)
    return {"error": known, "text": str(error), "retry_after_s": getattr(error, "retry_after_s", None)}


def unpacked_error(packed: Head) -> HeadgateError:
    """The error that `packed_error` wrote."""
    if packed["retry_after_s"] is not None:
        return OverloadError(packed["text"], retry_after_s=packed["retry_after_s"])
    return _ERRORS.get(packed["error"], TransientError)(packed["text"])


def _fill(sock: socket.socket, target: memoryview) -> bool:
    """Fill `target` from the socket; False when the other side had ended before the first byte."""
    filled = 0
    while filled < len(target):
        count = sock.recv_into(target[filled:], 0, socket.MSG_WAITALL)
        if not count:
            if filled:
                raise FrameError("the connection ended within a frame")
            return False
        filled += count
    return True


class _Pieces:
    """Hands out a content piece by piece."""

    def __init__(self, content: memoryview) -> None:
        self._content, self._position = content, 0

    def __call__(self, size: int) -> memoryview:
        start = self._position
        self._position += size
        return self._content[start : self._position]


def _stream(batch: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def _batch(content: memoryview) -> pa.RecordBatch:
    with ipc.open_stream(pa.py_buffer(content)) as reader:
        return reader.read_next_batch()


def _packed(outcome: Outcome | HeadgateError, raws: list[Content]) -> dict[str, Any]:
    if isinstance(outcome, HeadgateError):
        return packed_error(outcome)
    rejected, unreadable = (
        [[record.reason, record.detail, len(record.raw)] for record in records]
        for records in (outcome.rejected, outcome.unreadable)
    )
    raws += [record.raw for record in (*outcome.rejected, *outcome.unreadable)]
    return {
        "received": outcome.received,
        "rejected": rejected,
        "unreadable": unreadable,
        "forged": outcome.forged,
    }


def _unpacked(packed: Head, pieces: _Pieces) -> Outcome | HeadgateError:
    if "error" in packed:
        return unpacked_error(packed)
    rejected, unreadable = (
        tuple(
            Rejected(reason=reason, detail=detail, raw=pieces(size).tobytes()) for reason, detail, size in packed[name]
        )
        for name in ("rejected", "unreadable")
    )
    return Outcome(received=packed["received"], rejected=rejected, unreadable=unreadable, forged=packed["forged"])
