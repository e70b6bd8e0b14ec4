"""The model gateway before a scripted provider: what passes, what is metered, what is refused."""

import json
from typing import Any

import pytest
from aiohttp import ClientResponse

from headgate_control.budgets.amount import Amount
from headgate_processors.testing.ports import free_port


async def told(response: ClientResponse) -> tuple[int, Any]:
    """Status and JSON of a response."""
    return response.status, await response.json()


def test_a_plain_call_passes_and_is_booked(site: Any) -> None:
    """With the gateway's key to the provider, and the provider's own usage in the books."""

    async def steps(agent: Any) -> tuple[int, Any]:
        async with agent.chat() as response:
            assert response.headers["x-headgate-decision-id"].startswith("dec-")
            return await told(response)

    status, answer = site.run(steps)
    (exchange,) = site.server.journal.exchanges()
    used = site.owner.account(site.budget(), 0)
    assert (200, exchange.answer["id"], "Bearer sk-the-gateways-own") == (
        status,
        answer["id"],
        exchange.headers["authorization"],
    )
    assert (exchange.usage.input_tokens + exchange.usage.output_tokens, Amount()) == (
        used.settled.tokens,
        used.reserved,
    )
    assert used.settled.nano_usd > 0


@pytest.mark.parametrize("api", ["chat", "messages"])
def test_a_stream_passes_event_by_event(site: Any, api: str) -> None:
    """As it comes without a gateway."""

    async def steps(agent: Any) -> list[bytes]:
        async with getattr(agent, api)(stream=True) as through:
            passed = await through.read()
        site.server.play("multi_step")
        path = "/v1/chat/completions" if api == "chat" else "/v1/messages"
        headers = {"authorization": "Bearer sk-the-gateways-own"}
        given = {"model": "gpt-5-mini" if api == "chat" else "claude-sonnet-4-5", "max_tokens": 100}
        given |= {"messages": [{"role": "user", "content": "Say something."}], "stream": True}
        async with agent.client.post(site.server.url + path, json=given, headers=headers) as direct:
            return [passed, await direct.read()]

    passed, direct = site.run(steps)
    assert shape(direct) == shape(passed)
    assert 0 < site.owner.account(site.budget(), 0).settled.tokens


def shape(body: bytes) -> list[str]:
    """The events of a stream without what is made anew each time."""
    events = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    return [
        event if event == "[DONE]" else json.dumps(_without_ids(json.loads(event)), sort_keys=True) for event in events
    ]


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_ids(one) for key, one in value.items() if key not in {"id", "created", "created_at"}}
    return [_without_ids(one) for one in value] if isinstance(value, list) else value


