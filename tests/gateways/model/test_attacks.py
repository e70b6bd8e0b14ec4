"""What agents and providers that mean no good try: denied, nothing leaked, and the gateway answers the next call."""

import asyncio
import gzip
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from headgate_control.identity.gateway_key import new_key
from headgate_control.kinds import GATEWAY_KEY
from headgate_control.store.record import Change
from headgate_gateways.model.application import BODY_BYTES_MAX
from headgate_gateways.model.bodies import Bodies
from headgate_gateways.model.upstream import Upstream
from headgate_processors.errors import TransientError
from headgate_processors.testing.model_server import Scenario
from headgate_processors.testing.serving import Serving
from headgate_processors.testing.waiting import until

PROVIDER_KEY = "sk-the-gateways-own"
BODY = json.dumps({"model": "gpt-5", "messages": []}).encode()
CHAT = "/openai/v1/chat/completions"
ROOM = 1_000
STALLED = {"from_request": 1, "model": "gpt-5", "delay_s": 60}


async def raw(agent: Any, request: bytes) -> bytes:
    """What the gateway answers to bytes as they are, and then closes or falls silent."""
    host, _, port = agent.address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        async with asyncio.timeout(30):
            return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        return bytes(getattr(error, "partial", b""))
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def head(agent: Any, target: str, *lines: str, key: str | None = None) -> bytes:
    """The head of a request with the agent's key."""
    every = [f"POST {target} HTTP/1.1", "host: gateway", f"authorization: Bearer {key or agent.key}", *lines]
    return "\r\n".join([*every, "", ""]).encode("utf-8", "surrogateescape")


def status(answer: bytes) -> int:
    """The status of an answer; 0 when there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


def passed(site: Any) -> int:
    """How many requests came to the provider."""
    return len(list(site.server.journal.exchanges()))


async def lives(agent: Any) -> bool:
    """Whether the gateway still answers who may call."""
    async with agent.chat() as response:
        await response.read()
        return bool(response.status == 200)


def keep(site: Any, key: Any) -> None:
    """Have control know a key."""
    site.store.change([Change(kind=GATEWAY_KEY, id=key.key_id, body=key.written())], author="ada", action="key")
    site.state.refresh()


@pytest.mark.parametrize("kind", ["forged", "expired", "revoked", "swapped", "longer", "of nobody"])
def test_a_key_that_is_not_good_opens_nothing(site: Any, kind: str) -> None:
    """Neither with bits that are guessed, nor after its time, nor with the id of another."""
    text, key = new_key(site.instances[0], created_unix_nano=0, expires_unix_nano=None)
    if kind == "expired":
        keep(site, replace(key, expires_unix_nano=1))
    elif kind == "revoked":
        keep(site, replace(key, revoked_unix_nano=1))
    elif kind == "of nobody":
        text, key = new_key("ai-nobody", created_unix_nano=0, expires_unix_nano=None)
        keep(site, key)
    elif kind == "swapped":
        mine, other = site.keys[0].rpartition("_"), site.keys[1].rpartition("_")
        text = f"{mine[0]}_{other[2]}"
    elif kind == "longer":
        text = site.keys[0] + "0" * 1_000

    async def steps(agent: Any) -> int:
        good, agent.key = agent.key, text
        async with agent.chat() as response:
            found = int(response.status)
            assert text not in await response.text()
        agent.key = good
        assert await lives(agent)
        return found

    assert (403 if kind == "of nobody" else 401, 1) == (site.run(steps), passed(site))


def test_a_key_at_a_door_that_its_manifest_has_not_opens_nothing(site: Any) -> None:
    """Who may call gpt-5 at one provider may not call it at another."""

    async def steps(agent: Any) -> int:
        async with agent.messages(model="gpt-5") as response:
            return int(response.status)

    assert (403, 0) == (site.run(steps), passed(site))


def test_who_calls_is_who_the_key_says(site: Any) -> None:
    """Whatever headers and bodies say of somebody else."""
    other = site.instances[1]
    said = {"x-headgate-instance": other, "headgate-instance-id": other, "baggage": f"headgate.instance.id={other}"}

    async def steps(agent: Any) -> None:
        agent.client.headers.update(said)
        async with agent.chat(**{"headgate.instance.id": other, "metadata": {"headgate.team": "x"}}) as response:
            await response.read()

    site.run(steps)
    (span,), (decision,) = site.told(), site.decisions()
    assert [site.instances[0]] * 2 == [
        span.attributes["headgate.instance.id"],
        decision.log_record.attributes["headgate.instance_id"],
    ]
    assert "payments" == span.attributes["headgate.team"]


def test_a_conversation_of_another_instance_is_not_gone_on_from(site: Any) -> None:
    """All share the provider's key, by which it would tell each what another said; its own it may go on from."""

    async def steps(agent: Any) -> list[tuple[int, int]]:
        async def said(key: str, **more: Any) -> tuple[int, Any]:
            body = {"model": "gpt-5-mini", "input": "x", "max_output_tokens": 10, **more}
            shown = {"authorization": f"Bearer {key}"}
            async with agent.post("/openai/v1/responses", body, headers=shown) as response:
                return int(response.status), await response.json()

        _, answer = await said(site.keys[1])
        kept = [{"previous_response_id": answer["id"]}]
        kept += [{"input": [{"type": "item_reference", "id": one["id"]}]} for one in answer["output"] if "id" in one]
        return [((await said(site.keys[0], **one))[0], (await said(site.keys[1], **one))[0]) for one in kept]

    found = site.run(steps)
    assert ({(403, 200)}, True) == (set(found), len(found) > 1)


