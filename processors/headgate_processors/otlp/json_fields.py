"""JSON values to the payloads of protobuf fields, one function for each field type."""

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from headgate_processors.otlp.wire import FIXED32, FIXED64, LENGTH, VARINT, UnreadableError, encode_varint

Convert = Callable[[Any], bytes]
"""From a JSON value to the bytes that follow the field's tag."""

_UINT64 = (1 << 64) - 1
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?")
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_URL_SAFE = str.maketrans("-_", "+/")
_KINDS = {str: "such text", bool: "true or false", list: "a list", dict: "an object", type(None): "null"}
_ID_FIELDS = frozenset({"trace_id", "span_id", "parent_span_id"})


def field_wire_type(field: FieldDescriptor) -> int:
    """The wire type of one value of this field."""
    return _WIRE_TYPES.get(field.type, VARINT)


def scalar_conversion(field: FieldDescriptor) -> Convert:
    """What converts a JSON value to a payload of this field; it raises `UnreadableError`."""
    if field.enum_type is not None:
        return _enum(field.enum_type)
    if field.name in _ID_FIELDS:
        return _id if field.full_name.endswith(f".Span.{field.name}") else _id_or_nothing
    return _CONVERSIONS[field.type]


def malformed(expected: str, value: object) -> UnreadableError:
    """The error of a JSON value of the wrong kind; it names the kind only, for the value may be a secret."""
    kind = _KINDS.get(type(value), "a number")
    return UnreadableError("malformed", f"expected {expected}, not {kind}")


def sized(payload: bytes) -> bytes:
    """A payload with its length before it."""
    return encode_varint(len(payload)) + payload


def text_payload(value: Any) -> bytes:
    """A text as UTF-8."""
    if not isinstance(value, str):
        raise malformed("text", value)
    try:
        return sized(value.encode())
    except UnicodeEncodeError as error:
        raise UnreadableError("invalid_utf8", f"a text is not UTF-8 at its character {error.start}") from None


def bytes_payload(value: Any) -> bytes:
    """Base64 text, of either alphabet, padded or not."""
    if not isinstance(value, str):
        raise malformed("base64 text", value)
    padded = value.translate(_URL_SAFE) + "=" * (-len(value) % 4)
    try:
        return sized(base64.b64decode(padded, validate=True))
    except ValueError:
        raise malformed("base64 text", value) from None


def _id(value: Any) -> bytes:
    if not isinstance(value, str):
        raise UnreadableError("bad_id", malformed("an id as hexadecimal text", value).detail)
    try:
        return sized(binascii.unhexlify(value))
    except ValueError:
        raise UnreadableError("bad_id", malformed("an id as hexadecimal text", value).detail) from None


def _id_or_nothing(value: Any) -> bytes:
    """An id that its record can do without."""
    try:
        return _id(value)
    except UnreadableError:
        return sized(b"")


def bool_payload(value: Any) -> bytes:
    """True or false."""
    if not isinstance(value, bool):
        raise malformed("true or false", value)
    return b"\x01" if value else b"\x00"


def double_payload(value: Any) -> bytes:
    """A number, or what stands for one that JSON cannot write."""
    if isinstance(value, str):
        number = _WORDS.get(value)
        if number is None and _NUMBER.fullmatch(value):
            number = float(value)
    else:
        number = None if isinstance(value, bool) else value
    try:
        return struct.pack("<d", number)
    except (struct.error, OverflowError):
        raise malformed("a number", value) from None


def _integer(value: Any, low: int, high: int) -> int:
    """An integer, written as a number or as text, as JavaScript must above 2^53."""
    is_text = isinstance(value, str) and _INTEGER.fullmatch(value)
    is_whole = isinstance(value, float) and value.is_integer()
    number = int(value) if is_text or is_whole else value
    if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
        raise malformed(f"an integer from {low} to {high}", value)
    return number


def _signed(bits: int) -> Convert:
    high = (1 << bits - 1) - 1

    def convert(value: Any) -> bytes:
        return encode_varint(_integer(value, ~high, high) & _UINT64)

    return convert


def _zigzag(bits: int) -> Convert:
    high = (1 << bits - 1) - 1

    def convert(value: Any) -> bytes:
        number = _integer(value, ~high, high)
        return encode_varint(number << 1 if number >= 0 else ~(number << 1))

    return convert


def _unsigned(bits: int) -> Convert:
    high = (1 << bits) - 1

    def convert(value: Any) -> bytes:
        return encode_varint(_integer(value, 0, high))

    return convert


def _fixed(layout: str, low: int, high: int) -> Convert:
    pack = struct.Struct(layout).pack

    def convert(value: Any) -> bytes:
        return pack(_integer(value, low, high))

    return convert


def int64_payload(value: Any) -> bytes:
    """A signed 64-bit integer."""
    return encode_varint(_integer(value, -(1 << 63), (1 << 63) - 1) & _UINT64)


def _enum(descriptor: EnumDescriptor) -> Convert:
    numbers = {name: value.number for name, value in descriptor.values_by_name.items()}
    by_number = _signed(32)

    def convert(value: Any) -> bytes:
        return by_number(numbers.get(value, value) if isinstance(value, str) else value)

    return convert


_WIRE_TYPES: Mapping[int, int] = {
    FieldDescriptor.TYPE_STRING: LENGTH,
    FieldDescriptor.TYPE_BYTES: LENGTH,
    FieldDescriptor.TYPE_MESSAGE: LENGTH,
    FieldDescriptor.TYPE_DOUBLE: FIXED64,
    FieldDescriptor.TYPE_FIXED64: FIXED64,
    FieldDescriptor.TYPE_SFIXED64: FIXED64,
    FieldDescriptor.TYPE_FIXED32: FIXED32,
}
_CONVERSIONS: Mapping[int, Convert] = {
    FieldDescriptor.TYPE_STRING: text_payload,
    FieldDescriptor.TYPE_BYTES: bytes_payload,
    FieldDescriptor.TYPE_BOOL: bool_payload,
    FieldDescriptor.TYPE_DOUBLE: double_payload,
    FieldDescriptor.TYPE_INT32: _signed(32),
    FieldDescriptor.TYPE_INT64: int64_payload,
    FieldDescriptor.TYPE_SINT32: _zigzag(32),
    FieldDescriptor.TYPE_UINT32: _unsigned(32),
    FieldDescriptor.TYPE_UINT64: _unsigned(64),
    FieldDescriptor.TYPE_FIXED32: _fixed("<I", 0, (1 << 32) - 1),
    FieldDescriptor.TYPE_FIXED64: _fixed("<Q", 0, _UINT64),
    FieldDescriptor.TYPE_SFIXED64: _fixed("<q", -(1 << 63), (1 << 63) - 1),
}
