"""Attribute values: from the wire to JSON text.

A value becomes the JSON that a person would write: integers stay integers, bytes become base64,
a key-value list an object, and what JSON has no number for the words "NaN", "Infinity", "-Infinity".
"""

import math
import struct
from base64 import b64encode
from collections.abc import Collection, Iterable
from itertools import chain
from typing import Any

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList

from headgate_processors.otlp.limits import check_nesting
from headgate_processors.otlp.messages import message_class
from headgate_processors.otlp.wire import FIXED64, LENGTH, VARINT, UnreadableError, fields, read_varint

INT64_MAX = (1 << 63) - 1
_BUNDLED_BYTES = 1024
_STRING_INDEX = 8
_double = struct.Struct("<d").unpack_from

Pair = tuple[str, object]
Members = dict[str, object]


class Attributes(dict[bytes, Pair]):
    """Encoded `KeyValue` → its key and its value as JSON has it.

    Most attributes of a request repeat, so each distinct one is read once. Serves one request, whose
    size bounds it.
    """

    def __missing__(self, encoded: bytes) -> Pair:
        try:
            pair = _pair(KeyValue.FromString(encoded))
        except (DecodeError, UnreadableError):
            pair = _read_key_value(encoded, 0, len(encoded), 0)
        self[encoded] = pair
        return pair

    def of_each(self, messages: Iterable[Any]) -> list[Members]:
        """The attributes of each message.

        Raises:
            UnreadableError: a key or value cannot be read.
        """
        encoded = [list(message.attributes) for message in messages]
        self._learn(chain.from_iterable(encoded))
        return [self.members(own) for own in encoded]

    def members(self, encoded: Collection[bytes]) -> Members:
        """Key → value, in order; of a repeated key the first counts.

        Raises:
            UnreadableError: a key or value cannot be read.
        """
        members = dict(map(self.__getitem__, encoded))
        if len(members) != len(encoded):
            first = dict(map(self.__getitem__, reversed(list(encoded))))
            members = {key: first[key] for key in members}
        return members

    def _learn(self, encoded: Iterable[bytes]) -> None:
        """Read what is not long all at once, for a call of the parser costs as much as three values.

        When one of them is bad nothing is learnt, and each is read by itself later.
        """
        distinct = [one for one in dict.fromkeys(encoded) if len(one) <= _BUNDLED_BYTES and one not in self]
        bundle = message_class("common.v1.KeyValueList")(values=distinct).SerializeToString()
        try:
            pairs = list(map(_pair, KeyValueList.FromString(bundle).values))
        except (DecodeError, UnreadableError):
            return
        self.update(zip(distinct, pairs, strict=True))

    def readable_json(self, encoded: Iterable[bytes]) -> bytes | None:
        """One JSON object of those attributes that can be read, None when none can."""
        members = self.members([one for one in encoded if self._is_readable(one)])
        return orjson.dumps(members) if members else None

    def _is_readable(self, encoded: bytes) -> bool:
        try:
            self[encoded]
        except UnreadableError:
            return False
        return True


def value_json(encoded: bytes) -> bytes | None:
    """JSON text of an encoded `AnyValue`, None when it holds nothing.

    Raises:
        UnreadableError: it cannot be read.
    """
    try:
        value = _plain(AnyValue.FromString(encoded), 0)
    except (DecodeError, UnreadableError):
        value = _read_value(encoded, 0, len(encoded), 0)
    return None if value is None else orjson.dumps(value)


