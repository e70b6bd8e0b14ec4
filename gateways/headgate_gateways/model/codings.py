"""Answers that come compressed although none is asked for: read as they come, a piece of bounded size at a time."""

import zlib
from collections.abc import AsyncIterator

import aiohttp

PIECE_BYTES_MAX = 64 << 10
_READABLE = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


def coding_of(response: aiohttp.ClientResponse) -> str | None:
    """How an answer is coded; None where it is as it is."""
    told = response.headers.get("content-encoding", "").strip().lower()
    return told if told not in {"", "identity"} else None


def is_readable(coding: str | None) -> bool:
    """Whether `pieces_of` reads such an answer."""
    return coding is None or coding in _READABLE


def pieces_of(response: aiohttp.ClientResponse, coding: str | None) -> AsyncIterator[bytes]:
    """The pieces of an answer, as it is without its coding.

    Raises:
        ClientPayloadError: it is not coded as it says, or ends too early.
    """
    pieces = response.content.iter_any()
    return pieces if coding is None else _inflated(pieces)


async def _inflated(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    inflate, is_begun = zlib.decompressobj(_GZIP_OR_ZLIB), False
    async for piece in pieces:
        left, is_more = piece, False
        while left or is_more:
            if inflate.eof:
                inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
            try:
                found = inflate.decompress(left, PIECE_BYTES_MAX)
            except zlib.error as error:
                raise aiohttp.ClientPayloadError(f"an answer that cannot be decompressed: {error}") from error
            left, is_begun = inflate.unconsumed_tail or inflate.unused_data, True
            is_more = len(found) == PIECE_BYTES_MAX and not inflate.eof
            if found:
                yield found
    if is_begun and not inflate.eof:
        raise aiohttp.ClientPayloadError("a compressed answer that ends too early")
