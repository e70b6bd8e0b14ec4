"""One call on its way: bytes there and back as they are, and an end to both sides the moment it is cut."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from headgate_control.budgets.amount import Amount
from headgate_gateways.model.headers import forwarded, returned
from headgate_gateways.model.inbound import Inbound
from headgate_gateways.model.meter import Meter
from headgate_gateways.model.open_calls import OpenCall
from headgate_gateways.model.refusal import DECISION_HEADER, STATUS, last_event, refusal
from headgate_gateways.model.told import ToldCall
from headgate_gateways.model.usage import Usage, UsageReader

LAST_EVENT_S = 1.0
LEFT = "cancelled"


class Passing:
    """A call that was allowed. Run it once; then ask for what became of it.

    `error_type` is None where it ended well; `first_chunk_ns` counts from the moment that it was passed on.
    """

    def __init__(
        self, inbound: Inbound, client: aiohttp.ClientSession, call: OpenCall, *, decision_id: str, meter: Meter | None
    ) -> None:
        self._inbound, self._http, self._upstream = inbound, inbound.http, inbound.upstream
        self._client, self._call, self._decision_id, self._meter = client, call, decision_id, meter
        self._reader = UsageReader(is_stream=inbound.asked is not None and inbound.asked.is_stream)
        self._answer: web.StreamResponse | None = None
        self.was_answered = False
        self.http_status: int | None = None
        self.error_type: str | None = None
        self.first_chunk_ns: int | None = None
        self._began_ns = 0
        self._usage: Usage | None = None

    @property
    def reader(self) -> UsageReader:
        """What was read of the answer."""
        return self._reader

    @property
    def usage(self) -> Usage:
        """What it has cost. Ask when it is over."""
        if self._usage is None:
            self._usage = self._reader.finished()
        return self._usage

    def told(self, call: ToldCall, cost: Amount) -> ToldCall:
        """The call with what became of it. Ask when it is over."""
        return replace(
            call,
            usage=self.usage if self.was_answered else None,
            cost_nano_usd=cost.nano_usd if self.was_answered else None,
            model=self._reader.model,
            response_id=self._reader.response_id,
            finish_reasons=self._reader.finish_reasons,
            first_chunk_ns=self.first_chunk_ns,
            http_status=self.http_status,
            attempts=1,
            failed_attempts=0 if self.was_answered else 1,
        )

    async def run(self) -> web.StreamResponse:
        """Pass it on until it ends, or is cut."""
        pump = asyncio.ensure_future(self._pump())
        cut = asyncio.ensure_future(self._call.until_cut())
        self._began_ns = time.perf_counter_ns()
        try:
            await self._until_over(pump, cut)
            if pump.done():
                return pump.result()
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            return await self._ended()
        except asyncio.CancelledError:
            self.error_type = LEFT
            raise
        except ConnectionResetError:
            # The agent left while it was written to.
            self.error_type = LEFT
            raise
        except aiohttp.ClientError as error:
            self.error_type = type(error).__name__
            return await self._broken(f"the provider cannot be reached: {type(error).__name__}")
        finally:
            for task in (pump, cut):
                task.cancel()
            await asyncio.gather(pump, cut, return_exceptions=True)

    async def _until_over(self, pump: "asyncio.Future[web.StreamResponse]", cut: "asyncio.Future[None]") -> None:
        """Return when it has ended or is cut; time costs too, and is reserved meanwhile."""
        meter = self._meter
        over: set[asyncio.Future[Any]] = {pump, cut}
        while True:
            due_s = meter.due_s() if meter is not None else None
            done, _ = await asyncio.wait(over, timeout=due_s, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return
            if meter is not None and (why := await meter.waited()) is not None:
                self._call.cut("budget", why)

    async def _pump(self) -> web.StreamResponse:
        response = await self._client.request(
            self._http.method,
            URL(self._inbound.target.url, encoded=True).with_query(self._http.query_string or None),
            data=self._inbound.body or None,
            headers=forwarded(self._http.headers, self._upstream.credentials()),
            allow_redirects=False,
        )
        try:
            self.http_status = response.status
            if not response.ok:
                self.error_type = str(response.status)
            if 300 <= response.status < 400:
                self.error_type = "redirect"
                return await self._broken("the provider answers with a redirect, which is not followed")
            self.was_answered = response.status < 300
            return await self._told(response)
        finally:
            response.close()
            self._call.upstream_closed.set()

    async def _told(self, response: aiohttp.ClientResponse) -> web.StreamResponse:
        headers = returned(response.headers)
        headers[DECISION_HEADER] = self._decision_id
        self._answer = answer = web.StreamResponse(status=response.status, headers=headers)
        await answer.prepare(self._http)
        async for piece in response.content.iter_any():
            if self.first_chunk_ns is None:
                self.first_chunk_ns = time.perf_counter_ns() - self._began_ns
            self._reader.feed(piece)
            if self._meter is not None and (why := await self._meter.passed(self._reader)) is not None:
                self._call.cut("budget", why)
                # Whoever runs this ends it now, as any call that is cut.
                await asyncio.Event().wait()
            await answer.write(piece)
        await answer.write_eof()
        return answer

    async def _ended(self) -> web.StreamResponse:
        """End the client's side of a call that was cut: in words where it still can hear, else by its connection."""
        code, message = self._call.reason or ("stopped", "stopped")
        self.error_type = code
        if self._answer is None:
            headers = {DECISION_HEADER: self._decision_id}
            body = refusal(self._upstream.kind, code, message)
            return web.Response(status=STATUS, body=body, headers=headers, content_type="application/json")
        answer, transport = self._answer, self._http.transport
        is_stream = answer.headers.get("content-type", "").startswith("text/event-stream")
        # Bytes that wait for the client say that it does not read, so it will not read this either.
        if is_stream and transport is not None and not transport.get_write_buffer_size():
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(LAST_EVENT_S):
                    await answer.write(last_event(self._upstream.kind, code, message))
                    await answer.write_eof()
                    return answer
        self._abort()
        return answer

    def _abort(self) -> None:
        """End the client's connection, whatever it is doing."""
        if self._http.transport is not None:
            self._http.transport.abort()

    async def _broken(self, why: str) -> web.StreamResponse:
        if self._answer is None:
            body = refusal(self._upstream.kind, "upstream", why)
            return web.Response(status=502, body=body, content_type="application/json")
        self._abort()
        return self._answer
