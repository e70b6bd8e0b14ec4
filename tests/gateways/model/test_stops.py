"""A stop that stops: client ended, upstream closed, spend recorded, next call denied, neighbours untouched."""

import asyncio
import json
import threading
from typing import Any

import pytest

from headgate_control.budgets.amount import Amount
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.engine import PolicyEngine
from headgate_gateways.model.call_facts import SHORT_BYTES_MAX, CallFacts
from headgate_processors.testing.model_server import Scenario
from headgate_processors.testing.waiting import until

WORDS = 400
FOREVER_S = 30
KINDS = ["chat", "messages"]


def slow(**fault: Any) -> Scenario:
    """A long answer, a word every few milliseconds; with a fault when one is given."""
    return Scenario.model_validate(
        {
            "task": "x",
            "turns": [{"say": "word " * WORDS}] * 9,
            "usage": {"input_tokens": 100, "output_tokens": WORDS},
            "between_events_s": 0.02,
            "faults": [{"from_request": 1, **fault}] if fault else [],
        }
    )


async def heard(response: Any) -> bytes:
    """All that a client gets of a stream that may end any way."""
    try:
        return bytes(await response.read())
    except Exception:  # noqa: BLE001 - a connection that is cut is what is looked for
        return b""


def outcomes(site: Any) -> list[str]:
    """What became of each call at the provider."""
    return [exchange.outcome for exchange in site.server.journal.exchanges()]


async def told_the_provider(site: Any, count: int) -> None:
    """Wait until the provider has noticed the end of so many calls."""
    await until(lambda: len(outcomes(site)) >= count)


@pytest.mark.parametrize("api", KINDS)
@pytest.mark.parametrize("scope", ["instance", "session", "workflow", "team", "model", "identity", "platform"])
def test_a_stream_is_cut_in_every_scope_of_a_model_call(site: Any, api: str, scope: str) -> None:
    """The provider sees its client go, the agent hears why, the words that came are paid, the next call is denied."""
    site.server.play(slow())

    async def steps(agent: Any) -> tuple[bytes, int, dict[str, Any]]:
        target = {
            "instance": site.instances[0],
            "session": "s1",
            "workflow": "fix-tests",
            "team": "payments",
            "model": "openai/gpt-5-mini" if api == "chat" else "anthropic/claude-sonnet-4-5",
            "identity": "ada",
            "platform": None,
        }[scope]
        agent.client.headers["x-session-id"] = "s1"
        async with getattr(agent, api)(stream=True) as response:
            first = await response.content.readany()
            cut = await site.stop(scope, target)
            rest = await heard(response)
        await told_the_provider(site, 1)
        async with getattr(agent, api)() as denied:
            return first + rest, cut, {"status": denied.status, **await denied.json()}

    body, cut, denied = site.run(steps)
    assert (1, ["broken"]) == (cut, outcomes(site))
    last = json.loads(body.decode().strip().splitlines()[-1].removeprefix("data: "))
    assert ("stopped", 403, "stopped") == (last["error"]["code"], denied["status"], denied["error"]["code"])
    used = site.owner.account(site.budget(), 0)
    assert Amount() == used.reserved
    assert 0 < used.settled.tokens < 100 + WORDS


@pytest.mark.parametrize("api", KINDS)
def test_a_stream_that_stalls_is_cut_without_a_word_from_the_provider(site: Any, api: str) -> None:
    """A stop waits for no chunk."""
    site.server.play(slow(after_events=3, stall_s=60))

    async def steps(agent: Any) -> bytes:
        async with getattr(agent, api)(stream=True) as response:
            await response.content.readany()
            await asyncio.sleep(0.3)
            async with asyncio.timeout(30):
                assert 1 == await site.stop("instance", site.instances[0])
                rest = await heard(response)
                await told_the_provider(site, 1)
                return rest

    assert b'"stopped"' in site.run(steps)
    assert ["broken"] == outcomes(site)


def test_a_call_that_has_no_answer_yet_is_cut(site: Any) -> None:
    """The agent gets a plain refusal."""
    site.server.play(slow(delay_s=60))

    async def steps(agent: Any) -> tuple[int, Any]:
        async def call() -> tuple[int, Any]:
            async with agent.chat(stream=True) as response:
                return response.status, await response.json()

        waiting = asyncio.ensure_future(call())
        async with asyncio.timeout(30):
            await until(lambda: len(site.calls) == 1)
            await asyncio.sleep(0.2)
            assert 1 == await site.stop("instance", site.instances[0])
            return await waiting

    status, answer = site.run(steps)
    assert (403, "stopped") == (status, answer["error"]["code"])
    assert Amount() == site.owner.account(site.budget(), 0).reserved


def test_neighbours_are_left_alone(site: Any) -> None:
    """Another agent's stream goes on to its last word."""
    site.server.play(slow())

    async def steps(agent: Any) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {site.keys[1]}"}
        given = {"model": "gpt-5-mini", "messages": [], "stream": True}
        async with agent.post("/openai/v1/chat/completions", given, headers=headers) as other:
            await other.content.readany()
            async with agent.chat(stream=True) as own:
                await own.content.readany()
                cut = await site.stop("instance", site.instances[0])
                await heard(own)
            return cut, bytes(await other.read())

    cut, body = site.run(steps)
    assert (1, True) == (cut, body.endswith(b"data: [DONE]\n\n"))
    assert ["answered", "broken"] == sorted(outcomes(site))


