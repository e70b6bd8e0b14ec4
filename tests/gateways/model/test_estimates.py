"""What is reserved for a call is the most that it may cost, as far as its body can tell."""

import random
from decimal import Decimal
from typing import Any

import orjson
import pytest

from headgate_gateways.model.asked import BadCallError, parse_call
from headgate_gateways.model.cost import Pricing
from headgate_gateways.model.lengths import Lengths
from headgate_gateways.model.texts import tokens_of, weight_of
from headgate_gateways.model.upstream import Operation
from headgate_gateways.model.usage import Usage
from headgate_processors.enrich.price import PriceBook
from headgate_processors.testing.model_server import Scenario

AT = 1_796_000_000 * 1_000_000_000
CACHED = {"type": "text", "text": "a text", "cache_control": {"type": "ephemeral"}}
FOR_AN_HOUR = {**CACHED, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
SAID = {"type": "text", "text": 'not "cache_control", nor "1h"'}
UNSEEN = [
    {"previous_response_id": "resp_1"},
    {"conversation": {"id": "conv_1"}},
    {"prompt": {"id": "pmpt_1"}},
    {"input": [{"type": "item_reference", "id": "msg_1"}]},
]


@pytest.fixture(scope="module")
def pricing() -> Pricing:
    """With the list prices."""
    return Pricing(book=PriceBook.load())


_DRAWN = random.Random(1)


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("The quick brown fox jumps over the lazy dog. " * 9, 91),
        ("".join(_DRAWN.choices("0123456789", k=300)), 125),
        ("".join(_DRAWN.choices("0123456789abcdef", k=300)), 174),
        ("\u4eba\u5de5\u667a\u80fd\u662f\u8ba1\u7b97\u673a\u79d1\u5b66" * 10, 110),
        ("return {'a': [x for x in range(10)]}\n" * 9, 160),
    ],
)
def test_no_tokenizer_counts_more_than_the_estimate(text: str, counted: int) -> None:
    """Those that count most were asked: the figures are theirs."""
    assert counted <= tokens_of(weight_of(text.encode())) <= 3 * counted


@pytest.mark.parametrize(("part", "times"), [(SAID, Decimal(1)), (CACHED, Decimal("1.25")), (FOR_AN_HOUR, Decimal(2))])
def test_what_is_to_be_cached_is_reserved_as_written(pricing: Pricing, part: Any, times: Decimal) -> None:
    """For as long as it is to be kept; words about it are words."""
    body = {"model": "claude-sonnet-4-5", "max_tokens": 0, "messages": [{"role": "user", "content": [part]}]}
    asked = parse_call("messages", orjson.dumps(body))
    found = pricing.estimate("anthropic", asked, AT)
    plain = pricing.amount("anthropic", asked.model, Usage(input_tokens=found.tokens), at_unix_nano=AT, duration_ns=0)
    assert plain.nano_usd * times == found.nano_usd


@pytest.mark.parametrize(("model", "times"), [("gpt-5-mini", Decimal(1)), ("gpt-5.6-sol", Decimal("1.25"))])
def test_a_provider_that_caches_on_its_own_is_reserved_so(pricing: Pricing, model: str, times: Decimal) -> None:
    """Where its list has a price for that."""
    asked = parse_call("chat", orjson.dumps({"model": model, "max_tokens": 0, "messages": []}))
    found = pricing.estimate("openai", asked, AT)
    plain = pricing.amount("openai", model, Usage(input_tokens=found.tokens), at_unix_nano=AT, duration_ns=0)
    assert plain.nano_usd * times == found.nano_usd


