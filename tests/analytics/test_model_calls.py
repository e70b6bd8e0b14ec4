"""Logical model calls: one call, however many spans, logs and witnesses tell of it."""

import time
from typing import Any

import pytest

from headgate_analytics.model_calls import Call, container_usage, model_calls
from headgate_analytics.node import Node
from headgate_analytics.rows import call_status
from headgate_analytics.testing.nodes import linked, log, span

IN, OUT = "gen_ai_usage_input_tokens", "gen_ai_usage_output_tokens"


def _calls(*nodes: Node) -> list[Call]:
    return model_calls(linked(*nodes))


def _tokens(calls: list[Call]) -> list[tuple[int | None, int | None]]:
    return [(call.number(IN), call.number(OUT)) for call in calls]


def test_nested_spans_of_one_call_are_one_call_told_by_the_deepest_with_usage() -> None:
    """A framework's call span, the SDK's below it, the transport's below that."""
    [call] = _calls(
        span("agent", kind="agent", tokens=(100, 10)),
        span("outer", parent="agent", kind="llm", tokens=(100, 10), gen_ai_request_model="m"),
        span("inner", parent="outer", kind="llm", tokens=(90, 9), gen_ai_response_id="r1"),
        span("deepest", parent="inner", kind="llm"),
    )
    assert "inner" == call.primary.name
    assert [(90, 9)] == _tokens([call])
    assert ("m", "r1") == (call.text("gen_ai_request_model"), call.text("gen_ai_response_id"))


def test_a_step_between_two_tellings_does_not_part_them() -> None:
    """Middleware spans stand between a framework's call and the SDK's."""
    assert 1 == len(
        _calls(
            span("outer", kind="llm"),
            span("step", parent="outer", kind="step"),
            span("inner", parent="step", kind="llm", tokens=(5, 1)),
        )
    )


@pytest.mark.parametrize("between", ["tool", "tool_attempt", "handoff", "agent", "workflow", "agent_setup"])
def test_a_call_below_a_tool_or_agent_is_another_call(between: str) -> None:
    """A sub-agent's call inside a model call's span is not the same call."""
    calls = _calls(
        span("outer", kind="llm", tokens=(100, 10)),
        span("between", parent="outer", kind=between),
        span("inner", parent="between", kind="llm", tokens=(5, 1)),
    )
    assert [(100, 10), (5, 1)] == sorted(_tokens(calls), reverse=True)


def test_a_span_around_several_calls_only_carries_their_sum() -> None:
    """A loop that looks like a call is none, and its total is not added."""
    calls = _calls(
        span("loop", kind="llm", tokens=(30, 3)),
        span("first", parent="loop", kind="llm", begin=10, tokens=(10, 1)),
        span("second", parent="loop", kind="llm", begin=20, tokens=(20, 2)),
    )
    assert [(10, 1), (20, 2)] == _tokens(calls)


def test_an_embedding_inside_a_call_is_a_call_of_its_own() -> None:
    """Two kinds of operation are never one call."""
    calls = _calls(
        span("outer", kind="llm", tokens=(9, 1)), span("inner", parent="outer", kind="embedding", tokens=(3, None))
    )
    assert ["llm", "embedding"] == sorted((call.primary.kind for call in calls), reverse=True)


def test_a_failed_inner_call_beside_a_good_one_is_an_attempt() -> None:
    """The SDK shows each try below the framework's one call."""
    [call] = _calls(
        span("outer", kind="llm"),
        span("try-1", parent="outer", kind="llm", begin=10, status="ERROR", error_type="429"),
        span("try-2", parent="outer", kind="llm", begin=20, tokens=(10, 1)),
    )
    assert (["try-1"], ("ok", None)) == ([node.name for node in call.attempts], call_status(call))


def test_a_call_whose_every_try_failed_is_one_failed_call() -> None:
    """The last failure ends the call, those before it were attempts."""
    [call] = _calls(
        span("outer", kind="llm", status="ERROR", error_type="RateLimitError"),
        span("try-1", parent="outer", kind="llm", begin=10, error_type="429"),
        span("try-2", parent="outer", kind="llm", begin=20, error_type="529"),
    )
    assert (["try-1"], "error") == ([node.name for node in call.attempts], call_status(call)[0])


def test_transport_spans_below_a_call_are_its_attempts() -> None:
    """One HTTP span each; what is nested in an attempt is no further one."""
    [call] = _calls(
        span("call", kind="llm", tokens=(10, 1)),
        span("http-1", parent="call", kind="attempt", begin=10, error_type="500"),
        span("dns", parent="http-1", kind="attempt", begin=11),
        span("http-2", parent="call", kind="attempt", begin=20),
    )
    assert ["http-1", "http-2"] == [node.name for node in call.attempts]


