"""OTLP protobuf in files: one bare request, or many with their lengths before them.

A length is four bytes, big-endian, as the Collector's file exporter writes it, or a varint as protobuf's
own delimited format has it. What a message of four-byte lengths holds may be JSON or compressed with
zstd, for the file exporter does that too. A bare request begins with the byte 0x0a, which as the first of
four bytes would be a length over the limit.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import zstandard
from google.protobuf.message import DecodeError

from headgate_processors.errors import PermanentError
from headgate_processors.otlp.port import Signal
from headgate_processors.replay.convert import REQUESTS, records_of
from headgate_processors.replay.jsonlines import signal_in_name, split_requests
from headgate_processors.replay.requests import ReplayItem, ReplayRefusal, ReplayRequest

MAX_MESSAGE_BYTES = 128 << 20
_FIELD_ONE = 0x0A
_ZSTD = b"\x28\xb5\x2f\xfd"
_LOOK_AT = 3


def protobuf_requests(path: Path, stream: io.BufferedReader) -> Iterator[ReplayItem]:
    """Every message of a stream."""
    number = 0
    try:
        for message in _messages(stream):
            number += 1
            yield from _requests(path, number, message)
    except PermanentError as error:
        yield ReplayRefusal(path=path, line=number + 1, reason=str(error))


def signal_of(body: bytes, *, hint: Signal | None) -> Signal:
    """The signal whose request the bytes are, told by what parses and makes sense; `hint` is tried first.

    Raises:
        PermanentError: they are a request of no signal.
    """
    order = sorted(Signal, key=lambda signal: signal is not hint)
    for signal in order:
        if _makes_sense(body, signal):
            return signal
    if hint is not None:
        return hint
    message = "not an OTLP request of any signal; a file name with traces, logs or metrics in it would tell"
    raise PermanentError(message)


def _requests(path: Path, number: int, message: bytes) -> Iterator[ReplayItem]:
    try:
        content = _decompressed(message)
        if content.startswith(b"{"):
            for signal, body in split_requests(content):
                yield ReplayRequest(path=path, line=number, signal=signal, encoding="json", body=body)
        else:
            signal = signal_of(content, hint=signal_in_name(path.name))
            yield ReplayRequest(path=path, line=number, signal=signal, encoding="protobuf", body=content)
    except PermanentError as error:
        yield ReplayRefusal(path=path, line=number, reason=str(error))


def _messages(stream: io.BufferedReader) -> Iterator[bytes]:
    if not stream.peek(1):
        return
    if _begins_with_length(stream.peek(8)[:8]):
        yield from _counted(stream)
        return
    whole = stream.read(MAX_MESSAGE_BYTES + 1)
    if len(whole) > MAX_MESSAGE_BYTES:
        message = f"larger than {MAX_MESSAGE_BYTES} bytes without lengths between its messages"
        raise PermanentError(message)
    yield from _varint_delimited(whole) or [whole]


def _begins_with_length(head: bytes) -> bool:
    """Whether four bytes of length come first, and then what may be a message."""
    length, content = int.from_bytes(head[:4], "big"), head[4:]
    if head[0] >= _FIELD_ONE or length > MAX_MESSAGE_BYTES:
        return False
    return length == 0 or content[:1] in {b"\x0a", b"{"} or content == _ZSTD


def _counted(stream: io.BufferedReader) -> Iterator[bytes]:
    """Messages behind four-byte lengths."""
    while head := stream.read(4):
        length = int.from_bytes(head, "big")
        if len(head) == 4 and length > MAX_MESSAGE_BYTES:
            text = f"a message of {length} bytes, {MAX_MESSAGE_BYTES} at most"
            raise PermanentError(text)
        message = stream.read(length)
        if len(head) < 4 or len(message) < length:
            text = f"the file ends within a message: {len(message)} of {length} bytes"
            raise PermanentError(text)
        yield message


def _varint_delimited(whole: bytes) -> list[bytes]:
    """Messages behind varint lengths that fill the file exactly; empty when it is no such file."""
    messages: list[bytes] = []
    at = 0
    while at < len(whole):
        length, at = _varint(whole, at)
        message = whole[at : at + length]
        if length < 0 or len(message) < length or (message and message[0] != _FIELD_ONE):
            return []
        messages.append(message)
        at += length
    return messages


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A varint of at most five bytes and where it ends; -1 when there is none."""
    value = 0
    for position in range(at, min(at + 5, len(data))):
        value |= (data[position] & 0x7F) << (7 * (position - at))
        if data[position] < 0x80:
            return value, position + 1
    return -1, at


def _decompressed(message: bytes) -> bytes:
    if not message.startswith(_ZSTD):
        return message
    try:
        with zstandard.ZstdDecompressor().stream_reader(message) as reader:
            content = reader.read(MAX_MESSAGE_BYTES + 1)
    except zstandard.ZstdError as error:
        text = f"not valid zstd: {error}"
        raise PermanentError(text) from error
    if len(content) > MAX_MESSAGE_BYTES:
        text = f"larger than {MAX_MESSAGE_BYTES} bytes when decompressed"
        raise PermanentError(text)
    return content


def _makes_sense(body: bytes, signal: Signal) -> bool:
    try:
        records = records_of(REQUESTS[signal].FromString(body), signal, at_most=_LOOK_AT)
    except DecodeError:
        return False
    match signal:
        case Signal.TRACES:
            return all(len(span.trace_id) == 16 and len(span.span_id) == 8 for span in records)
        case Signal.LOGS:
            return all(record.time_unix_nano or record.observed_time_unix_nano for record in records)
        case Signal.METRICS:
            return all(metric.name and metric.WhichOneof("data") for metric in records)
