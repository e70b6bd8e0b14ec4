"""The HTTP application: routes, keys, faults and the journal."""

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headgate_processors.testing.model_server.api import ERROR_MESSAGES, Api, new_id, openai_error
from headgate_processors.testing.model_server.chat import ChatCompletions
from headgate_processors.testing.model_server.conversation import Reply
from headgate_processors.testing.model_server.journal import Exchange, Journal, Outcome, ToolCall
from headgate_processors.testing.model_server.messages import Messages
from headgate_processors.testing.model_server.responses import Responses
from headgate_processors.testing.model_server.scenario import Fault, Scenario
from headgate_processors.testing.model_server.script import Script
from headgate_processors.testing.model_server.telling import Pace, Telling, coded, halves
from headgate_processors.testing.model_server.usage import Usage

_EMBEDDING_WIDTH = 8
_JSON = "application/json"
_SSE = "text/event-stream; charset=utf-8"
_MAX_BODY_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it was read."""

    number: int
    received_unix_nano: int
    request: Request
    body: Any

    def exchange(self, api: str, status: int, **known: Any) -> Exchange:
        """The exchange that this request and its answer are."""
        url = self.request.url
        is_object = isinstance(self.body, Mapping)
        return Exchange(
            number=self.number,
            received_unix_nano=self.received_unix_nano,
            api=api,
            method=self.request.method,
            path=f"{url.path}?{url.query}" if url.query else url.path,
            headers=dict(self.request.headers),
            body=self.body,
            status=status,
            model=str(self.body["model"]) if is_object and "model" in self.body else None,
            is_stream=bool(is_object and self.body.get("stream")),
            **{"outcome": "answered" if status < 400 else "refused", **known},
        )


class Application:
    """Answers as the scenario says; `keys` are the only ones that it takes, any when there are none."""

    def __init__(
        self, scenario: Scenario, journal: Journal, *, variables: Mapping[str, str], keys: Iterable[str] = ()
    ) -> None:
        self.scenario, self.journal = scenario, journal
        self._script = Script(scenario, variables)
        self._keys = frozenset(keys)
        self._lock = threading.Lock()
        self._numbers, self._posts = count(1), count(1)

    def routes(self) -> Starlette:
        """The application to serve."""
        routes = [
            Route("/healthz", self._health),
            *_both("/models", self._models, "GET"),
            *_both("/embeddings", self._embeddings),
            *_both("/messages/count_tokens", self._count_tokens),
        ]
        for path, api in (
            ("/chat/completions", ChatCompletions()),
            ("/responses", Responses()),
            ("/messages", Messages()),
        ):
            routes += _both(path, self._generates(api))
        return Starlette(routes=[*routes, Route("/{rest:path}", self._unknown, methods=[*_METHODS])])

    def _generates(self, api: Api) -> Any:
        async def generate(request: Request) -> Response:
            asked = await self._asked(request)
            if isinstance(asked, Response):
                return asked
            with self._lock:
                fault = self._fault(next(self._posts), str(asked.body.get("model")))
            if fault.delay_s:
                await asyncio.sleep(fault.delay_s)
            if not self._is_known(request):
                return self._refusal(asked, api, Fault(status=401))
            if fault.status is not None:
                return self._refusal(asked, api, fault)
            return self._answered(asked, api, fault)

        return generate

    def _answered(self, asked: Asked, api: Api, fault: Fault) -> Response:
        reply = self._script.reply(api.conversation(asked.body))
        answer = api.answer(asked.body, reply)
        exchange = asked.exchange(
            api.name,
            200,
            response_id=answer["id"],
            answer=answer,
            usage=_as_told(api, reply.usage),
            tool_calls=_tool_calls(reply),
        )
        headers = {api.request_id_header: new_id("req_"), "content-type": _SSE if exchange.is_stream else _JSON}
        events = list(api.events(asked.body, answer)) if exchange.is_stream else [orjson.dumps(answer)]
        if fault.fails:
            whole, last = api.failure(answer, fault.message or ERROR_MESSAGES[529])
            events = [*events[: fault.after_events], last] if exchange.is_stream else [orjson.dumps(whole)]
        if fault.coding is not None:
            headers["content-encoding"] = fault.coding
            events = coded(events, fault.coding)
        if not exchange.is_stream:
            events = halves(b"".join(events))
        pace = Pace(fault=fault, between_events_s=self.scenario.between_events_s)
        return Telling(events, headers, pace, partial(self._told, exchange))

    def _told(self, exchange: Exchange, outcome: Outcome) -> None:
        self.journal.add(replace(exchange, outcome=outcome))

    def _refusal(self, asked: Asked, api: Api, fault: Fault) -> Response:
        status = fault.status or 500
        message = fault.message or ERROR_MESSAGES.get(status, "The server had an error.")
        body = api.error(status, message)
        headers = {api.request_id_header: new_id("req_")}
        if fault.retry_after_s is not None:
            headers["retry-after"] = f"{fault.retry_after_s:g}"
        if status == 403:
            headers["x-should-retry"] = "false"
        self.journal.add(asked.exchange(api.name, status, answer=body))
        return Response(orjson.dumps(body), status, headers, _JSON)

    def _fault(self, number: int, model: str) -> Fault:
        return next((fault for fault in self.scenario.faults if fault.strikes(number, model)), Fault())

    def _is_known(self, request: Request) -> bool:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return not self._keys or bool(self._keys & {bearer, request.headers.get("x-api-key", "")})

    async def _asked(self, request: Request) -> Asked | Response:
        received = time.time_ns()
        raw = await request.body()
        try:
            body = orjson.loads(raw) if 0 < len(raw) <= _MAX_BODY_BYTES else {}
        except orjson.JSONDecodeError:
            body = None
        asked = Asked(number=next(self._numbers), received_unix_nano=received, request=request, body=body)
        if len(raw) > _MAX_BODY_BYTES:
            return self._plainly(asked, "other", openai_error(413, "The request is too large."), 413)
        if not isinstance(body, dict):
            return self._plainly(asked, "other", openai_error(400, "The body is no JSON object."), 400)
        return asked

    def _plainly(self, asked: Asked, api: str, body: Any, status: int = 200, **known: Any) -> Response:
        self.journal.add(asked.exchange(api, status, answer=body, **known))
        return Response(orjson.dumps(body), status, {"x-request-id": new_id("req_")}, _JSON)

    async def _embeddings(self, request: Request) -> Response:
        asked = await self._asked(request)
        if isinstance(asked, Response):
            return asked
        texts = asked.body.get("input")
        texts = texts if isinstance(texts, list) else [texts]
        used = sum(max(1, len(str(text)) // 4) for text in texts)
        body = {
            "object": "list",
            "data": [
                {"object": "embedding", "index": at, "embedding": [0.125] * _EMBEDDING_WIDTH}
                for at in range(len(texts))
            ],
            "model": asked.body.get("model", "unknown"),
            "usage": {"prompt_tokens": used, "total_tokens": used},
        }
        return self._plainly(asked, "embeddings", body, usage=Usage(input_tokens=used))

    async def _count_tokens(self, request: Request) -> Response:
        asked = await self._asked(request)
        body = {"input_tokens": self.scenario.usage.input_tokens}
        return asked if isinstance(asked, Response) else self._plainly(asked, "count_tokens", body)

    async def _models(self, request: Request) -> Response:
        asked = await self._asked(request)
        if isinstance(asked, Response):
            return asked
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "scripted", "type": "model", "display_name": name}
            for name in _MODELS
        ]
        return self._plainly(asked, "models", {"object": "list", "data": models, "has_more": False})

    async def _unknown(self, request: Request) -> Response:
        asked = await self._asked(request)
        if isinstance(asked, Response):
            return asked
        return self._plainly(asked, "other", openai_error(404, f"not scripted: {request.url.path}"), 404)

    async def _health(self, _: Request) -> Response:
        return Response("ok")


def _tool_calls(reply: Reply) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(id=call.id, name=call.tool.name, arguments=call.arguments)
        for call in reply.calls
        if not call.is_answer
    )


def _as_told(api: Api, usage: Usage) -> Usage:
    """The usage as far as the API can tell it: Anthropic has no reasoning, OpenAI no lifetimes of what is cached."""
    if api.name == "messages":
        return replace(usage, reasoning_tokens=0)
    return usage


def _both(path: str, endpoint: Any, method: str = "POST") -> Iterator[Route]:
    for prefix in ("", "/v1"):
        yield Route(prefix + path, endpoint, methods=[method])


_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_MODELS = ("gpt-5-mini", "gpt-5", "claude-sonnet-4-5", "claude-haiku-4-5", "text-embedding-3-small")
