"""Attributes and values of OTLP/JSON to protobuf's wire format."""

from collections.abc import Callable, Mapping
from typing import Any

from headgate_processors.otlp.json_fields import (
    Convert,
    bool_payload,
    bytes_payload,
    double_payload,
    int64_payload,
    malformed,
    sized,
    text_payload,
)
from headgate_processors.otlp.limits import check_nesting
from headgate_processors.otlp.wire import UnreadableError

_SCALARS: Mapping[str, tuple[bytes, Convert]] = {
    name: (tag, convert)
    for names, tag, convert in (
        (("stringValue", "string_value"), b"\x0a", text_payload),
        (("boolValue", "bool_value"), b"\x10", bool_payload),
        (("intValue", "int_value"), b"\x18", int64_payload),
        (("doubleValue", "double_value"), b"\x21", double_payload),
        (("bytesValue", "bytes_value"), b"\x3a", bytes_payload),
    )
    for name in names
}
_ARRAYS = frozenset({"arrayValue", "array_value"})
_OBJECTS = frozenset({"kvlistValue", "kvlist_value"})


def key_value_wire(value: Any, nesting: int = 0) -> bytes:
    """An encoded `KeyValue`; `nesting` counts the lists and objects around it.

    Raises:
        UnreadableError: `malformed`, `invalid_utf8` or `too_deep`.
    """
    if not isinstance(value, dict):
        raise malformed("an object with key and value", value)
    key, own = value.get("key"), value.get("value")
    wire = b"" if key is None else b"\x0a" + text_payload(key)
    try:
        return wire if own is None else wire + b"\x12" + sized(any_value_wire(own, nesting))
    except UnreadableError as error:
        detail = error.detail if nesting else f"attribute {key!r}: {error.detail}"
        raise UnreadableError(error.reason, detail) from None


def any_value_wire(value: Any, nesting: int = 0) -> bytes:
    """An encoded `AnyValue`; `nesting` counts the lists and objects around it.

    Raises:
        UnreadableError: `malformed`, `invalid_utf8` or `too_deep`.
    """
    if not isinstance(value, dict):
        raise malformed("an object for a value", value)
    wire = b""
    for name, item in value.items():
        if item is None:
            continue
        if name in _SCALARS:
            tag, convert = _SCALARS[name]
            wire += tag + convert(item)
        elif name in _ARRAYS:
            wire += b"\x2a" + _values(item, any_value_wire, nesting + 1)
        elif name in _OBJECTS:
            wire += b"\x32" + _values(item, key_value_wire, nesting + 1)
    return wire


def _values(value: Any, item_wire: Callable[[Any, int], bytes], nesting: int) -> bytes:
    """An `ArrayValue` or a `KeyValueList` with its length."""
    check_nesting(nesting)
    if not isinstance(value, dict):
        raise malformed("an object with values", value)
    items = value.get("values") or []
    if not isinstance(items, list):
        raise malformed("a list of values", items)
    wire = bytearray()
    for item in items:
        wire += b"\x0a" + sized(b"" if item is None else item_wire(item, nesting))
    return sized(bytes(wire))
