"""OTLP in: the bytes of one export request to one Arrow batch.

`decode` is the `Decoder` of `headgate_processors.otlp.port`.
"""

from headgate_processors.otlp.json import decode_json
from headgate_processors.otlp.port import Decoded, Encoding, Signal
from headgate_processors.otlp.protobuf import decode_protobuf

__all__ = ["decode"]


def decode(body: bytes, *, signal: Signal, encoding: Encoding = "protobuf") -> Decoded:
    """What one request holds.

    Raises:
        PermanentError: nothing in `body` can be read as a request of this signal.
    """
    if encoding == "json":
        return decode_json(body, signal)
    return decode_protobuf(body, signal)
