"""An answer on its way: piece by piece, late, stalled or broken off."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headgate_processors.testing.model_server.journal import Outcome
from headgate_processors.testing.model_server.scenario import Fault
from headgate_processors.testing.serving import BrokenError

_PIECES = 4
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What happens between the pieces."""

    fault: Fault
    between_events_s: float = 0


class Telling(Response):
    """Sends pieces at a pace, and says at the end whether the client got them all."""

    def __init__(
        self, pieces: Sequence[bytes], headers: Mapping[str, str], pace: Pace, told: Callable[[Outcome], None]
    ) -> None:
        super().__init__(status_code=200, headers=headers)
        self._pieces, self._pace, self._told = pieces, pace, told
        del self.headers["content-length"]
        if not headers["content-type"].startswith("text/event-stream"):
            self.headers["content-length"] = str(sum(map(len, pieces)))

    async def __call__(self, _scope: Scope, receive: Receive, send: Send, /) -> None:
        """Send everything.

        Raises:
            BrokenError: not everything was sent; whoever serves this must close the connection.
        """
        left = len(self._pieces)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for piece in self._paced(receive):
                left -= 1
                if left == 0:
                    # Before the client has the end, so that a client that then asks the journal finds this in it.
                    self._told("answered")
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if left > 0:
                self._told("broken")

    async def _paced(self, receive: Receive) -> AsyncIterator[bytes]:
        fault = self._pace.fault
        gone = asyncio.ensure_future(_gone(receive))
        try:
            for at, piece in enumerate(self._pieces):
                is_struck = at == min(fault.after_events, len(self._pieces) - 1)
                if is_struck and fault.stall_s:
                    await asyncio.wait([gone], timeout=fault.stall_s)
                if gone.done() or (is_struck and fault.cut):
                    raise BrokenError
                yield piece
                if self._pace.between_events_s:
                    await asyncio.sleep(self._pace.between_events_s)
        finally:
            gone.cancel()


def halves(body: bytes) -> list[bytes]:
    """A plain body in pieces that can be broken between."""
    size = len(body) // _PIECES + 1
    return [body[at : at + size] for at in range(0, len(body), size)]


def coded(pieces: Sequence[bytes], coding: str) -> list[bytes]:
    """Pieces under a coding, each to be read as it comes; one that the standard library does not have is said alone."""
    if coding == "br":
        return list(pieces)
    deflate = zlib.compressobj(wbits=_GZIP if coding == "gzip" else zlib.MAX_WBITS)
    found = [deflate.compress(piece) + deflate.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return [*found[:-1], found[-1] + deflate.flush()]


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
