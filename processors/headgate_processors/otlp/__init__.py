"""OTLP in: the bytes of one export request to one Arrow batch.

`decode` is the `Decoder` of `headgate_processors.otlp.port`.
"""

from collections.abc import Sequence

from headgate_processors.errors import PermanentError
from headgate_processors.otlp.json import decode_json
from headgate_processors.otlp.port import Decoded, Encoding, Signal
from headgate_processors.otlp.protobuf import decode_protobuf, decode_protobufs

__all__ = ["decode", "decode_together"]


def decode(body: bytes, *, signal: Signal, encoding: Encoding = "protobuf") -> Decoded:
    """What one request holds.

    Raises:
        PermanentError: nothing in `body` can be read as a request of this signal.
    """
    if encoding == "json":
        return decode_json(body, signal)
    return decode_protobuf(body, signal)


def decode_together(
    bodies: Sequence[bytes], *, signal: Signal, encoding: Encoding = "protobuf"
) -> list[Decoded | PermanentError]:
    """What `decode` gives or raises for each of several requests, in less time than one by one."""
    if encoding == "json":
        return [_json(body, signal) for body in bodies]
    return decode_protobufs(bodies, signal)


def _json(body: bytes, signal: Signal) -> Decoded | PermanentError:
    try:
        return decode_json(body, signal)
    except PermanentError as error:
        return error