@pytest.mark.parametrize(
    "target",
    [
        "/openai/v1/../../v1/chat/completions",
        "/openai/v1/%2e%2e/chat/completions",
        "/openai//v1/chat/completions",
        "/openai/v1//chat/completions",
        "/openai/v1/chat%2fcompletions/x",
        "/openai/v1/chat/completions/",
        "/openai/v1/chat/completions;x=1",
        "/openai/http://10.0.0.1/v1/chat/completions",
        "/openai/v1/chat/completions%00",
        "//10.0.0.1/openai/v1/chat/completions",
        "*",
    ],
)
def test_a_trick_with_the_path_reaches_nobody(site: Any, target: str) -> None:
    """What is not one of the paths as it stands is not there."""

    async def steps(agent: Any) -> tuple[int, bool]:
        answer = await raw(agent, head(agent, target, f"content-length: {len(BODY)}") + BODY)
        before = passed(site)
        return before, 400 <= status(answer) < 500 and await lives(agent)

    assert (0, True) == site.run(steps)


def test_an_absolute_address_is_no_way_out(site: Any) -> None:
    """A call goes to the provider of its door, whatever host it names."""

    async def steps(agent: Any) -> bytes:
        target = f"http://10.0.0.1:1{CHAT}"
        return await raw(agent, head(agent, target, f"content-length: {len(BODY)}") + BODY)

    answer = site.run(steps)
    assert status(answer) in {200, 404}
    assert all(exchange.path == "/v1/chat/completions" for exchange in site.server.journal.exchanges())


@pytest.mark.parametrize(
    "lines",
    [
        ("content-length: 5", "transfer-encoding: chunked"),
        ("content-length: 5", "content-length: 50"),
        ("transfer-encoding: chunked, identity",),
        ("transfer-encoding: xchunked",),
        ("transfer-encoding : chunked",),
        ("content-length: +5",),
        ("content-length: -1",),
    ],
)
def test_a_request_with_two_ends_is_refused(site: Any, lines: tuple[str, ...]) -> None:
    """No second request hides in the body of the first."""
    hidden = f"0\r\n\r\nPOST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode()

    async def steps(agent: Any) -> tuple[int, int, bool]:
        answer = await raw(agent, head(agent, CHAT, *lines) + hidden)
        return status(answer), passed(site), await lives(agent)

    found, reached, alive = site.run(steps)
    assert (True, 0, True) == (found in {0, 400}, reached, alive)


def test_a_body_that_is_too_large_is_refused(site: Any) -> None:
    """Before it is all here."""

    async def steps(agent: Any) -> tuple[int, bool]:
        answer = await raw(agent, head(agent, CHAT, f"content-length: {BODY_BYTES_MAX + 1}") + b"x" * 1_000_000)
        return status(answer), await lives(agent)

    found, alive = site.run(steps)
    assert (True, True, 1) == (found in {0, 413}, alive, passed(site))


def test_a_small_body_that_unpacks_to_a_large_one_is_refused(site: Any) -> None:
    """It is bounded as it is unpacked."""
    bomb = gzip.compress(b'{"model":"gpt-5","x":"' + b" " * (BODY_BYTES_MAX + 1_000_000) + b'"}')

    async def steps(agent: Any) -> tuple[int, bool]:
        request = head(agent, CHAT, f"content-length: {len(bomb)}", "content-encoding: gzip") + bomb
        return status(await raw(agent, request)), await lives(agent)

    found, alive = site.run(steps)
    assert (True, True, 1) == (found in {400, 413}, alive, passed(site))


