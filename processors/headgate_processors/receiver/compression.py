"""Decompression under a bound: a request that grows over the limit is refused when it has reached it."""

from collections.abc import Callable

import pyarrow as pa

from headgate_processors.errors import PermanentError, TooLargeError

ENCODINGS = ("gzip", "zstd", "identity")
_PIECE_BYTES = 1 << 20


def decompressed(
    body: bytes, *, encoding: str, max_bytes: int, reserve: Callable[[int], None] = lambda _: None
) -> bytes:
    """The bytes behind a content encoding of `ENCODINGS`.

    `reserve` is told the size of each piece before the next one is read, and may raise.

    Raises:
        TooLargeError: more than `max_bytes` come out; reading ends there.
        PermanentError: the body is not what its encoding says, or ends too early.
    """
    if encoding == "identity":
        return body
    pieces: list[bytes] = []
    size = 0
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), encoding) as stream:
            while piece := stream.read(_PIECE_BYTES):
                size += len(piece)
                if size > max_bytes:
                    message = f"request larger than {max_bytes} bytes when decompressed: send smaller batches"
                    raise TooLargeError(message)
                reserve(len(piece))
                pieces.append(piece)
    except OSError as error:
        message = f"body is not valid {encoding}: {error}"
        raise PermanentError(message) from error
    return b"".join(pieces)