@pytest.mark.parametrize(
    ("provider", "model", "said", "times"),
    [
        ("openai", "gpt-5", {"service_tier": "priority"}, 2),
        ("openai", "gpt-5", {"service_tier": "auto"}, 1),
        ("openai", "gpt-5", {"service_tier": "flex"}, 1),
        ("openai", "gpt-5", {"service_tier": "scale"}, 1),
        ("anthropic", "claude-opus-4-8", {"speed": "fast"}, 2),
        ("anthropic", "claude-opus-4-8", {"service_tier": "standard_only", "speed": ["fast"]}, 1),
    ],
)
def test_a_dearer_tier_is_reserved_at_its_price(
    pricing: Pricing, provider: str, model: str, said: dict[str, Any], times: int
) -> None:
    """A cheaper one is not, for the provider may not have it."""
    operation: Operation = "chat" if provider == "openai" else "messages"
    asked = parse_call(operation, orjson.dumps({"model": model, "max_tokens": 99, "messages": [], **said}))
    found = pricing.estimate(provider, asked, AT)
    plain = Usage(input_tokens=found.tokens - 99, output_tokens=99)
    standard = pricing.amount(provider, model, plain, at_unix_nano=AT, duration_ns=0)
    assert times * standard.nano_usd == found.nano_usd


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(input_tokens=1_000_000), "3"),
        (Usage(input_tokens=1_000_000, cache_write_tokens=1_000_000), "3.75"),
        (Usage(input_tokens=1_000_000, cache_write_tokens=1_000_000, cache_write_1h_tokens=1_000_000), "6"),
        (Usage(input_tokens=1_000_000, cache_write_tokens=0, cache_write_1h_tokens=1_000_000), "3"),
    ],
)
def test_what_was_written_for_an_hour_costs_more(pricing: Pricing, usage: Usage, expected: str) -> None:
    """It is a part of what was written."""
    found = pricing.amount("anthropic", "claude-3-5-sonnet", usage, at_unix_nano=AT, duration_ns=0)
    assert Decimal(expected) * 1_000_000_000 == found.nano_usd


@pytest.mark.parametrize("said", UNSEEN)
def test_what_goes_on_from_elsewhere_reserves_what_its_model_can_read(pricing: Pricing, said: dict[str, Any]) -> None:
    """Nobody here knows how long that has become."""
    asked = parse_call("responses", orjson.dumps({"model": "gpt-5-mini", **said}))
    assert 400_000 == pricing.continued("openai", asked, None).input_tokens_max


@pytest.mark.parametrize(
    ("operation", "said"),
    [("chat", UNSEEN[0]), ("responses", {"previous_response_id": None, "input": 'an "item_reference"'})],
)
def test_other_calls_go_on_from_nothing(operation: Operation, said: dict[str, Any]) -> None:
    """Also those that say so."""
    assert parse_call(operation, orjson.dumps({"model": "gpt-5-mini", **said})).before is None


def test_what_goes_on_with_a_model_that_nobody_knows_is_refused(pricing: Pricing) -> None:
    """With what to do instead."""
    asked = parse_call("responses", orjson.dumps({"model": "mine", "previous_response_id": "resp_1"}))
    with pytest.raises(BadCallError, match="send all of it as input"):
        pricing.continued("openai", asked, None)


@pytest.mark.parametrize(
    ("said", "status"),
    [({"background": True}, 400), ({"background": [1]}, 400), ({"background": False}, 200)],
)
def test_a_response_in_the_background_does_not_pass(site: Any, said: dict[str, Any], status: int) -> None:
    """It goes on after its answer, which says of its cost nothing."""

    async def steps(agent: Any) -> tuple[int, str]:
        async with agent.post("/openai/v1/responses", {"model": "gpt-5-mini", "input": "x", **said}) as response:
            return response.status, await response.text()

    found, text = site.run(steps)
    assert (status, status == 400) == (found, "background: expected false" in text)


