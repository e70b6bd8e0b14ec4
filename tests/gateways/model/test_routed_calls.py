"""Routing at work: other providers when one fails, cheaper models, calls that are too large, answers given again."""

import asyncio
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from headgate_control.budgets.amount import Amount, Limits
from headgate_control.budgets.budget import Budget, Place
from headgate_control.kinds import LIMIT
from headgate_control.limits.limit import Limit
from headgate_control.manifests.load import parse_manifest
from headgate_control.store.record import Change
from headgate_gateways.model.cache import CALL_BYTES_MAX
from headgate_gateways.model.router import Router
from headgate_gateways.model.routing import Routing, Rule
from headgate_gateways.model.upstream import Upstream
from headgate_processors.errors import ConfigError
from headgate_processors.testing.model_server import ModelServer, Scenario
from headgate_processors.testing.ports import free_port
from headgate_processors.testing.waiting import until

KEY = "sk-of-the-second"
MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: reader, team: payments, workflow: read}
spec:
  models: [{provider: openai, model: "gpt-5*"}]
  budgets: [{usd: 5}]
"""


@pytest.fixture
def second() -> Iterator[ModelServer]:
    """Another provider that speaks as OpenAI does."""
    with ModelServer("multi_step", keys=[KEY]) as made:
        yield made


def join(site: Any, second: ModelServer, *, name: str = "openai", **routing: Any) -> None:
    """Put the second provider behind a door of its own, as the fallback of the first."""
    site.more["second"] = Upstream(name=name, kind="openai", base_url=f"{second.url}/v1", api_key=lambda: KEY)
    site.routing = Routing(fallbacks={"openai": ["second"]}, backoff_ms=1, **routing)


def failing(**fault: Any) -> Scenario:
    """A provider that fails at first."""
    fault.setdefault("from_request", 1)
    return Scenario.model_validate({"task": "x", "turns": [{"say": "x"}] * 9, "faults": [fault]})


def chat(site: Any, *bodies: dict[str, Any], key: int = 0) -> list[tuple[int, Any]]:
    """What comes of chats."""

    async def steps(agent: Any) -> list[tuple[int, Any]]:
        found = []
        for body in bodies:
            async with agent.chat(**body) as response:
                found.append((response.status, await response.json(content_type=None)))
        return found

    answers: list[tuple[int, Any]] = site.run(steps, key=key)
    return answers


def attributes(site: Any) -> list[dict[str, Any]]:
    """What is told of each call."""
    return [dict(span.attributes) for span in site.told()]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_another_provider_answers_when_one_does_not(site: Any, second: ModelServer, status: int) -> None:
    """The agent sees the answer alone; both attempts are told, each is decided, and one is paid."""
    join(site, second)
    site.server.play(failing(status=status))
    ((found, answer),) = chat(site, {})
    (exchange,) = second.journal.exchanges()
    (told,) = attributes(site)
    assert (200, exchange.answer["id"], "Bearer sk-of-the-second") == (
        found,
        answer["id"],
        exchange.headers["authorization"],
    )
    assert (2, 1) == (told["headgate.attempts"], told["headgate.failed_attempts"])
    assert "error.type" not in told
    assert (2, 1) == (len(site.decisions()), site.owner.account(site.budget(), 0).settled.calls)


def test_a_provider_that_is_not_there_is_passed_over(site: Any, second: ModelServer) -> None:
    """Its refusal of a connection is an attempt that failed."""
    join(site, second)
    site.provider = f"http://127.0.0.1:{free_port()}"
    assert [200] == [status for status, _ in chat(site, {})]
    assert [(2, 1)] == [(one["headgate.attempts"], one["headgate.failed_attempts"]) for one in attributes(site)]


def test_when_all_fail_the_last_one_is_heard(site: Any, second: ModelServer) -> None:
    """With its own status, and at no cost."""
    join(site, second)
    site.server.play(failing(status=429))
    second.play(failing(status=503))
    assert [503] == [status for status, _ in chat(site, {})]
    assert [("503", 2, 2)] == [
        (one["error.type"], one["headgate.attempts"], one["headgate.failed_attempts"]) for one in attributes(site)
    ]
    assert Amount() == site.owner.account(site.budget(), 0).used


@pytest.mark.parametrize("status", [400, 401, 404])
def test_what_another_provider_could_not_help_is_not_tried_again(site: Any, second: ModelServer, status: int) -> None:
    """The call itself is wrong."""
    join(site, second)
    site.server.play(failing(status=status))
    assert [status] == [found for found, _ in chat(site, {})]
    assert [] == list(second.journal.exchanges())


def test_a_provider_that_the_manifest_does_not_name_is_never_tried(site: Any, second: ModelServer) -> None:
    """The agent hears what its own provider said, and the deny is on record."""
    join(site, second, name="elsewhere")
    site.server.play(failing(status=429))
    assert [429] == [status for status, _ in chat(site, {})]
    assert [] == list(second.journal.exchanges())
    assert ["allow", "deny"] == [one.log_record.attributes["headgate.effect"] for one in site.decisions()]


@pytest.fixture
def elsewhere(site: Any, second: ModelServer) -> Budget:
    """The budget of a provider at whose price nobody knows, which may answer a third agent for the first one."""
    grant = parse_manifest(
        MANIFEST.replace("models: [", "models: [{provider: elsewhere, model: '*'}, "), {}, source="m"
    )
    site.join(grant, launched_by="cy")
    join(site, second, name="elsewhere")
    site.server.play(failing(status=429))
    budget = Budget(budget_id="e", place=("model", "elsewhere/gpt-5-mini"), window="total", limits=Limits(calls=1))
    site.owner.set(budget)
    return budget


def test_a_fallback_spends_the_budgets_of_its_own_model_in_place_of_the_first_ones(
    site: Any, elsewhere: Budget
) -> None:
    """At its own price; in the budgets of both it is one call from beginning to end."""
    first = Budget(budget_id="f", place=("model", "openai/gpt-5-mini"), window="total", limits=Limits(calls=1))
    both = Budget(budget_id="b", place=("team", "payments"), window="total", limits=Limits(calls=1))
    site.owner.set(first)
    site.owner.set(both)
    assert [200] == [status for status, _ in chat(site, {}, key=2)]
    found = [site.owner.account(one, 0) for one in (first, both, elsewhere)]
    assert [0, 1, 1] == [one.settled.calls for one in found]
    assert [Amount()] * 3 == [one.reserved for one in found]
    (told,) = attributes(site)
    _, last = site.decisions()
    assert ("elsewhere", last.log_record.attributes["headgate.decision_id"]) == (
        told["gen_ai.provider.name"],
        told["headgate.decision_id"],
    )


@pytest.mark.parametrize(
    ("limits", "scope"),
    [({"calls": 0}, "model"), ({"tokens": 10}, "model"), ({"nano_usd": 200_000_000}, "instance")],
)
def test_a_fallback_that_may_not_be_afforded_is_not_taken(
    site: Any, second: ModelServer, elsewhere: Budget, limits: dict[str, int], scope: str
) -> None:
    """The agent hears what its own provider said, and the record says why nobody else was asked."""
    own = next(one for one in site.state.now.budgets.values() if one.place == ("instance", site.instances[2]))
    budget = replace(elsewhere if scope == "model" else own, limits=Limits(**limits))
    site.owner.set(budget)
    ((status, answer),) = chat(site, {}, key=2)
    assert (429, []) == (status, list(second.journal.exchanges()))
    assert "policy_denied" not in str(answer)
    (told,) = attributes(site)
    denied = site.decisions()[1].log_record.attributes
    (skipped,) = told["headgate.skipped_models"]
    assert skipped.startswith(f"second/gpt-5-mini ({denied['headgate.decision_id']}): budget: hard budget of {scope} ")
    assert ("429", 1, "budget") == (told["error.type"], told["headgate.attempts"], denied["headgate.code"])
    assert [Amount()] * 2 == [site.owner.account(one, 0).used for one in (elsewhere, own)]


def test_a_fallback_keeps_within_the_limits_of_its_own_model(site: Any, elsewhere: Budget) -> None:
    """It does not count again in those that held for the call before."""
    places: list[Place] = [("model", "elsewhere/gpt-5-mini"), ("team", "payments")]
    limits = [
        Limit(limit_id=place[0], place=place, calls_per_minute=number, open_calls_max=number)
        for number, place in enumerate(places, start=1)
    ]
    changes = [Change(kind=LIMIT, id=one.limit_id, body=one.written()) for one in limits]
    site.store.change(changes, author="ada", action="limit.set")
    site.state.refresh()
    site.owner.set(replace(elsewhere, limits=Limits(calls=9)))
    assert [200, 429, 403] == [status for status, _ in chat(site, {}, {}, {}, key=2)]
    skipped = [one.get("headgate.skipped_models", ("",))[0].partition("): ")[2] for one in attributes(site)]
    assert ["", "rate: limit of model elsewhere/gpt-5-mini: 1 calls a minute, and as many were made", ""] == skipped


def test_a_stop_ends_a_call_between_two_attempts(site: Any, second: ModelServer) -> None:
    """It waits for no backoff."""
    join(site, second)
    site.routing = Routing(fallbacks={"openai": ["second"]}, backoff_ms=60_000)
    site.server.play(failing(status=429))

    async def steps(agent: Any) -> Any:
        async def call() -> Any:
            async with agent.chat(stream=True) as response:
                return response.status, (await response.json())["error"]["code"]

        waiting = asyncio.ensure_future(call())
        # The second attempt is decided once the first is answered.
        await until(lambda: site.log.anchor().number == 2)
        async with asyncio.timeout(30):
            assert 1 == await site.stop("instance", site.instances[0])
            return await waiting

    assert (403, "stopped") == site.run(steps)
    assert [] == list(second.journal.exchanges())
    assert Amount() == site.owner.account(site.budget(), 0).used


def test_a_rule_sends_calls_to_a_cheaper_model(site: Any) -> None:
    """The provider is asked for that one, and what it saved is told."""
    site.routing = Routing(rules=[Rule(name="cheap", models=["openai/gpt-5"], to="openai/gpt-5-mini")])
    chat(site, {"model": "gpt-5", "temperature": 1})
    (exchange,) = site.server.journal.exchanges()
    (told,) = attributes(site)
    assert ("gpt-5-mini", "gpt-5") == (told["gen_ai.request.model"], told["headgate.routed_from_model"])
    assert "gpt-5-mini" == exchange.model
    assert Decimal(told["headgate.saved_usd"]) > 0


def test_a_rule_cannot_send_calls_past_the_manifest(site: Any) -> None:
    """They go where they were to go."""
    site.routing = Routing(rules=[Rule(name="cheap", to="openai/gpt-4o-mini")])
    assert [200] == [status for status, _ in chat(site, {"model": "gpt-5"})]
    assert ["gpt-5"] == [one["gen_ai.request.model"] for one in attributes(site)]
    assert 1 == len(site.decisions())


def test_a_route_that_may_not_be_afforded_is_not_taken(site: Any) -> None:
    """The call goes where it was to go, and the record says why."""
    cheap = Budget(budget_id="c", place=("model", "openai/gpt-5-mini"), window="total", limits=Limits(calls=1))
    site.owner.set(cheap)
    site.routing = Routing(rules=[Rule(name="cheap", to="openai/gpt-5-mini", cache_s=60)])
    assert [200, 200] == [status for status, _ in chat(site, {"model": "gpt-5"}, {"model": "gpt-5", "seed": 1})]
    first, second = attributes(site)
    assert ["gpt-5-mini", "gpt-5"] == [one["gen_ai.request.model"] for one in (first, second)]
    assert "headgate.routed_from_model" not in second
    (skipped,) = second["headgate.skipped_models"]
    assert "openai/gpt-5-mini" == skipped.partition(" ")[0]
    assert "hard budget of model openai/gpt-5-mini" in skipped
    effects = [one.log_record.attributes["headgate.effect"] for one in site.decisions()]
    assert ["allow", "deny", "allow"] == effects


def test_a_call_that_is_too_large_burns_nothing(site: Any) -> None:
    """It is denied by policy, in words that say how large it may be, and what it might have cost is saved."""
    site.routing = Routing(rules=[Rule(name="small", input_tokens_max=10)])
    ((status, answer),) = chat(site, {})
    assert (403, "policy") == (status, answer["error"]["code"])
    assert "small: about" in answer["error"]["message"]
    assert Decimal(attributes(site)[0]["headgate.saved_usd"]) > 0
    assert [] == list(site.server.journal.exchanges())


@pytest.mark.parametrize("is_stream", [False, True])
def test_the_same_call_gets_the_same_answer_again(site: Any, is_stream: bool) -> None:
    """Byte for byte, decided, told, and for nothing; whatever the order of its body."""
    site.routing = Routing(rules=[Rule(name="keep", cache_s=60)])

    async def steps(agent: Any) -> list[bytes]:
        found = []
        body = {"model": "gpt-5", "messages": [], "stream": is_stream, "temperature": 0}
        for said in (body, dict(reversed(list(body.items()))), {**body, "temperature": 1}):
            async with agent.post("/openai/v1/chat/completions", said) as response:
                found.append(await response.read())
                assert response.headers["x-headgate-decision-id"].startswith("dec-")
        return found

    first, again, other = site.run(steps)
    assert (True, False) == (first == again, first == other)
    assert (2, 3) == (len(list(site.server.journal.exchanges())), len(site.decisions()))
    told = attributes(site)[1]
    assert (True, "0", 0) == (
        told["headgate.response_cache_hit"],
        told["headgate.cost_usd"],
        told["headgate.attempts"],
    )
    assert Decimal(told["headgate.saved_usd"]) > 0
    assert 2 == site.owner.account(site.budget(), 0).settled.calls


def test_an_answer_is_not_given_to_who_was_stopped(site: Any) -> None:
    """A cache is no way around a decision."""
    site.routing = Routing(rules=[Rule(name="keep", cache_s=60)])

    async def steps(agent: Any) -> int:
        async with agent.chat() as first:
            await first.read()
        await site.stop("instance", site.instances[0])
        async with agent.chat() as denied:
            return int(denied.status)

    assert 403 == site.run(steps)


def test_an_answer_is_shared_within_a_team_alone(site: Any) -> None:
    """Another agent of the team gets it, one of another team asks the provider."""
    other = MANIFEST.replace("payments", "search")
    site.join(parse_manifest(other, {}, source="manifest"), launched_by="cy")
    site.routing = Routing(rules=[Rule(name="keep", cache_s=60)])

    async def steps(agent: Any) -> list[int]:
        found = []
        for key in site.keys:
            agent.key = key
            async with agent.chat() as response:
                await response.read()
            found.append(len(list(site.server.journal.exchanges())))
        return found

    assert [1, 1, 2] == site.run(steps)


def test_answers_to_very_long_calls_are_not_kept(site: Any) -> None:
    """To tell them from others would hold everybody up."""
    site.routing = Routing(rules=[Rule(name="keep", cache_s=60)])
    image = {"type": "image_url", "image_url": {"url": "data:," + "x" * CALL_BYTES_MAX}}
    body = json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": [image]}]}).encode()

    async def steps(agent: Any) -> list[int]:
        found = []
        for _ in range(2):
            url, shown = f"{agent.address}/openai/v1/chat/completions", {"authorization": f"Bearer {agent.key}"}
            async with agent.client.post(url, data=io.BytesIO(body), headers=shown) as response:
                found.append(response.status)
        return found

    assert [200, 200] == site.run(steps)
    assert 2 == len(list(site.server.journal.exchanges()))


def test_errors_are_not_kept(site: Any) -> None:
    """The next call asks the provider again."""
    site.routing = Routing(rules=[Rule(name="keep", cache_s=60)])
    site.server.play(failing(status=400, from_request=None, requests=[1]))
    assert [400, 200, 200] == [status for status, _ in chat(site, {}, {}, {})]
    assert 2 == len(list(site.server.journal.exchanges()))


@pytest.mark.parametrize(
    "routing",
    [
        Routing(rules=[Rule(name="r", to="nowhere/gpt-5")]),
        Routing(rules=[Rule(name="r", to="openai")]),
        Routing(fallbacks={"openai": ["nowhere"]}),
        Routing(fallbacks={"openai": ["anthropic"]}),
    ],
)
def test_a_door_that_is_not_there_is_an_error(routing: Routing) -> None:
    """At the start, and it says which are."""
    upstreams = {
        "openai": Upstream(name="openai", kind="openai", base_url="http://a", api_key=str),
        "anthropic": Upstream(name="anthropic", kind="anthropic", base_url="http://b", api_key=str),
    }
    with pytest.raises(ConfigError, match="expected"):
        Router(upstreams=upstreams, pricing=None, routing=routing)
