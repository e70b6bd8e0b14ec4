"""One reader of the feed: what waits for it is bounded, and one that does not read is let go."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress

from aiohttp import web

WAITING_MAX = 2_048
WRITE_S = 5.0
_MS_PER_S = 1_000


class Subscriber:
    """Gets events in order. When more than `waiting_max` wait it is dropped; it comes back with its position."""

    def __init__(self, name: str, process: str, *, waiting_max: int = WAITING_MAX) -> None:
        self.name, self.process = name, process
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue(waiting_max)
        self.is_dropped = False

    def offer(self, piece: bytes) -> None:
        """Have it told one more thing, unless too much waits already."""
        try:
            self._waiting.put_nowait(piece)
        except asyncio.QueueFull:
            self.drop()

    def drop(self) -> None:
        """Let it go, with all that waits."""
        self.is_dropped = True
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put_nowait(None)

    async def pieces(
        self, opening: Iterable[bytes], beat: Callable[[], bytes], every_s: float
    ) -> AsyncGenerator[bytes, None]:
        """What it is to hear: the opening, then what comes, and a beat whenever nothing came for so long."""
        for piece in opening:
            yield piece
        while not self.is_dropped:
            following: bytes | None = None
            with suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    following = await self._waiting.get()
            if following is not None:
                yield following
            elif self._waiting.empty() and not self.is_dropped:
                yield beat()


async def write_all(http: web.Request, answer: web.StreamResponse, pieces: AsyncGenerator[bytes, None]) -> None:
    """Write until the reader goes, or takes nothing for `WRITE_S`; then its connection ends."""
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                async with asyncio.timeout(WRITE_S):
                    await answer.write(piece)
    except (ConnectionError, TimeoutError):
        pass
    finally:
        if http.transport is not None:
            http.transport.abort()


def notice_silence(http: web.Request) -> None:
    """Have the system end a connection whose other side has vanished without a word, where it can."""
    found = http.transport.get_extra_info("socket") if http.transport is not None else None
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if found is not None and option is not None:
        with suppress(OSError):
            found.setsockopt(socket.IPPROTO_TCP, option, int(WRITE_S * _MS_PER_S))
