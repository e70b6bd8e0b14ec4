"""Answers that are not what they should be: compressed, failed on their way, or broken off before they came."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import aiohttp
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_control.manifests.load import parse_manifest
from headgate_gateways.model.codings import PIECE_BYTES_MAX, pieces_of
from headgate_gateways.model.routing import Routing, Rule
from headgate_gateways.model.upstream import Upstream
from headgate_processors.testing.model_server import Scenario
from headgate_processors.testing.waiting import until

PATHS = {
    "chat": ("/openai/v1/chat/completions", "gpt-5-mini"),
    "responses": ("/openai/v1/responses", "gpt-5-mini"),
    "messages": ("/anthropic/v1/messages", "claude-sonnet-4-5"),
}
APIS = pytest.mark.parametrize("api", list(PATHS))
STREAMS = pytest.mark.parametrize("is_stream", [False, True])
BOTH = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: both, team: payments, workflow: fix-tests}
spec:
  models: [{provider: first, model: "*"}, {provider: second, model: "*"}]
  budgets: [{usd: 5}]
"""
SAID = "word " * 100


def play(site: Any, **fault: Any) -> None:
    """Something goes wrong with every request."""
    faults = [{"from_request": 1, **fault}] if fault else []
    site.server.play(Scenario.model_validate({"task": "x", "turns": [{"say": SAID}], "faults": faults}))


def asked(api: str, *, is_stream: bool = False, **more: Any) -> dict[str, Any]:
    """The body of a call."""
    body = {"model": PATHS[api][1], "max_tokens": 99, "messages": [], "input": "x", "stream": is_stream, **more}
    return {**body, "stream_options": {"include_usage": True}} if api == "chat" and is_stream else body


def call(site: Any, api: str, **more: Any) -> tuple[int, dict[str, str], bytes]:
    """What one call gives."""

    async def steps(agent: Any) -> tuple[int, dict[str, str], bytes]:
        async with agent.post(PATHS[api][0], asked(api, **more)) as response:
            named = {name.lower(): value for name, value in response.headers.items()}
            return response.status, named, await response.read()

    found: tuple[int, dict[str, str], bytes] = site.run(steps)
    return found


def told(site: Any) -> dict[str, Any]:
    """The attributes of the only span."""
    (span,) = site.told()
    return dict(span.attributes)


@APIS
@STREAMS
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_an_answer_that_is_compressed_is_read_and_passed_on_as_it_is(
    site: Any, api: str, is_stream: bool, coding: str
) -> None:
    """Nobody asked for it, so the agent may not be able to read it."""
    play(site, coding=coding)
    status, headers, body = call(site, api, is_stream=is_stream)
    (exchange,) = site.server.journal.exchanges()
    attributes = told(site)
    assert b"word word" in body
    assert (200, "reported", exchange.usage.output_tokens, None) == (
        status,
        attributes["headgate.usage_source"],
        attributes["gen_ai.usage.output_tokens"],
        headers.get("content-encoding"),
    )


def test_an_answer_that_nobody_can_read_is_not_passed_on(site: Any) -> None:
    """What it may have cost is what was reserved for its output."""
    play(site, coding="br")
    status, _, body = call(site, "messages", max_tokens=1_000)
    attributes = told(site)
    assert b"content-encoding 'br'" in body
    assert (502, "api_error", "content_encoding", 1, None) == (
        status,
        orjson.loads(body)["error"]["type"],
        attributes["error.type"],
        attributes["headgate.failed_attempts"],
        attributes.get("gen_ai.usage.output_tokens"),
    )
    assert 1_000 < site.owner.account(site.budget(), 0).settled.tokens < 1_200


@APIS
@STREAMS
def test_an_answer_that_fails_on_its_way_is_an_error(site: Any, api: str, is_stream: bool) -> None:
    """In the provider's word for it; the agent gets it as it is."""
    play(site, fails=True)
    status, _, body = call(site, api, is_stream=is_stream)
    attributes = told(site)
    expected = "overloaded_error" if api == "messages" else "server_error"
    assert b"Overloaded." in body
    assert (200, expected, 1, 1) == (
        status,
        attributes["error.type"],
        attributes["headgate.attempts"],
        attributes["headgate.failed_attempts"],
    )


def test_a_provider_that_takes_no_connection_is_told_as_that(site: Any) -> None:
    """Its address is for whoever runs the gateway, not for agents."""
    nobody = Upstream(
        name="openai", kind="openai", base_url="http://127.0.0.1:1/v1", api_key=lambda: "sk-of-the-provider"
    )
    site.more["openai"] = nobody
    status, _, body = call(site, "chat")
    expected = "the gateway got no connection to the provider: ClientConnectorError"
    assert (502, expected) == (status, orjson.loads(body)["error"]["message"])


def test_an_agent_that_leaves_with_an_error_has_not_cancelled_its_call(site: Any) -> None:
    """Its provider has failed, and nothing more would have come."""
    faults = [{"from_request": 1, "fails": True}]
    scenario = {"task": "x", "turns": [{"say": SAID}], "faults": faults, "between_events_s": 0.2}
    site.server.play(Scenario.model_validate(scenario))

    async def steps(agent: Any) -> None:
        async with agent.post(PATHS["messages"][0], asked("messages", is_stream=True)) as response:
            seen = b""
            while b"Overloaded." not in seen:
                seen += await response.content.readany()
            response.close()
        await until(lambda: len(site.calls) == 0)

    site.run(steps)
    attributes = told(site)
    assert ("overloaded_error", 1) == (attributes["error.type"], attributes["headgate.failed_attempts"])