def test_a_conversation_that_its_provider_keeps_is_as_long_as_it_has_become(site: Any) -> None:
    """Where the gateway has seen that; else as long as it may be at most, and not the few words that are sent."""
    usage = {"input_tokens": 90_000, "output_tokens": 10}
    site.server.play(Scenario.model_validate({"task": "x", "turns": [{"say": "x"}], "usage": usage}))

    async def steps(agent: Any) -> list[tuple[int, str | None]]:
        found, before = [], None
        for limit in (91_000, 180_000, 182_000, 600_000):
            site.limit(tokens=limit)
            body = {"model": "gpt-5-mini", "input": "x", "max_output_tokens": 10, "previous_response_id": before}
            async with agent.post("/openai/v1/responses", body) as response:
                answer = await response.json()
                found.append((response.status, answer.get("error") and answer["error"]["code"]))
                before = answer.get("id", before) if limit != 182_000 else "resp_of_somebody_else"
        return found

    assert [(200, None), (403, "budget"), (200, None), (200, None)] == site.run(steps)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"previous_response_id": "r1"}, 110),
        ({"input": [{"type": "item_reference", "id": "m1"}, {"type": "item_reference", "id": "m2"}]}, 10),
        ({"input": [{"type": "item_reference", "id": one} for one in ("m1", "m3")], "previous_response_id": "r1"}, 130),
        ({"input": [{"type": "item_reference", "id": "m1"}, {"type": "item_reference", "id": "m9"}]}, None),
        ({"input": [{"type": "item_reference"}]}, None),
        ({"input": [{"role": "user", "content": [{"type": "item_reference", "id": "m1"}]}]}, None),
        ({"previous_response_id": "r9"}, None),
        ({"previous_response_id": 5}, None),
        ({"previous_response_id": "r1", "conversation": "c1"}, None),
    ],
)
def test_what_a_call_goes_on_from_is_as_long_as_it_was_seen(said: dict[str, Any], expected: int | None) -> None:
    """Each answer counts once, and what was not seen makes it unknown."""
    lengths = Lengths()
    lengths.add("r1", 110, owner="ai-1", output_tokens=10, item_ids=["m1", "m2"])
    lengths.add("r2", 200, owner="ai-1", output_tokens=10, item_ids=["m3"])
    before = parse_call("responses", orjson.dumps({"model": "gpt-5-mini", **said})).before
    assert before is not None
    assert expected == lengths.of(before)


def test_an_item_of_an_answer_is_no_longer_than_that(site: Any) -> None:
    """Libraries name what was answered before by its id."""
    site.limit(tokens=30_000)

    async def steps(agent: Any) -> list[int]:
        found: list[int] = []
        said: list[dict[str, str]] = []
        for _ in range(2):
            body = {"model": "gpt-5-mini", "input": [{"role": "user", "content": "x"}, *said]}
            async with agent.post("/openai/v1/responses", {**body, "stream": True}) as response:
                text = await response.text()
                found.append(response.status)
            last = orjson.loads(text.strip().rpartition("data: ")[2])
            said = [{"type": "item_reference", "id": item["id"]} for item in last["response"]["output"]]
        return found

    assert [200, 200] == site.run(steps)


def test_what_is_written_for_an_hour_is_booked_and_told(site: Any) -> None:
    """As its provider says."""
    usage = {"input_tokens": 1_000, "cache_write_1h_tokens": 600, "cache_write_5m_tokens": 200, "output_tokens": 10}
    site.server.play(Scenario.model_validate({"task": "x", "turns": [{"say": "x"}], "usage": usage}))

    async def steps(agent: Any) -> None:
        async with agent.messages() as response:
            await response.read()

    site.run(steps)
    (span,) = site.told()
    used = site.owner.account(site.budget(), 0).settled
    expected = Decimal(200) * 3 + Decimal(200) * Decimal("3.75") + Decimal(600) * 6 + Decimal(10) * 15
    assert (600, expected * 1_000) == (
        span.attributes["gen_ai.usage.cache_write_1h.input_tokens"],
        Decimal(used.nano_usd),
    )


def test_more_output_than_there_can_be_is_reserved_as_the_most_that_fits_into_the_books(site: Any) -> None:
    """Where no budget refuses it."""
    for budget in site.state.now.budgets.values():
        site.owner.remove(budget.budget_id)

    async def steps(agent: Any) -> int:
        async with agent.chat(max_tokens=10**18, n=128) as response:
            return int(response.status)

    assert 200 == site.run(steps)
