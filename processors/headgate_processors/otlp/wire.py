"""Protobuf's wire format, read within bounds: the fields of one message.

Positions are offsets into the whole buffer, so nothing is copied until a leaf is taken.
"""

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, LENGTH, GROUP, END_GROUP, FIXED32 = range(6)
MAX_GROUPS = 32
_UINT64 = (1 << 64) - 1
_VARINT_BITS = 63
_ONE_BYTE = tuple(bytes([value]) for value in range(0x80))


class UnreadableError(Exception):
    """A record, or a part of one, that cannot be kept.

    `reason` is the short word for counting, `detail` a sentence for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Field(NamedTuple):
    """One field: its payload is `buffer[start:stop]`, its tag begins at `tag`."""

    number: int
    wire_type: int
    tag: int
    start: int
    stop: int


def read_varint(buffer: bytes, position: int, end: int) -> tuple[int, int]:
    """An unsigned 64-bit integer and the position after it."""
    value = shift = 0
    while position < end:
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _UINT64, position
        shift += 7
        if shift > _VARINT_BITS:
            raise UnreadableError("malformed", f"the integer at byte {position} is longer than 10 bytes")
    raise UnreadableError("truncated", f"an integer is cut off at byte {end}")


def read_field(buffer: bytes, position: int, end: int) -> Field:
    """The field at `position`; a length may reach past `end`, which the caller must check."""
    key, start = read_varint(buffer, position, end)
    number, wire_type = key >> 3, key & 7
    if not 0 < number < 1 << 29:
        raise UnreadableError("malformed", f"{number} at byte {position} is not a field number")
    match wire_type:
        case 0:
            stop = read_varint(buffer, start, end)[1]
        case 1:
            stop = start + 8
        case 2:
            length, start = read_varint(buffer, start, end)
            stop = start + length
        case 3:
            stop = _group_end(buffer, start, end)
        case 5:
            stop = start + 4
        case _:
            raise UnreadableError("malformed", f"{wire_type} at byte {position} is not a wire type")
    return Field(number, wire_type, position, start, stop)


def fields(buffer: bytes, position: int, end: int) -> Iterator[Field]:
    """The fields of the message in `buffer[position:end]`.

    Raises:
        UnreadableError: `truncated` or `malformed`; the fields before it were given.
    """
    while position < end:
        field = read_field(buffer, position, end)
        if field.stop > end:
            raise UnreadableError("truncated", f"field {field.number} ends {field.stop - end} bytes past byte {end}")
        yield field
        position = field.stop


def frame(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return encode_varint(number << 3 | LENGTH) + encode_varint(len(payload)) + payload


def encode_varint(value: int) -> bytes:
    """An unsigned integer of at most 64 bits."""
    if value < len(_ONE_BYTE):
        return _ONE_BYTE[value]
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _group_end(buffer: bytes, position: int, end: int) -> int:
    """The position after a group, a form that OTLP never uses but that a parser must skip."""
    depth = 1
    while depth:
        if depth > MAX_GROUPS:
            raise UnreadableError("too_deep", f"groups nest deeper than {MAX_GROUPS} at byte {position}")
        key, after = read_varint(buffer, position, end)
        if key & 7 in (GROUP, END_GROUP):
            depth += 1 if key & 7 == GROUP else -1
            position = after
        else:
            position = read_field(buffer, position, end).stop
        if position > end:
            raise UnreadableError("truncated", f"a group is cut off at byte {end}")
    return position