def test_a_body_that_was_packed_passes_unpacked(site: Any) -> None:
    """And says no more that it is packed."""
    packed = gzip.compress(BODY)

    async def steps(agent: Any) -> int:
        request = head(agent, CHAT, f"content-length: {len(packed)}", "content-encoding: gzip") + packed
        found = status(await raw(agent, request))
        await until(lambda: passed(site) == 1)
        return found

    assert 200 == site.run(steps)
    (exchange,) = site.server.journal.exchanges()
    assert ("gpt-5", None) == (exchange.model, exchange.headers.get("content-encoding"))


def test_a_body_that_never_ends_is_waited_for_so_long(site: Any) -> None:
    """Then its connection is worth nothing any more."""
    site.body_s = 0.2

    async def steps(agent: Any) -> tuple[int, bool]:
        answer = await raw(agent, head(agent, CHAT, "content-length: 1000") + b"{")
        return status(answer), await lives(agent)

    assert (408, True) == site.run(steps)
    assert 1 == passed(site)


@pytest.mark.parametrize("ends_with", [b"", b"}"])
def test_bodies_take_so_much_memory_and_of_one_agent_less(site: Any, ends_with: bytes) -> None:
    """While they come and while their calls run; others have room, and what is over gives it back."""
    site.bodies = Bodies(bytes_max=3 * ROOM, share_bytes_max=ROOM)
    site.server.play(Scenario.model_validate({"task": "x", "turns": [{"say": "x"}] * 9, "faults": [STALLED]}))
    sent = BODY[:-1] + b" " * (ROOM - len(BODY)) + ends_with

    async def steps(agent: Any) -> list[tuple[int, str]]:
        async def call(key: str) -> tuple[int, str]:
            agent.key = key
            async with agent.chat() as response:
                return response.status, await response.text()

        waiting = asyncio.create_task(raw(agent, head(agent, CHAT, f"content-length: {ROOM}") + sent))
        await until(lambda: (site.bodies.taken, len(site.calls)) == (ROOM, len(ends_with)))
        found = [await call(key) for key in site.keys]
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await until(lambda: site.bodies.taken == 0)
        return [*found, await call(site.keys[0])]

    (refused, said), *others = site.run(steps)
    assert (503, [200, 200]) == (refused, [status for status, _ in others])
    assert "overloaded" in said


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "gpt-5", "Model": "gpt-4o"}',
        b'{"model": "gpt-5", "stream": 1}',
        b'{"model": "gpt-5", "n": 0}',
        b'{"model": "gpt-5\\u0000"}',
        b'{"model": "' + b"x" * 300 + b'"}',
        b'{"model": ["gpt-5"]}',
        b'{"model": "gpt-5"',
        b"[" * 100_000,
        b'"\\ud800"',
    ],
)
def test_a_body_that_others_may_read_another_way_is_refused(site: Any, body: bytes) -> None:
    """What is decided on is what the provider reads."""

    async def steps(agent: Any) -> int:
        return status(await raw(agent, head(agent, CHAT, f"content-length: {len(body)}") + body))

    assert (400, 0) == (site.run(steps), passed(site))


def test_a_model_within_a_message_is_no_second_one(site: Any) -> None:
    """Only the outermost names count."""

    async def steps(agent: Any) -> int:
        async with agent.chat(messages=[{"role": "user", "content": "x", "model": "y"}]) as response:
            return int(response.status)

    assert 200 == site.run(steps)


@pytest.mark.parametrize("line", ["session_id: \udcff\udcfe", "session_id: a\tb", "traceparent: \udcff"])
def test_a_name_that_is_no_text_is_no_name(site: Any, line: str) -> None:
    """The call goes on without it."""

    async def steps(agent: Any) -> int:
        return status(await raw(agent, head(agent, CHAT, line, f"content-length: {len(BODY)}") + BODY))

    assert 200 == site.run(steps)
    (span,) = site.told()
    assert span.attributes.get("session.id") is None


def test_a_query_passes_as_it_is(site: Any) -> None:
    """Nothing of it is unpacked, so nothing can be hidden in it."""

    async def steps(agent: Any) -> int:
        request = head(agent, f"{CHAT}?a=1%26key%3D2&b=%2e%2e%2f", f"content-length: {len(BODY)}")
        return status(await raw(agent, request + BODY))

    seen = Provider()
    with behind(site, seen):
        assert 200 == site.run(steps)
    assert ["a=1%26key%3D2&b=%2e%2e%2f"] == seen.queries


def test_an_offer_of_http2_is_not_taken_up_and_not_passed_on(site: Any) -> None:
    """Java's client makes it with every call of a plain address."""

    async def steps(agent: Any) -> int:
        offer = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAEAAEAAAAIAAAABAAMAAABk")
        return status(await raw(agent, head(agent, CHAT, *offer, f"content-length: {len(BODY)}") + BODY))

    assert 200 == site.run(steps)
    (exchange,) = site.server.journal.exchanges()
    assert not {"upgrade", "http2-settings"} & exchange.headers.keys()