def double_or_word(value: float) -> float | str:
    """The number, or a word where JSON has none."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def text(encoded: bytes, what: str) -> str:
    """The text of a string field.

    Raises:
        UnreadableError: it is not UTF-8.
    """
    try:
        return encoded.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(error, what) from None


def texts(encoded: Iterable[bytes], what: str) -> list[str]:
    """The texts of a column of string fields.

    Raises:
        UnreadableError: one is not UTF-8.
    """
    try:
        return [one.decode() for one in encoded]
    except UnicodeDecodeError as error:
        raise _not_utf8(error, what) from None


def optional_texts(encoded: Iterable[bytes], what: str) -> list[str | None]:
    """The texts of a column of string fields, None for the empty ones.

    Raises:
        UnreadableError: one is not UTF-8.
    """
    try:
        return [one.decode() if one else None for one in encoded]
    except UnicodeDecodeError as error:
        raise _not_utf8(error, what) from None


def _not_utf8(error: UnicodeDecodeError, what: str) -> UnreadableError:
    return UnreadableError("invalid_utf8", f"the {what} is not UTF-8 at its byte {error.start}")


def _pair(attribute: KeyValue) -> Pair:
    """Key and value of an attribute; nearly every value is a text or number that is not empty or zero."""
    value = attribute.value
    return attribute.key, value.string_value or value.int_value or _plain(value, 0)


def _plain(value: AnyValue, depth: int) -> object:
    """A parsed `AnyValue` as Python data.

    Raises:
        UnreadableError: lists and objects nest too deeply.
    """
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case "bool_value":
            return value.bool_value
        case "double_value":
            return double_or_word(value.double_value)
        case "array_value":
            check_nesting(depth + 1)
            return [_plain(item, depth + 1) for item in value.array_value.values]
        case "kvlist_value":
            check_nesting(depth + 1)
            members: Members = {}
            for member in value.kvlist_value.values:
                members.setdefault(member.key, _plain(member.value, depth + 1))
            return members
        case "bytes_value":
            return b64encode(value.bytes_value).decode()
        case _:
            return None


def _read_key_value(buffer: bytes, position: int, end: int, depth: int) -> tuple[str, object]:
    key = b""
    parts: list[tuple[int, int]] = []
    for number, wire_type, _, start, stop in fields(buffer, position, end):
        if wire_type == LENGTH and number == 1:
            key = buffer[start:stop]
        elif wire_type == LENGTH and number == 2:
            parts.append((start, stop))
    name = text(key, "attribute key")
    try:
        return name, _read_parts(buffer, parts, depth)
    except UnreadableError as error:
        detail = f"attribute {name!r}: {error.detail}"
        raise UnreadableError(error.reason, detail if depth == 0 else error.detail) from None


def _read_parts(buffer: bytes, parts: list[tuple[int, int]], depth: int) -> object:
    """A value in several parts is their concatenation, as in every protobuf message."""
    if len(parts) == 1:
        return _read_value(buffer, *parts[0], depth)
    joined = b"".join(buffer[start:stop] for start, stop in parts)
    return _read_value(joined, 0, len(joined), depth)


def _read_value(buffer: bytes, position: int, end: int, depth: int) -> object:
    """An `AnyValue` as Python data; of several members the last counts, repeated lists append."""
    value: object = None
    last = 0
    for number, wire_type, _, start, stop in fields(buffer, position, end):
        if wire_type == LENGTH:
            match number:
                case 1:
                    value = text(buffer[start:stop], "text")
                case 5:
                    value = value if last == number and isinstance(value, list) else []
                    value += _read_list(buffer, start, stop, depth + 1)
                case 6:
                    value = value if last == number and isinstance(value, dict) else {}
                    _read_members(buffer, start, stop, depth + 1, value)
                case 7:
                    value = b64encode(buffer[start:stop]).decode()
                case _:
                    continue
        elif wire_type == VARINT and number in (2, 3):
            integer = read_varint(buffer, start, stop)[0]
            value = integer != 0 if number == 2 else integer - ((integer >> 63) << 64)
        elif wire_type == VARINT and number == _STRING_INDEX:
            value = None
        elif wire_type == FIXED64 and number == 4:
            value = double_or_word(_double(buffer, start)[0])
        else:
            continue
        last = number
    return value


def _read_list(buffer: bytes, position: int, end: int, depth: int) -> list[object]:
    check_nesting(depth)
    return [
        _read_value(buffer, start, stop, depth)
        for number, wire_type, _, start, stop in fields(buffer, position, end)
        if number == 1 and wire_type == LENGTH
    ]


def _read_members(buffer: bytes, position: int, end: int, depth: int, members: dict[str, object]) -> None:
    check_nesting(depth)
    for number, wire_type, _, start, stop in fields(buffer, position, end):
        if number == 1 and wire_type == LENGTH:
            key, value = _read_key_value(buffer, start, stop, depth)
            members.setdefault(key, value)
