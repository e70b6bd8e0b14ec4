"""OTLP/protobuf to Arrow."""

from headgate_processors.otlp.assemble import assemble
from headgate_processors.otlp.columns import Origins, record_batch
from headgate_processors.otlp.messages import parse
from headgate_processors.otlp.port import Decoded, Signal
from headgate_processors.otlp.signals import SHAPES
from headgate_processors.otlp.split import split_request
from headgate_processors.otlp.values import Attributes
from headgate_processors.otlp.wire import UnreadableError


def decode_protobuf(body: bytes, signal: Signal) -> Decoded:
    """The rows of one request: all at once, record by record when one of them is bad.

    Raises:
        PermanentError: nothing in `body` can be read as a request of this signal.
        TooLargeError: it has too many records.
    """
    try:
        return _decode_whole(body, signal)
    except UnreadableError:
        return assemble(split_request(body), signal)


def _decode_whole(body: bytes, signal: Signal) -> Decoded:
    shape = SHAPES[signal]
    attributes = Attributes()
    origins = Origins(attributes)
    rows: list[object] = []
    for group in getattr(parse(shape.request, body), shape.groups):
        resource = origins.resource(group)
        for scope in getattr(group, shape.scopes):
            own = shape.rows(getattr(scope, shape.records))
            origins.add(resource, scope, len(own))
            rows += own
    return Decoded(signal=signal, batch=record_batch(signal, shape.columns(rows, attributes), origins))
