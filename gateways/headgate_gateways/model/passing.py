"""One call on its way: bytes there and back as they are, and an end to both sides the moment it is cut."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from headgate_control.budgets.amount import Amount
from headgate_gateways.model.cache import ANSWER_BYTES_MAX
from headgate_gateways.model.codings import coding_of, is_readable, pieces_of
from headgate_gateways.model.headers import forwarded, request_id_of, returned
from headgate_gateways.model.inbound import Inbound
from headgate_gateways.model.meter import Meter
from headgate_gateways.model.open_calls import OpenCall
from headgate_gateways.model.refusal import DECISION_HEADER, STATUS, last_event, refusal
from headgate_gateways.model.told import ToldCall
from headgate_gateways.model.unfinished import Entry
from headgate_gateways.model.usage import Usage, UsageReader, tier_of
from headgate_processors.errors import TransientError

LAST_EVENT_S = 1.0
READ_S = 120.0
ERROR_BYTES_MAX = 1 << 20
SLICE_BYTES = 256 << 10
WHOLE_BYTES_MAX = 64 << 10
LEFT = "cancelled"
EVENTS = "text/event-stream"
_LOG = logging.getLogger(__name__)
OK = 200
TOO_MANY = 429
BAD_GATEWAY = 502
_UNSENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_LAST_EVENTS = (b"data: [DONE]", b'"message_stop"', b'"response.completed"')

More = Callable[[], Awaitable[tuple[Inbound, str] | None]]
"""The same call to the next provider that it may go to, and by which decision; None when there is none."""


class Passing:
    """A call that was allowed. Run it once; then ask for what became of it.

    `inbound` is the call as it was passed on last; `more` gives it to another provider where the first cannot answer.
    `error_type` is None where it ended well; `first_chunk_ns` counts from the moment that it was passed on. `may_cost`
    says that a provider has it, or has answered it, so it costs something. `keeps`: its answer is kept for `whole`.
    """

    def __init__(
        self,
        inbound: Inbound,
        client: aiohttp.ClientSession,
        call: OpenCall,
        *,
        decision_id: str,
        more: More,
        backoff_s: float = 0.1,
        keeps: bool = False,
    ) -> None:
        self.inbound, self._http = inbound, inbound.http
        self._client, self._call, self._decision_id = client, call, decision_id
        self._more, self._backoff_s = more, backoff_s
        asked = inbound.asked
        self._reader = UsageReader(
            is_stream=asked is not None and asked.is_stream,
            has_output=asked is not None and asked.operation != "embeddings",
            service_tier=tier_of(asked.body) if asked is not None else None,
        )
        self._answer: web.StreamResponse | None = None
        self._secrets: list[str] = []
        self._pieces: list[bytes] | None = [] if keeps else None
        self._kept_bytes, self._is_whole, self._content_type = 0, False, ""
        self.meter: Meter | None = None
        self.warned: Callable[[], Mapping[str, str]] = dict
        self.entry: Entry | None = None
        self.may_cost = False
        self.was_answered = False
        self.attempts = self.failed_attempts = 0
        self.http_status: int | None = None
        self.request_id: str | None = None
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
        """The call with what became of it, under the names by which it was passed on last. Ask when it is over."""
        asked, before = self.inbound.asked, call.request_model
        model = asked.model if asked is not None else before
        return replace(
            call,
            provider=self.inbound.upstream.name,
            request_model=model,
            routed_from_model=call.routed_from_model or (before if model != before else None),
            usage=self.usage if self.was_answered else None,
            cost_nano_usd=cost.nano_usd if self.may_cost else None,
            model=self._reader.model,
            response_id=self._reader.response_id,
            request_id=self.request_id,
            finish_reasons=self._reader.finish_reasons,
            first_chunk_ns=self.first_chunk_ns,
            http_status=self.http_status,
            attempts=self.attempts,
            failed_attempts=self.failed_attempts,
        )

    def whole(self) -> tuple[str, bytes] | None:
        """The type and body of an answer that was kept and came to its end; None of any other."""
        if self._pieces is None or not self._is_whole or self.http_status != OK or self.error_type is not None:
            return None
        body = b"".join(self._pieces)
        is_stream = self.inbound.asked is not None and self.inbound.asked.is_stream
        if is_stream and not any(mark in body for mark in _LAST_EVENTS):
            return None
        return self._content_type, body

    async def run(self) -> web.StreamResponse:
        """Pass it on until it ends, or is cut."""
        pump = asyncio.ensure_future(self._pump())
        self._call.ends_by(pump.cancel)
        self._began_ns = time.perf_counter_ns()
        try:
            await self._until_over(pump)
            if pump.cancelled() or (self._call.reason is not None and pump.exception() is not None):
                return await self._ended()
            return pump.result()
        except (asyncio.CancelledError, ConnectionResetError):
            # The agent left, maybe while it was written to. Some do so as soon as they have the last event.
            if not self._reader.is_over:
                self.error_type = LEFT
            elif self._reader.error_type is not None:
                self._failed(self._reader.error_type)
            raise
        except TransientError as error:
            _LOG.error("%s", error)
            self._failed("provider_key")
            return await self._broken("the gateway has no key for this provider")
        except aiohttp.ClientError as error:
            self._failed(type(error).__name__)
            return await self._broken(_why_broken(error, is_begun=self.http_status is not None))
        except Exception:
            self._failed("gateway_error")
            raise
        finally:
            if not pump.done():
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)

    async def _until_over(self, pump: "asyncio.Future[web.StreamResponse]") -> None:
        """Return when it has ended or is cut; time costs too, and is reserved meanwhile."""
        meter = self.meter
        while True:
            due_s = meter.due_s() if meter is not None else None
            done, _ = await asyncio.wait({pump}, timeout=due_s)
            if done:
                return
            if meter is not None and (why := await meter.waited()) is not None:
                self._call.cut("budget", why)
            self._keep_count()

    async def _pump(self) -> web.StreamResponse:
        try:
            response = await self._answered()
            try:
                if not response.ok:
                    self._failed(str(response.status))
                if 300 <= response.status < 400:
                    self._failed("redirect")
                    return await self._broken("the provider answers with a redirect, which is not followed")
                coding = coding_of(response)
                if not is_readable(coding):
                    return await self._unreadable(coding)
                self.was_answered = self.may_cost = response.status < 300
                answer = await self._told(response, coding)
                self._usage = self._reader.finished()
                if self.error_type is None and self._reader.error_type is not None:
                    self._failed(self._reader.error_type)
                return answer
            finally:
                response.close()
        finally:
            self._call.upstream_closed.set()

    async def _answered(self) -> aiohttp.ClientResponse:
        """The answer of the first provider that can give one, else that of the last one."""
        while True:
            response = None
            try:
                response = await self._sent()
                if not _is_passing(response.status) or (following := await self._more()) is None:
                    return response
            except aiohttp.ClientError as error:
                # A provider that has it and says nothing may have worked on it.
                self.may_cost = not isinstance(error, _UNSENT)
                if (following := await self._more()) is None:
                    if isinstance(error, ConnectionResetError):
                        raise aiohttp.ServerDisconnectedError from error
                    raise
            except BaseException:
                if response is not None:
                    response.close()
                raise
            if response is not None:
                response.close()
            self.failed_attempts += 1
            self.inbound, self._decision_id = following
            await asyncio.sleep(self._backoff_s * 2 ** (self.attempts - 1))

    async def _sent(self) -> aiohttp.ClientResponse:
        inbound = self.inbound
        query = self._http.rel_url.raw_query_string
        self.attempts += 1
        self.http_status = self.request_id = None
        credentials = inbound.upstream.credentials()
        # Those that were shown: by the time of the answer there may be others.
        self._secrets = [value.removeprefix("Bearer ") for value in credentials.values()]
        self.may_cost = True
        headers = forwarded(self._http.headers, credentials)
        is_long = len(inbound.body) > SLICE_BYTES
        if is_long:
            headers["content-length"] = str(len(inbound.body))
        response = await self._client.request(
            self._http.method,
            URL(f"{inbound.target.url}?{query}" if query else inbound.target.url, encoded=True),
            data=_slices(inbound.body) if is_long else inbound.body or None,
            headers=headers,
            allow_redirects=False,
        )
        self.http_status, self.may_cost = response.status, response.status < 300
        self.request_id = request_id_of(response.headers)
        return response

    def _failed(self, error_type: str) -> None:
        """The last attempt was no good either."""
        self.error_type, self.failed_attempts = error_type, self.attempts

    async def _unreadable(self, coding: str | None) -> web.StreamResponse:
        """What cannot be read is not passed on: nobody could say what it costs, so it costs what was reserved."""
        self._failed("content_encoding")
        asked = self.inbound.asked
        self._usage = Usage(output_tokens=asked.output_tokens_reserved if asked is not None else 0)
        return await self._broken(f"the provider answers with content-encoding {coding!r}, though asked for none")

    async def _told(self, response: aiohttp.ClientResponse, coding: str | None) -> web.StreamResponse:
        headers = returned(response.headers, self._secrets)
        headers[DECISION_HEADER] = self._decision_id
        headers.update(self.warned())
        if not response.ok or coding is not None:
            # What it says may become shorter, or longer.
            headers.popall("content-length", None)
        self._content_type = headers.get("content-type", "application/json")
        self._reader.reads(is_stream=self._content_type.startswith(EVENTS))
        is_short = coding is None and (response.content_length or WHOLE_BYTES_MAX + 1) <= WHOLE_BYTES_MAX
        if response.ok and is_short:
            return await self._at_once(response, headers)
        self._answer = answer = web.StreamResponse(status=response.status, headers=headers)
        await answer.prepare(self._http)
        pieces = pieces_of(response, coding)
        if not response.ok:
            pieces = _without(pieces, self._secrets)
        async for piece in pieces:
            await self._metered(piece)
            self._keep_count()
            await self._write(answer, piece)
        await answer.write_eof()
        self._is_whole = True
        return answer

    async def _at_once(self, response: aiohttp.ClientResponse, headers: "CIMultiDict[str]") -> web.StreamResponse:
        """A small answer that is no stream, sent with its headers."""
        body = await response.read()
        await self._metered(body)
        self._is_whole = True
        headers.popall("content-length", None)
        return web.Response(status=response.status, headers=headers, body=body)

    async def _metered(self, piece: bytes) -> None:
        """Take in a piece; one that does not fit into the budget is never passed on."""
        if self.first_chunk_ns is None:
            self.first_chunk_ns = time.perf_counter_ns() - self._began_ns
        self._reader.feed(piece)
        if self.meter is not None and (why := await self.meter.passed(self._reader)) is not None:
            self._call.cut("budget", why)
            # Being cut has cancelled this task, which hears of it here.
            await asyncio.sleep(0)
        self._keep(piece)

    def _keep_count(self) -> None:
        """Keep what has passed and what is reserved for it, in case that this process is killed."""
        if self.entry is not None:
            reserved_nano_usd = self.meter.reserved.nano_usd if self.meter is not None else 0
            self.entry.passed(self._reader.so_far, reserved_nano_usd)

    async def _write(self, answer: web.StreamResponse, piece: bytes) -> None:
        """Hand a piece to the agent, which may be slow, but not for ever."""
        try:
            async with asyncio.timeout(READ_S):
                await answer.write(piece)
        except TimeoutError:
            self._abort()
            raise ConnectionResetError("the agent does not read") from None

    def _keep(self, piece: bytes) -> None:
        if self._pieces is not None:
            self._pieces.append(piece)
            self._kept_bytes += len(piece)
            if self._kept_bytes > ANSWER_BYTES_MAX:
                self._pieces = None

    async def _ended(self) -> web.StreamResponse:
        """End the client's side of a call that was cut: in words where it still can hear, else by its connection."""
        code, message = self._call.reason or ("stopped", "stopped")
        self.error_type = code
        if self._answer is None:
            headers = {DECISION_HEADER: self._decision_id}
            body = refusal(self.inbound.upstream.kind, code, message)
            return web.Response(status=STATUS, body=body, headers=headers, content_type="application/json")
        answer, transport = self._answer, self._http.transport
        is_stream = answer.headers.get("content-type", "").startswith(EVENTS)
        # Bytes that wait for the client say that it does not read, so it will not read this either.
        if is_stream and transport is not None and not transport.get_write_buffer_size():
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(LAST_EVENT_S):
                    await answer.write(last_event(self.inbound.target.operation, code, message))
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
            body = refusal(self.inbound.upstream.kind, "upstream", why, status=BAD_GATEWAY)
            return web.Response(status=BAD_GATEWAY, body=body, content_type="application/json")
        self._abort()
        return self._answer


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    """A long body as a provider takes it in; all at once it would hold everybody up."""
    for start in range(0, len(body), SLICE_BYTES):
        yield body[start : start + SLICE_BYTES]


async def _without(pieces: AsyncIterator[bytes], secrets: Iterable[str]) -> AsyncIterator[bytes]:
    """The words of a provider that refuses, as one piece, without the key that it may have repeated."""
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > ERROR_BYTES_MAX:
            break
    said = bytes(body[:ERROR_BYTES_MAX])
    for secret in secrets:
        said = said.replace(secret.encode(), b"...")
    if said:
        yield said


def _why_broken(error: aiohttp.ClientError, *, is_begun: bool) -> str:
    """In words for the agent, without the provider's address."""
    if isinstance(error, _UNSENT):
        return f"the gateway got no connection to the provider: {type(error).__name__}"
    return f"the provider's answer {'broke off' if is_begun else 'did not come'}: {type(error).__name__}"


def _is_passing(status: int) -> bool:
    """Whether another provider may answer what this one did not."""
    return status == TOO_MANY or status >= 500
