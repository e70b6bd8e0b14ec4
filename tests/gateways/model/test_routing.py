"""Rules of routing, without a call: who goes where, who goes nowhere, and whose answers are kept."""

from dataclasses import replace
from typing import Any

import pytest

from headgate_gateways.model.cache import AnswerCache, Kept
from headgate_gateways.model.latency import FRESH_NS, Latencies
from headgate_gateways.model.routing import Asking, Rule, choose
from headgate_gateways.model.usage import Usage

ASKING = Asking(
    door="openai",
    provider="openai",
    model="gpt-5",
    task_class="triage",
    workflow="fix-tests",
    team="payments",
    input_tokens=1_000,
    cost_nano_usd=2_000_000,
)


def anything(_: str, __: str) -> bool:
    """All may be called."""
    return True


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, "gpt-5-mini"),
        ({"models": ["openai/gpt-5*"], "task_classes": ["tri*"]}, "gpt-5-mini"),
        ({"models": ["anthropic/*"]}, "gpt-5"),
        ({"task_classes": ["review"]}, "gpt-5"),
        ({"workflows": ["fix-tests"], "teams": ["search"]}, "gpt-5"),
        ({"slower_than_ms": 1}, "gpt-5"),
    ],
)
def test_a_rule_routes_what_fits_all_of_it(rule: dict[str, Any], expected: str) -> None:
    """And leaves the rest alone; of a latency that is not known nothing follows."""
    assert expected == choose([Rule(name="r", to="openai/gpt-5-mini", **rule)], ASKING, anything).model


def test_a_slow_model_gives_way_while_it_is_slow() -> None:
    """By the average of its first chunks."""
    rules = [Rule(name="r", to="openai/gpt-5-mini", slower_than_ms=500)]
    found = [choose(rules, replace(ASKING, first_chunk_ns=ms * 1e6), anything).model for ms in (400, 600)]
    assert ["gpt-5", "gpt-5-mini"] == found


def test_nothing_is_routed_to_what_may_not_be_called() -> None:
    """The next rule is asked instead."""
    rules = [Rule(name="a", to="openai/gpt-4o"), Rule(name="b", to="other/gpt-5-nano")]
    found = choose(rules, ASKING, lambda door, _: door == "other")
    assert ("other", "gpt-5-nano") == (found.door, found.model)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"input_tokens_max": 999}, "big: about 1000 tokens of input; 999 are allowed"),
        ({"cost_nano_usd_max": 1_000_000}, "big: it may cost $0.0020; $0.0010 are allowed"),
        ({"input_tokens_max": 1_000, "cost_nano_usd_max": 2_000_000}, None),
    ],
)
def test_what_is_too_large_goes_nowhere(rule: dict[str, int], expected: str | None) -> None:
    """Whatever another rule would route it to."""
    rules = [Rule(name="r", to="openai/gpt-5-mini"), Rule(name="big", **rule)]
    assert expected == choose(rules, ASKING, anything).objection


def test_a_latency_is_an_average_that_is_forgotten() -> None:
    """So a model that was slow is tried again after a while."""
    found = Latencies()
    found.add("openai", "gpt-5", 100, at_unix_nano=0)
    found.add("openai", "gpt-5", 200, at_unix_nano=1)
    assert (120, None, None) == (
        found.of("openai", "gpt-5", at_unix_nano=2),
        found.of("openai", "gpt-5", at_unix_nano=1 + FRESH_NS),
        found.of("openai", "gpt-4o", at_unix_nano=2),
    )


def kept(size: int, *, expires: int = 10) -> Kept:
    """An answer of so many bytes."""
    return Kept(
        content_type="application/json",
        body=b"x" * size,
        usage=Usage(),
        model=None,
        finish_reasons=(),
        cost_nano_usd=1,
        expires_unix_nano=expires,
    )


def test_answers_are_kept_as_long_as_there_is_room_and_they_are_fresh() -> None:
    """What was asked for last goes last; what is larger than the room is not kept at all."""
    cache = AnswerCache(100)
    for name in (b"a", b"b"):
        cache.keep(name, kept(50))
    assert cache.find(b"a", at_unix_nano=0) is not None
    cache.keep(b"c", kept(50))
    cache.keep(b"d", kept(101))
    assert [True, False, True, False] == [
        cache.find(name, at_unix_nano=9) is not None for name in (b"a", b"b", b"c", b"d")
    ]
    assert cache.find(b"a", at_unix_nano=10) is None
    assert 1 == len(cache)
