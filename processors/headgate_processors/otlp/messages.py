"""The OTLP messages as the decoder parses them: framing by protobuf's C parser, text and values left as bytes.

The classes are made from the official descriptors with every string, `KeyValue` and `AnyValue` turned
into bytes. One string that is not UTF-8 then spoils its record only, and an attribute that repeats is
read once.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from headgate_processors.otlp.wire import UnreadableError, fields

_OPAQUE = frozenset({".opentelemetry.proto.common.v1.KeyValue", ".opentelemetry.proto.common.v1.AnyValue"})


@cache
def message_class(name: str) -> Any:
    """The opaque class of an OTLP message, by its name below `opentelemetry.proto`."""
    return GetMessageClass(_pool().FindMessageTypeByName(f"opentelemetry.proto.{name}"))


def parse(name: str, encoded: bytes) -> Any:
    """The opaque message of that name.

    Raises:
        UnreadableError: `truncated`, `malformed`, or `too_deep` where groups nest.
    """
    try:
        return message_class(name).FromString(encoded)
    except DecodeError:
        pass
    for _ in fields(encoded, 0, len(encoded)):
        pass
    raise UnreadableError("malformed", f"the bytes are not a {name.rpartition('.')[2]} message")


def official_descriptor(name: str) -> Descriptor:
    """The descriptor of an OTLP message, by its name below `opentelemetry.proto`."""
    package, _, message = name.rpartition(".")
    return _official_files()[f"opentelemetry.proto.{package}"].message_types_by_name[message]


@cache
def _official_files() -> Mapping[str, FileDescriptor]:
    """Package → file; every file after those that it imports."""
    files: dict[str, FileDescriptor] = {}
    for service in (trace_service_pb2, logs_service_pb2, metrics_service_pb2):
        _add_with_dependencies(service.DESCRIPTOR, files)
    return files


def _add_with_dependencies(file: FileDescriptor, files: dict[str, FileDescriptor]) -> None:
    for dependency in file.dependencies:
        _add_with_dependencies(dependency, files)
    files[file.package] = file


@cache
def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for file in _official_files().values():
        opaque = FileDescriptorProto()
        file.CopyToProto(opaque)
        opaque.ClearField("service")
        for message in opaque.message_type:
            _make_opaque(message)
        pool.Add(opaque)
    return pool


def _make_opaque(message: DescriptorProto) -> None:
    for nested in message.nested_type:
        _make_opaque(nested)
    for field in message.field:
        if field.type == FieldDescriptorProto.TYPE_STRING or field.type_name in _OPAQUE:
            field.type = FieldDescriptorProto.TYPE_BYTES
            field.ClearField("type_name")