def test_a_pause_lets_what_runs_end_and_denies_the_next(site: Any) -> None:
    """And a resume lets it on."""
    site.server.play(slow())

    async def steps(agent: Any) -> tuple[int, bytes, str]:
        async with agent.chat(stream=True) as response:
            await response.content.readany()
            cut = await site.stop("team", "payments", mode="pause")
            body = bytes(await response.read())
        async with agent.chat() as denied:
            return cut, body, (await denied.json())["error"]["code"]

    cut, body, code = site.run(steps)
    assert (0, True, "paused") == (cut, body.endswith(b"data: [DONE]\n\n"), code)


@pytest.mark.parametrize("api", KINDS)
def test_an_agent_that_leaves_ends_its_call(site: Any, api: str) -> None:
    """Nobody pays a provider to talk to itself."""
    site.server.play(slow())

    async def steps(agent: Any) -> None:
        async with getattr(agent, api)(stream=True) as response:
            await response.content.readany()
            response.close()
        await told_the_provider(site, 1)
        await until(lambda: len(site.calls) == 0)

    site.run(steps)
    used = site.owner.account(site.budget(), 0)
    assert (["broken"], Amount()) == (outcomes(site), used.reserved)
    assert 0 < used.settled.tokens < 100 + WORDS


def test_an_agent_that_does_not_read_is_cut_all_the_same(site: Any) -> None:
    """A client that stalls cannot hold the provider's connection open."""
    server = {"task": "x", "turns": [{"say": "word " * 400_000}], "usage": {"input_tokens": 1, "output_tokens": 1}}
    site.server.play(Scenario.model_validate(server))
    site.limit(tokens=100_000_000)

    async def steps(agent: Any) -> None:
        async with agent.chat(stream=True) as response:
            await response.content.readany()
            await asyncio.sleep(0.3)
            async with asyncio.timeout(30):
                assert 1 == await site.stop("instance", site.instances[0])
                await until(lambda: len(site.calls) == 0)
            response.close()

    site.run(steps)
    assert Amount() == site.owner.account(site.budget(), 0).reserved


def test_a_stop_does_not_wait_for_a_long_body_that_is_looked_at(site: Any) -> None:
    """While somebody else's is classified, a stream ends; then that one is decided by what it holds."""
    site.server.play(slow())
    begun, goes_on = threading.Event(), threading.Event()

    def classes(body: bytes) -> tuple[str, ...]:
        if len(body) > SHORT_BYTES_MAX:
            begun.set()
            goes_on.wait(FOREVER_S)
        return ("card",) if b"4111" in body else ()

    site.facts = CallFacts(classes)
    policies = (
        '@id("all") permit(principal, action, resource);\n'
        '@id("cards") @reason("no cards") forbid(principal, action, resource)'
        ' when { context.content_classes.contains("card") };'
    )
    site.state.use_policy(PolicyEngine(bundle_of({"a.cedar": policies})))

    async def steps(agent: Any) -> tuple[int, bool, str]:
        async def long(key: str) -> str:
            said = [{"role": "user", "content": "4111" + "x" * SHORT_BYTES_MAX}]
            shown, path = {"authorization": f"Bearer {key}"}, "/openai/v1/chat/completions"
            async with agent.post(path, {"model": "gpt-5-mini", "messages": said}, headers=shown) as response:
                return str((await response.json())["error"]["message"])

        async with agent.chat(stream=True) as response:
            await response.content.readany()
            looked_at = asyncio.create_task(long(site.keys[1]))
            await until(begun.is_set)
            async with asyncio.timeout(FOREVER_S):
                cut = await site.stop("instance", site.instances[0])
                await heard(response)
            was_done = looked_at.done()
            goes_on.set()
            return cut, was_done, await looked_at

    assert (1, False, "no cards") == site.run(steps)


def test_a_stream_of_responses_that_is_cut_ends_with_an_error_as_its_clients_read_it(site: Any) -> None:
    """With the fields of the event, and with an error as other answers have it."""
    site.server.play(slow())

    async def steps(agent: Any) -> bytes:
        body = {"model": "gpt-5-mini", "input": "x", "stream": True}
        async with agent.post("/openai/v1/responses", body) as response:
            await response.content.readany()
            await site.stop("instance", site.instances[0])
            return await heard(response)

    *_, last = site.run(steps).strip().split(b"\n\n")
    name, data = last.split(b"\n")
    told = json.loads(data.removeprefix(b"data: "))
    assert (b"event: error", "policy_denied", "it loops") == (name, told["error"]["type"], told["error"]["message"])
    assert ("error", "stopped", "it loops", None, 0) == tuple(
        told[field] for field in ("type", "code", "message", "param", "sequence_number")
    )