def test_embeddings_and_lists_pass(site: Any) -> None:
    """A list of models reserves nothing."""

    async def steps(agent: Any) -> list[int]:
        body = {"model": "text-embedding-3-small", "input": "word " * 30}
        async with agent.post("/openai/v1/embeddings", body) as embedded, agent.get("/openai/v1/models") as listed:
            return [embedded.status, listed.status]

    assert [200, 200] == site.run(steps)
    assert 1 == site.owner.account(site.budget(), 0).settled.calls


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/openai/v1/chat/completions", {"model": "gpt-4o"}, 403, "policy"),
        ("/openai/v1/chat/completions", {"model": "gpt-5", "max_tokens": 200_000}, 403, "budget"),
        ("/anthropic/v1/messages", {"model": "gpt-5"}, 403, "policy"),
    ],
)
def test_what_is_refused_never_reaches_the_provider(
    site: Any, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    """In the provider's own shape of an error."""

    async def steps(agent: Any) -> tuple[int, Any]:
        async with agent.post(path, body) as response:
            return await told(response)

    found, answer = site.run(steps)
    assert (status, "policy_denied", code) == (found, answer["error"]["type"], answer["error"]["code"])
    assert ("type" in answer) == path.startswith("/anthropic")
    assert [] == list(site.server.journal.exchanges())


@pytest.mark.parametrize(
    ("path", "key", "body", "expected"),
    [
        ("/openai/v1/chat/completions", None, {}, (400, "invalid_request_error", "bad_request")),
        ("/anthropic/v1/messages", None, {}, (400, "invalid_request_error", "bad_request")),
        ("/openai/v1/chat/completions", "sk-x", {}, (401, "invalid_request_error", "unauthenticated")),
        ("/anthropic/v1/messages", "sk-x", {}, (401, "authentication_error", "unauthenticated")),
        ("/openai/v1/files", None, {}, (404, "invalid_request_error", "unknown_path")),
        ("/anthropic/v1/files", None, {}, (404, "not_found_error", "unknown_path")),
    ],
)
def test_what_nobody_decided_is_an_error_as_the_provider_has_it(
    site: Any, path: str, key: str | None, body: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    """Only a decision is `policy_denied`."""

    async def steps(agent: Any) -> tuple[int, str, str]:
        agent.key = key or agent.key
        async with agent.post(path, body) as response:
            status, answer = await told(response)
            return status, answer["error"]["type"], answer["error"]["code"]

    assert expected == site.run(steps)


@pytest.mark.parametrize("name", ["Bearer", "bearer", "BEARER"])
def test_how_a_scheme_is_written_counts_for_nothing(site: Any, name: str) -> None:
    """As HTTP has it."""

    async def steps(agent: Any) -> int:
        shown = {"authorization": f"{name}  {agent.key}"}
        async with agent.post("/openai/v1/chat/completions", {"model": "gpt-5"}, headers=shown) as response:
            return int(response.status)

    assert 200 == site.run(steps)


@pytest.mark.parametrize(
    "path",
    [
        "/openai/v1/files",
        "/openai/v1/../../admin",
        "/openai/v1/models/..%2f..%2fadmin",
        "/openai/v1/models/a/b",
        "/nobody/v1/chat/completions",
        "/anthropic/v1/complete",
        "/openai/",
    ],
)
def test_a_path_that_the_gateway_does_not_know_is_not_there(site: Any, path: str) -> None:
    """Whatever the provider would have made of it."""

    async def steps(agent: Any) -> int:
        async with agent.post(path, {"model": "gpt-5"}) as response:
            return int(response.status)

    assert 404 == site.run(steps)
    assert [] == list(site.server.journal.exchanges())


@pytest.mark.parametrize(
    ("path", "is_typed"),
    [("/openai/v1/batches", False), ("/openai/v1/images/generations", False), ("/anthropic/v1/files", True)],
)
def test_what_the_gateway_does_not_let_pass_is_told_in_the_shape_that_sdks_read(
    site: Any, path: str, is_typed: bool
) -> None:
    """With what it does let pass."""

    async def steps(agent: Any) -> tuple[int, Any]:
        async with agent.post(path, {"model": "gpt-5"}) as response:
            return await told(response)

    status, answer = site.run(steps)
    assert "POST /v1/" in answer["error"]["message"]
    assert (404, "unknown_path", is_typed) == (status, answer["error"]["code"], "type" in answer)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions", "/nobody/v1/chat/completions"])
def test_a_base_url_that_ends_at_no_door_is_told_how_it_is_to_end(site: Any, path: str) -> None:
    """In the shape that SDKs read; no provider of the site is named that everybody does not know."""

    async def steps(agent: Any) -> tuple[int, Any]:
        async with agent.post(path, {"model": "gpt-5"}) as response:
            return await told(response)

    status, answer = site.run(steps)
    assert "a base URL ends in /openai/v1, in /anthropic" in answer["error"]["message"]
    assert (404, "unknown_path") == (status, answer["error"]["code"])


@pytest.mark.parametrize("path", ["/anthropic/messages", "/anthropic/v1/messages"])
def test_the_version_of_the_api_may_stand_in_the_path_or_be_left_out(site: Any, path: str) -> None:
    """SDKs differ in what they take a base URL to be."""

    async def steps(agent: Any) -> int:
        body = {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
        async with agent.post(path, body) as response:
            return int(response.status)

    assert (200, "/v1/messages") == (site.run(steps), site.server.journal.exchanges()[0].path)


@pytest.mark.parametrize("key", ["", "hgk_0_0", "sk-the-gateways-own", "hgt_gateway-1_00"])
def test_nobody_calls_without_a_gateway_key(site: Any, key: str) -> None:
    """The provider's own key is none."""

    async def steps(agent: Any) -> int:
        agent.key = key
        async with agent.chat() as response:
            return int(response.status)

    assert 401 == site.run(steps)
    assert (0, []) == (site.log.anchor().number, list(site.server.journal.exchanges()))


def test_headers_that_are_not_the_agents_to_say_do_not_pass(site: Any) -> None:
    """Its key, cookies, and whatever speaks of Headgate or of a proxy; a trace's context does."""
    said = {
        "x-headgate-instance": "ai-2",
        "x-forwarded-for": "10.0.0.1",
        "cookie": "a=b",
        "x-mine": "kept",
        "x-hop": "dropped",
        "connection": "x-hop",
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    }

    async def steps(agent: Any) -> None:
        headers = {"authorization": f"Bearer {agent.key}", **said}
        given = {"model": "gpt-5", "messages": []}
        async with agent.post("/openai/v1/chat/completions", given, headers=headers) as response:
            await response.read()

    site.run(steps)
    (exchange,) = site.server.journal.exchanges()
    passed = {name for name in said if name in exchange.headers and name != "connection"}
    assert {"x-mine", "traceparent"} == passed
    assert site.keys[0] not in str(exchange.headers)


def test_a_providers_error_passes_and_costs_nothing(site: Any) -> None:
    """Its status and its words are its own."""
    site.server.play("provider_errors")

    async def steps(agent: Any) -> list[int]:
        found = []
        for _ in range(4):
            async with agent.chat() as response:
                found.append(response.status)
                await response.read()
        return found

    statuses = site.run(steps)
    assert [one.status for one in site.server.journal.exchanges()] == statuses
    used = site.owner.account(site.budget(), 0)
    good = sum(status == 200 for status in statuses)
    assert (good, Amount()) == (used.settled.calls, used.reserved)
    assert good < 4


def test_a_provider_that_is_not_there_is_a_bad_gateway(site: Any) -> None:
    """And costs nothing."""
    site.provider = f"http://127.0.0.1:{free_port()}"

    async def steps(agent: Any) -> tuple[int, Any]:
        async with agent.chat() as response:
            return await told(response)

    status, answer = site.run(steps)
    assert (502, "server_error", "upstream") == (status, answer["error"]["type"], answer["error"]["code"])
    assert Amount() == site.owner.account(site.budget(), 0).used