def test_a_response_that_failed_has_told_its_usage(site: Any) -> None:
    """It is booked as it is."""
    play(site, fails=True)
    call(site, "responses", is_stream=True)
    (exchange,) = site.server.journal.exchanges()
    attributes = told(site)
    assert ("reported", exchange.usage.output_tokens) == (
        attributes["headgate.usage_source"],
        attributes["gen_ai.usage.output_tokens"],
    )


def test_a_response_that_failed_is_not_kept(site: Any) -> None:
    """The next one may be good."""
    site.routing = Routing(rules=[Rule(name="keep", cache_s=60)])
    play(site, requests=[1], from_request=None, fails=True)
    found = site.run(lambda agent: several(agent, asked("responses"), times=3))
    assert [None, None, "hit"] == found
    assert 2 == len(site.server.journal.exchanges())


async def several(agent: Any, body: dict[str, Any], *, times: int) -> list[str | None]:
    """What is said of the cache to the same call again and again."""
    found = []
    for _ in range(times):
        async with agent.post(PATHS["responses"][0], body) as response:
            await response.read()
            found.append(response.headers.get("x-headgate-cache"))
    return found


@APIS
def test_a_call_is_told_with_the_providers_own_id(site: Any, api: str) -> None:
    """By which its provider finds it."""
    play(site)
    _, headers, _ = call(site, api)
    shown = headers["request-id" if api == "messages" else "x-request-id"]
    assert shown == told(site)["gen_ai.request.id"]


@asynccontextmanager
async def provider(answer: Callable[[asyncio.StreamWriter], Any]) -> AsyncIterator[str]:
    """A provider that reads a request and does to its connection what it likes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().splitlines() if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        await answer(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def nothing(_: asyncio.StreamWriter) -> None:
    """No answer at all."""


async def a_part(writer: asyncio.StreamWriter) -> None:
    """A part of an answer."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{")
    await writer.drain()


async def against(site: Any, answer: Callable[[asyncio.StreamWriter], Any], *, falls_back: bool) -> int:
    """The status of a call to a provider that answers so."""
    site.join(parse_manifest(BOTH, {}, source="manifest"), launched_by="eve")
    async with provider(answer) as url:
        first = Upstream(name="first", kind="openai", base_url=url, api_key=lambda: "sk-1")
        second = replace(first, name="second", base_url=f"{site.provider}/v1", api_key=lambda: "sk-the-gateways-own")
        site.more = {"first": first, "second": second}
        if falls_back:
            site.routing = Routing(fallbacks={"first": ["second"]}, backoff_ms=1)
        path = "/first/v1/chat/completions"
        async with site.agent(key=2) as agent, agent.post(path, asked("chat")) as response:
            await response.read()
            return int(response.status)


def test_a_provider_that_breaks_off_before_it_answers_is_passed_over(site: Any) -> None:
    """Nothing has reached the agent."""
    play(site)
    assert 200 == asyncio.run(against(site, nothing, falls_back=True))
    attributes = told(site)
    assert ("second", 2, 1, None) == (
        attributes["gen_ai.provider.name"],
        attributes["headgate.attempts"],
        attributes["headgate.failed_attempts"],
        attributes.get("error.type"),
    )


@pytest.mark.parametrize(
    ("answer", "error"), [(nothing, "ServerDisconnectedError"), (a_part, "ClientPayloadError")], ids=["nothing", "part"]
)
def test_an_attempt_that_broke_is_one_that_failed(site: Any, answer: Any, error: str) -> None:
    """Its provider may have worked on it, so its input is paid."""
    assert 502 == asyncio.run(against(site, answer, falls_back=False))
    attributes = told(site)
    assert (error, 1, 1) == (
        attributes["error.type"],
        attributes["headgate.attempts"],
        attributes["headgate.failed_attempts"],
    )
    own = next(one for one in site.state.now.budgets.values() if one.place == ("instance", site.instances[2]))
    assert 0 < site.owner.account(own, 0).settled.nano_usd


class _Answer:
    """What `pieces_of` reads of an answer."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    @property
    def content(self) -> "_Answer":
        """Itself."""
        return self

    async def iter_any(self) -> AsyncIterator[bytes]:
        """As it came."""
        for piece in self._pieces:
            yield piece


async def read(pieces: list[bytes]) -> list[bytes]:
    """The pieces of a compressed answer that came in these."""
    answer: Any = _Answer(pieces)
    return [piece async for piece in pieces_of(answer, "gzip")]


def test_what_grows_when_it_is_read_is_read_piece_by_piece() -> None:
    """8 MB in 8 KB are held in memory one after the other."""
    sizes = [len(piece) for piece in asyncio.run(read([zlib.compress(bytes(8 << 20), 9)]))]
    assert (8 << 20, PIECE_BYTES_MAX) == (sum(sizes), max(sizes))


@given(text=st.binary(max_size=200_000), cuts=st.lists(st.integers(0, 300), max_size=5), times=st.integers(1, 3))
def test_compressed_pieces_are_read_wherever_they_are_cut(text: bytes, cuts: list[int], times: int) -> None:
    """Also several answers in one, as gzip allows."""
    whole = gzip.compress(text) * times
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    assert text * times == b"".join(asyncio.run(read([whole[a:b] for a, b in pairwise(places)])))


@pytest.mark.parametrize("body", [gzip.compress(b"x" * 99)[:-9], b"no gzip at all"], ids=["cut short", "none"])
def test_what_is_not_compressed_as_it_says_breaks_off(body: bytes) -> None:
    """It is not taken for the whole answer."""
    with pytest.raises(aiohttp.ClientPayloadError):
        asyncio.run(read([body]))
