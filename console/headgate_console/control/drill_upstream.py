"""A provider for drills: it streams or stalls for as long as somebody listens, and knows when nobody does any more.

Of a call that is to be tried again it refuses the first attempt, as if too many were made, and stalls at the next.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

CHUNK = (
    b'data: {"id":"chatcmpl-drill","object":"chat.completion.chunk","model":"drill",'
    b'"choices":[{"index":0,"delta":{"content":"still here "},"finish_reason":null}]}\n\n'
)
EVERY_S = 0.02
TOO_MANY = 429
STALLED = "stalled"
RETRYING = "retrying"
OPEN_S_MAX = 60.0


@dataclass(slots=True, kw_only=True)
class DrillUpstream:
    """One request at a time: `asked` is set when it has come, `closed_ns` when its connection is gone (monotonic)."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    closed_ns: int = 0
    refused: bool = False

    def again(self) -> None:
        """Forget the last request."""
        self.asked.clear()
        self.closed.clear()
        self.closed_ns, self.refused = 0, False

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Its base URL, on this machine alone."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        phase = (await http.json()).get("model")
        if phase == RETRYING and not self.refused:
            self.refused = True
            return web.json_response({"error": {"message": "try again"}}, status=TOO_MANY)
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        try:
            async with asyncio.timeout(OPEN_S_MAX):
                if phase in {STALLED, RETRYING}:
                    self.asked.set()
                    await asyncio.sleep(OPEN_S_MAX)
                await answer.prepare(http)
                while True:
                    await answer.write(CHUNK)
                    self.asked.set()
                    await asyncio.sleep(EVERY_S)
        except TimeoutError:
            return answer
        finally:
            self.closed_ns = time.monotonic_ns()
            self.closed.set()
