"""OTLP/JSON messages to protobuf's wire format, as the OTLP descriptors say.

The mapping is protobuf's own, save that trace and span ids are hexadecimal: names in lowerCamelCase or
as in the .proto file, 64-bit integers as text or numbers, enums by number or name, bytes in base64.
Names that a message does not have are passed over, and null is as good as absent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from headgate_processors.otlp.json_fields import (
    Convert,
    field_wire_type,
    malformed,
    scalar_conversion,
    sized,
)
from headgate_processors.otlp.json_values import any_value_wire, key_value_wire
from headgate_processors.otlp.messages import official_descriptor
from headgate_processors.otlp.wire import UnreadableError, encode_varint

_VALUES: Mapping[str, Callable[[Any], bytes]] = {"KeyValue": key_value_wire, "AnyValue": any_value_wire}


class MessageEncoder:
    """Encodes the JSON objects of one message type."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._name = descriptor.name
        self._fields: dict[str, _Field] = {}
        for field in descriptor.fields:
            self._fields[field.json_name] = self._fields[field.name] = _field(field)

    def encode(self, value: Any) -> bytes:
        """The message.

        Raises:
            UnreadableError: a member is not what the message has there.
        """
        if not isinstance(value, dict):
            raise malformed(f"an object for {self._name}", value)
        fields = self._fields
        return b"".join(
            [fields[name].encode(item) for name, item in value.items() if item is not None and name in fields]
        )

    def encode_readable(self, value: Any) -> bytes:
        """The message without those members, or items of its lists, that cannot be encoded."""
        members = value.items() if isinstance(value, dict) else ()
        return b"".join(
            [
                self._fields[name].encode_readable(item)
                for name, item in members
                if item is not None and name in self._fields
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """How one member of a JSON object becomes a field."""

    name: str
    tag: bytes
    is_repeated: bool
    convert: Convert
    message: MessageEncoder | None

    def encode(self, value: Any) -> bytes:
        """The field, or as many as a list has items."""
        if not self.is_repeated:
            return self._encode_one(value)
        if not isinstance(value, list):
            raise malformed(f"a list for {self.name}", value)
        return b"".join([self._encode_one(item) for item in value])

    def encode_readable(self, value: Any) -> bytes:
        """The field without what of it cannot be encoded."""
        if self.message is not None and not self.is_repeated:
            return self.tag + sized(self.message.encode_readable(value))
        items = value if self.is_repeated and isinstance(value, list) else [value]
        parts = []
        for item in items:
            try:
                parts.append(self._encode_one(item))
            except UnreadableError:
                continue
        return b"".join(parts)

    def _encode_one(self, value: Any) -> bytes:
        try:
            return self.tag + self.convert(value)
        except UnreadableError as error:
            raise UnreadableError(error.reason, f"{self.name}: {error.detail}") from None


@cache
def message_encoder(name: str) -> MessageEncoder:
    """The encoder of an OTLP message, by its name below `opentelemetry.proto`."""
    return MessageEncoder(official_descriptor(name))


def _field(descriptor: FieldDescriptor) -> _Field:
    message = None
    if descriptor.message_type is None:
        convert = scalar_conversion(descriptor)
    elif descriptor.message_type.name in _VALUES:
        convert = _with_size(_VALUES[descriptor.message_type.name])
    else:
        message = MessageEncoder(descriptor.message_type)
        convert = _with_size(message.encode)
    return _Field(
        name=descriptor.json_name,
        tag=encode_varint(descriptor.number << 3 | field_wire_type(descriptor)),
        is_repeated=descriptor.is_repeated,
        convert=convert,
        message=message,
    )


def _with_size(encode: Callable[[Any], bytes]) -> Convert:
    return lambda value: sized(encode(value))