def test_an_attempt_outside_every_call_is_none() -> None:
    """A tool may talk HTTP too."""
    assert [] == _calls(span("tool", kind="tool"), span("http", parent="tool", kind="attempt"))


def test_logged_attempts_belong_to_the_call_that_they_led_to() -> None:
    """By source and time: the next call of the same session that was answered."""
    first, second = _calls(
        log("answer-1", kind="llm", at_ms=100, session_key="s", tokens=(1, 1)),
        log("answer-2", kind="llm", at_ms=300, session_key="s", tokens=(2, 1)),
        log("retry", kind="attempt", at_ms=200, session_key="s", error_type="429"),
        log("elsewhere", kind="attempt", at_ms=50, session_key="other"),
    )
    assert ([], ["retry"]) == ([node.event for node in first.attempts], [node.event for node in second.attempts])


def test_logged_attempts_that_led_to_nothing_are_a_failed_call() -> None:
    """An agent that gave up after its retries made a call that failed."""
    [call] = _calls(*(log(f"try-{n}", kind="attempt", at_ms=n, session_key="s", error_type="529") for n in (1, 2)))
    assert (("error", "529"), 2) == (call_status(call), len(call.attempts))


@pytest.mark.parametrize("name", ["gen_ai_response_id", "request_id"])
def test_tellings_with_one_id_are_one_call(name: str) -> None:
    """A gateway beside its client, in another trace and another dialect."""
    [call] = _calls(
        span("client", kind="llm", tokens=(10, 1), **{name: "id-1"}),
        span("gateway", trace="trace-2", kind="llm", tokens=(10, 2), dialect="litellm", **{name: "id-1"}),
        log("event", kind="llm", at_ms=9_999_999, tokens=(10, 1), **{name: "id-1"}),
    )
    assert "client" == call.primary.name
    assert 3 == len(call.nodes)