@pytest.mark.parametrize(
    "headers",
    [{"upgrade": "websocket", "connection": "upgrade"}, {"upgrade": "WebSocket"}, {"upgrade": "h2c, websocket"}],
)
def test_an_upgrade_is_not_there(site: Any, headers: dict[str, str]) -> None:
    """So that clients fall back to HTTP."""

    async def steps(agent: Any) -> int:
        lines = [f"{name}: {value}" for name, value in headers.items()]
        return status(await raw(agent, head(agent, "/openai/v1/responses", *lines, "content-length: 0")))

    assert (404, 0) == (site.run(steps), passed(site))


class Provider:
    """A provider that means no good, or talks too much: it repeats the key that it was shown when it `echoes`."""

    def __init__(self, status: int = 200, headers: dict[str, str] | None = None, *, echoes: bool = False) -> None:
        self.status, self.headers, self.echoes = status, headers or {}, echoes
        self.queries: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with what was set."""
        http = Request(scope, receive)
        self.queries.append(http.url.query)
        said = http.headers["authorization"] if self.echoes else "no"
        headers = {**self.headers, **({"x-echo": said} if self.echoes else {})}
        await JSONResponse({"error": {"message": said}}, status_code=self.status, headers=headers)(scope, receive, send)


@contextmanager
def behind(site: Any, provider: Provider) -> Iterator[None]:
    """The site with another provider."""
    with Serving(provider) as serving:
        site.provider = f"http://{serving.address}"
        yield


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_of_the_provider_is_not_followed(site: Any, code: int) -> None:
    """Nobody is sent the gateway's key because a provider said so."""
    site.server.journal.clear()
    provider = Provider(code, {"location": f"{site.server.url}/v1/chat/completions"})

    async def steps(agent: Any) -> tuple[int, str]:
        async with agent.chat() as response:
            return response.status, response.headers.get("location", "")

    with behind(site, provider):
        assert (502, "") == site.run(steps)
    assert 0 == passed(site)
    assert ["redirect"] == [span.attributes["error.type"] for span in site.told()]


@pytest.mark.parametrize("code", [401, 403, 500])
def test_the_providers_key_is_in_no_answer_and_no_log(site: Any, code: int, caplog: pytest.LogCaptureFixture) -> None:
    """Though the provider repeats it."""
    caplog.set_level(logging.DEBUG)

    async def steps(agent: Any) -> tuple[str, str]:
        async with agent.chat() as response:
            return await response.text(), str(response.headers)

    with behind(site, Provider(code, echoes=True)):
        body, headers = site.run(steps)
    told = "".join(one.to_json() for one in (*site.told(), *site.decisions()))
    files = b"".join(path.read_bytes() for path in site.folder.rglob("*") if path.is_file())
    assert [] == [text for text in (body, headers, told, caplog.text) if PROVIDER_KEY in text]
    assert PROVIDER_KEY.encode() not in files
    assert "Bearer ..." in body


@pytest.fixture
def keyless(site: Any) -> Any:
    """A site whose provider's key is not there."""

    def nothing() -> str:
        raise TransientError("there is no key of the provider at env:SECRET_NAME")

    site.more["openai"] = Upstream(name="openai", kind="openai", base_url=f"{site.provider}/v1", api_key=nothing)
    return site


def test_a_gateway_without_a_key_says_so_and_not_where_it_looked(keyless: Any) -> None:
    """And the call costs nothing."""

    async def steps(agent: Any) -> tuple[int, str]:
        async with agent.chat() as response:
            return response.status, await response.text()

    found, text = keyless.run(steps)
    assert (502, False, True) == (found, "SECRET_NAME" in text, "no key" in text)
    assert 0 == keyless.owner.account(keyless.budget(), 0).used.tokens


def test_an_agent_that_reads_slowly_holds_nobody_else_up(site: Any) -> None:
    """Its own call waits, the others do not."""
    long = {"task": "x", "turns": [{"say": "word " * 400_000}], "usage": {"input_tokens": 1, "output_tokens": 1}}
    site.server.play(Scenario.model_validate(long))
    site.limit(tokens=100_000_000)

    async def steps(agent: Any) -> bool:
        async with agent.chat(stream=True) as slow:
            await slow.content.readany()
            site.server.play("multi_step")
            agent.key = site.keys[1]
            alive = await lives(agent)
            slow.close()
        await until(lambda: len(site.calls) == 0)
        return alive

    assert site.run(steps)
