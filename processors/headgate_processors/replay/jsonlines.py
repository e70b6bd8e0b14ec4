"""OTLP JSON, a request to a line: bare, or under `request` or `body` beside what a recorder knew of it."""

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from headgate_processors.errors import PermanentError
from headgate_processors.otlp.port import Signal
from headgate_processors.replay.requests import ReplayItem, ReplayRefusal, ReplayRequest

MAX_LINE_BYTES = 256 << 20
_KEYS: Mapping[str, Signal] = {
    "resourceSpans": Signal.TRACES,
    "resource_spans": Signal.TRACES,
    "resourceLogs": Signal.LOGS,
    "resource_logs": Signal.LOGS,
    "resourceMetrics": Signal.METRICS,
    "resource_metrics": Signal.METRICS,
}
_WRAPPERS = ("request", "body")
_PATH_WORDS: Mapping[str, Signal] = {
    "trace": Signal.TRACES,
    "span": Signal.TRACES,
    "log": Signal.LOGS,
    "metric": Signal.METRICS,
}


def json_lines(path: Path, stream: io.BufferedReader) -> Iterator[ReplayItem]:
    """Every line of a stream."""
    yield from _numbered(path, _lines(stream))


def json_document(path: Path, stream: io.BufferedReader) -> Iterator[ReplayItem]:
    """A stream that is one document, spread over lines, or else has a document in each line."""
    first = stream.readline(MAX_LINE_BYTES + 1)
    if _is_json(first):
        yield from _numbered(path, itertools.chain([first], _lines(stream)))
        return
    text = first + stream.read(MAX_LINE_BYTES)
    if _is_json(text):
        yield from _requests(path, 1, text)
        return
    yield from _numbered(path, itertools.chain(text.splitlines(keepends=True), _lines(stream)))


def split_requests(text: bytes) -> list[tuple[Signal, bytes]]:
    """The requests of one JSON document, each with its signal; a document seldom holds more than one.

    Raises:
        PermanentError: it is no export request.
    """
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        message = f"not JSON: {error}"
        raise PermanentError(message) from error
    request = _unwrapped(document)
    present = {key: _KEYS[key] for key in request if key in _KEYS}
    if len(present) > 1:
        return [(signal, orjson.dumps({key: request[key]})) for key, signal in present.items()]
    body = text.strip() if request is document else orjson.dumps(request)
    return [(next(iter(present.values())) if present else _declared(document), body)]


def signal_in_name(text: str) -> Signal | None:
    """The signal that a URL path, a gRPC method, or a file name speaks of; None when it speaks of none or several."""
    found = {signal for word, signal in _PATH_WORDS.items() if word in text.lower()}
    return found.pop() if len(found) == 1 else None


def _numbered(path: Path, lines: Iterable[bytes]) -> Iterator[ReplayItem]:
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_LINE_BYTES:
            yield ReplayRefusal(path=path, line=number, reason=f"line longer than {MAX_LINE_BYTES} bytes")
        elif line.strip():
            yield from _requests(path, number, line)


def _requests(path: Path, number: int, text: bytes) -> Iterator[ReplayItem]:
    try:
        found = split_requests(text)
    except PermanentError as error:
        yield ReplayRefusal(path=path, line=number, reason=str(error))
        return
    for signal, body in found:
        yield ReplayRequest(path=path, line=number, signal=signal, encoding="json", body=body)


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _lines(stream: io.BufferedReader) -> Iterator[bytes]:
    """Lines; of one that is too long only its beginning."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE_BYTES + 1)
        yield line


def _unwrapped(document: Any) -> dict[str, Any]:
    if isinstance(document, dict):
        for wrapper in _WRAPPERS:
            if isinstance(document.get(wrapper), dict):
                return dict(document[wrapper])
        return document
    message = f"a JSON {type(document).__name__}, expected an object that is an export request"
    raise PermanentError(message)


def _declared(document: dict[str, Any]) -> Signal:
    for key in ("signal", "path"):
        signal = signal_in_name(str(document.get(key) or ""))
        if signal is not None:
            return signal
    message = f"no export request: none of {', '.join(list(_KEYS)[::2])}, and no `signal` or `path` that names one"
    raise PermanentError(message)
