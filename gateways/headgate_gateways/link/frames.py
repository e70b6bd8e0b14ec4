"""Server-sent events, read from pieces of a body however they are cut."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from headgate_processors.errors import PermanentError, TooLargeError

EVENT_BYTES_MAX = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One event; `position` is its id, where it has one."""

    name: str
    body: Mapping[str, Any]
    position: int | None = None


class FrameReader:
    """Reads one connection. Of an event that is not whole yet, no more than `bytes_max` are kept."""

    def __init__(self, *, bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._rest = bytearray()

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """The events that are whole with this piece.

        Raises:
            TooLargeError: one does not end.
            PermanentError: one is no event of a feed.
        """
        self._rest += piece
        while (end := self._rest.find(b"\n\n")) >= 0:
            block = bytes(self._rest[:end])
            del self._rest[: end + 2]
            found = _frame(block)
            if found is not None:
                yield found
        if len(self._rest) > self._bytes_max:
            raise TooLargeError(f"an event of the feed is larger than {self._bytes_max} bytes")


def _frame(block: bytes) -> Frame | None:
    """The event of a block; None where it has no data, such as a `retry` or a comment."""
    fields: dict[bytes, bytes] = {}
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        fields[name] = value.removeprefix(b" ")
    if b"data" not in fields:
        return None
    try:
        body = orjson.loads(fields[b"data"])
        position = int(fields[b"id"]) if b"id" in fields else None
    except ValueError as error:
        raise PermanentError(f"what control sends is no event of a feed: {error}") from error
    if not isinstance(body, Mapping):
        raise PermanentError("what control sends is no event of a feed: its data is no object")
    return Frame(name=fields.get(b"event", b"message").decode(errors="replace"), body=body, position=position)
