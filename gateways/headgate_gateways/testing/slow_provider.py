"""A provider whose calls are in any phase for as long as its client stays, and which knows when that has gone.

The client asks for a phase by the header `x-phase`, and says by `x-who` whose call it is.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Self

EVERY_S = 0.01
_WORD = b'data: {"choices":[{"delta":{"content":"word "}}]}\n\n'
_FLOOD = _WORD * 2_000
_LIMITED = b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
_PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


class SlowProvider:
    """On loopback, in the event loop that enters it. `open` counts the calls that have not ended, by whose they are."""

    def __init__(self) -> None:
        self.open: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where it is, without `/v1`."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
                await reader.readexactly(int(headers.get("content-length", "0")))
                who, phase = headers.get("x-who", ""), headers.get("x-phase", "")
                if phase in {"streaming", "stalled", "not reading"}:
                    await self._held(reader, writer, who, phase)
                    break
                self.refused[who] += phase == "retrying"
                writer.write(_LIMITED if phase == "retrying" else _PLAIN)
                await writer.drain()
        writer.close()

    async def _held(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, who: str, phase: str) -> None:
        """Be in a phase until the client is gone."""
        self.open[who] += 1
        answering = asyncio.ensure_future(self._answer(writer, phase))
        try:
            with suppress(ConnectionError):
                await reader.read(1)
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            self.open[who] -= 1

    async def _answer(self, writer: asyncio.StreamWriter, phase: str) -> None:
        if phase == "stalled":
            return
        writer.write(_STREAM)
        while True:
            writer.write(_WORD if phase == "streaming" else _FLOOD)
            await writer.drain()
            await asyncio.sleep(EVERY_S if phase == "streaming" else 0)