def test_the_telling_with_usage_is_the_one_that_counts() -> None:
    """A span that is silent about tokens gives way to a log that is not, and stays a record of the call."""
    [call] = _calls(
        span("span", kind="llm", gen_ai_response_id="r"), log("log", kind="llm", tokens=(7, 1), gen_ai_response_id="r")
    )
    assert ((7, 1), "log") == (_tokens([call])[0], call.primary.event)
    assert (0, 1_000) == tuple((moment - call.nodes[1].start) // 1_000_000 for moment in (call.start, call.end or 0))


def test_different_ids_are_different_calls_however_alike() -> None:
    """Two equal calls within a second are two."""
    assert 2 == len(_calls(*(span(name, kind="llm", tokens=(10, 1), gen_ai_response_id=name) for name in ("r1", "r2"))))


def test_logs_without_ids_find_the_span_with_their_usage() -> None:
    """Each log joins the nearest free span of its dialect, one to one."""
    calls = _calls(
        span("first", kind="llm", begin=0, until=100, tokens=(10, 1)),
        span("second", kind="llm", begin=200, until=300, tokens=(10, 1)),
        log("told-1", kind="llm", at_ms=105, tokens=(10, 1), reported_cost_usd=1),
        log("told-2", kind="llm", at_ms=305, tokens=(10, 1), reported_cost_usd=2),
    )
    assert [("first", 1), ("second", 2)] == [(call.primary.name, call.first("reported_cost_usd")) for call in calls]


@pytest.mark.parametrize(
    "other",
    [
        {"dialect": "other"},
        {"tokens": (11, 1)},
        {"at_ms": 200_000},
        {"trace": "trace-9"},
        {"gen_ai_response_id": "r9", "tokens": (99, 9)},
    ],
    ids=["dialect", "usage", "time", "trace", "id"],
)
def test_a_log_that_does_not_fit_is_a_call_of_its_own(other: dict[str, Any]) -> None:
    """Another dialect, other tokens, minutes away, another trace."""
    told = {"tokens": (10, 1), "at_ms": 105} | other
    assert 2 == len(_calls(span("span", kind="llm", until=100, tokens=(10, 1)), log("told", kind="llm", **told)))


def test_a_log_may_differ_in_output_where_the_span_leaves_reasoning_out() -> None:
    """The input is the same count in both."""
    assert 1 == len(
        _calls(span("span", kind="llm", until=100, tokens=(10, 1)), log("told", kind="llm", at_ms=105, tokens=(10, 8)))
    )


def test_failures_of_span_and_log_meet() -> None:
    """Neither has tokens; both say that the same source failed at the same time."""
    [call] = _calls(
        span("span", kind="llm", until=100, error_type="529"),
        log("told", kind="llm", at_ms=101, error_type="overloaded"),
    )
    assert 2 == len(call.nodes)


def test_an_event_of_a_span_mirrors_it() -> None:
    """It adds what the span does not say, and is no second call."""
    [call] = _calls(
        span("span", kind="llm", tokens=(10, 1)),
        log(
            "details", kind="llm", trace="trace-1", context="span", usage_role="mirror", tokens=(10, 1), request_id="q"
        ),
    )
    assert ("span", "q") == (call.primary.name, call.text("request_id"))


def test_mirrors_of_a_span_that_never_came_are_one_call() -> None:
    """Two events in the context of a lost span stand for it together."""
    mirrors = [
        log(name, kind="llm", trace="trace-1", context="lost", usage_role="mirror", tokens=(10, 1))
        for name in ("a", "b")
    ]
    assert 1 == len(_calls(*mirrors))


def test_message_events_add_to_the_call_of_their_span() -> None:
    """A choice tells what the span does not; alone it is no call."""
    choice = log("choice", kind="message", trace="trace-1", context="span", gen_ai_response_finish_reasons=["stop"])
    [call] = _calls(span("span", kind="llm", tokens=(1, 1)), choice)
    assert ["stop"] == call.first("gen_ai_response_finish_reasons")
    assert [] == _calls(choice)


def test_an_open_call_is_in_flight() -> None:
    """Its span has not ended."""
    assert ["in_flight"] == [call_status(call)[0] for call in _calls(span("open", kind="llm", until=None))]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, "ok"),
        ({"error_type": "RateLimitError"}, "error"),
        ({"error_type": "_OTHER"}, "error"),
        ({"error_type": "403"}, "denied"),
        ({"error_type": "PermissionDeniedError"}, "denied"),
        ({"error_type": "forbidden", "http_response_status_code": 403}, "denied"),
        ({"error_type": "CancelledError"}, "cancelled"),
        ({"error_type": "APIUserAbortError"}, "cancelled"),
        ({"error_type": "KeyboardInterrupt"}, "cancelled"),
    ],
    ids=str,
)
def test_a_call_has_a_status_and_an_error_type_unless_it_is_well(facts: dict[str, Any], expected: str) -> None:
    """Whoever counts failures needs the type of each."""
    [call] = _calls(span("call", kind="llm", **facts))
    assert (expected, facts.get("error_type")) == call_status(call)


def test_a_success_outweighs_the_failure_of_an_outer_telling() -> None:
    """A framework may report an error of its own around a call that was answered and paid for."""
    [call] = _calls(
        span("outer", kind="llm", error_type="ParserError"), span("inner", parent="outer", kind="llm", tokens=(9, 1))
    )
    assert ("ok", None) == call_status(call)


def test_only_the_outermost_containers_carry_a_total() -> None:
    """A crew's total holds its tasks'; steps count where nothing stands around them."""
    nodes = linked(
        span("crew", kind="workflow", tokens=(100, 10)),
        span("task", parent="crew", kind="step", tokens=(60, 6)),
        span("agent", trace="trace-2", kind="agent"),
        span("inner", trace="trace-2", parent="agent", kind="agent", tokens=(5, 1)),
    )
    assert ["crew", "inner"] == [node.name for node in container_usage(nodes)]


def test_calls_come_in_the_order_of_their_start() -> None:
    """Whatever order their records came in."""
    nodes = [
        span(name, kind="llm", begin=begin, tokens=(begin + 1, 1)) for name, begin in (("c", 30), ("a", 10), ("b", 20))
    ]
    assert ["a", "b", "c"] == [call.primary.name for call in _calls(*nodes)]


def test_thousands_of_calls_with_one_response_id_are_told_apart_in_linear_time() -> None:
    """A server that gives every answer the same id has many in a session, and each pair is too many."""
    nodes = [
        span(
            f"c{number}",
            trace=f"trace-{number}",
            kind="llm",
            witness="gateway",
            gen_ai_response_id="the-only-one",
            own_attributes=f'{{"headgate.decision_id": "d-{number}"}}',
        )
        for number in range(3_000)
    ]
    began_s = time.process_time()
    assert 3_000 == len(_calls(*nodes))
    assert 2.0 > time.process_time() - began_s
