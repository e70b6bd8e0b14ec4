"""OTLP/protobuf to Arrow."""

from collections.abc import Sequence
from itertools import pairwise

from headgate_processors.errors import PermanentError, TooLargeError
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


def decode_protobufs(bodies: Sequence[bytes], signal: Signal) -> list[Decoded | PermanentError]:
    """What `decode_protobuf` gives or raises for each request; their batches are slices of one.

    Building a batch costs as much for one row as for hundreds. One request that is not whole makes each
    stand alone.
    """
    try:
        return list(_decode_wholes(bodies, signal))
    except (UnreadableError, TooLargeError):
        return [_decoded_or_error(body, signal) for body in bodies]


def _decoded_or_error(body: bytes, signal: Signal) -> Decoded | PermanentError:
    try:
        return decode_protobuf(body, signal)
    except PermanentError as error:
        return error


def _decode_whole(body: bytes, signal: Signal) -> Decoded:
    return _decode_wholes([body], signal)[0]


def _decode_wholes(bodies: Sequence[bytes], signal: Signal) -> list[Decoded]:
    shape = SHAPES[signal]
    attributes = Attributes()
    origins = Origins(attributes)
    rows: list[object] = []
    ends, block_ends = [0], [0]
    for body in bodies:
        for group in getattr(parse(shape.request, body), shape.groups):
            resource = origins.resource(group)
            for scope in getattr(group, shape.scopes):
                own = shape.rows(getattr(scope, shape.records))
                origins.add(resource, scope, len(own))
                rows += own
        ends.append(len(rows))
        block_ends.append(len(origins.blocks))
    batch = record_batch(signal, shape.columns(rows, attributes), origins)
    return [
        Decoded(signal=signal, batch=batch.slice(start, end - start), blocks=tuple(origins.blocks[first:last]))
        for (start, end), (first, last) in zip(pairwise(ends), pairwise(block_ends), strict=True)
    ]
