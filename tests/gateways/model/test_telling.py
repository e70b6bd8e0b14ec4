"""What the gateway tells of calls: one span of the GenAI conventions for each, one event for each decision."""

from typing import Any

import pytest
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from headgate_gateways.model.named import trace_of
from headgate_gateways.model.telling import Telling
from headgate_gateways.model.told import ToldCall
from headgate_processors.testing.model_server import Scenario
from headgate_processors.testing.waiting import until

TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"


def one_call(site: Any, *, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
    """The attributes of the only span that a chat gives."""

    async def steps(agent: Any) -> None:
        agent.client.headers.update(headers or {})
        async with agent.chat(**body) as response:
            await response.read()

    site.run(steps)
    (span,) = site.told()
    assert SpanKind.CLIENT == span.kind
    return dict(span.attributes)


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_call_is_told_as_the_conventions_say(site: Any, is_stream: bool) -> None:
    """With the usage of the provider, the session that the agent names, and who it is."""
    told = one_call(site, headers={"session_id": "s-1"}, stream=is_stream, stream_options={"include_usage": True})
    (exchange,) = site.server.journal.exchanges()
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.request.stream": is_stream,
        "gen_ai.usage.input_tokens": exchange.usage.input_tokens,
        "gen_ai.usage.output_tokens": exchange.usage.output_tokens,
        "session.id": "s-1",
        "http.response.status_code": 200,
        "headgate.usage_source": "reported",
        "headgate.attempts": 1,
        "headgate.failed_attempts": 0,
        "headgate.instance.id": site.instances[0],
        "headgate.team": "payments",
        "headgate.workflow": "fix-tests",
    }
    assert expected == {name: told.get(name) for name in expected}
    assert "error.type" not in told
    assert told["gen_ai.response.id"].startswith("chatcmpl")
    assert 1 == len(told["gen_ai.response.finish_reasons"])
    assert 0 < told["gen_ai.response.time_to_first_chunk"] < 60


def test_what_is_asked_again_is_told_so(site: Any) -> None:
    """How often the library has tried, and what both requests have in common; nothing of what went well at once."""

    async def steps(agent: Any) -> None:
        for count, headers in (("0", {}), ("1", {}), ("?", {"traceparent": TRACEPARENT})):
            agent.client.headers.update({"x-stainless-retry-count": count, **headers})
            async with agent.chat() as response:
                await response.read()

    site.run(steps)
    first, second, third = (span.attributes for span in site.told())
    assert (0, 1, None) == tuple(told.get("headgate.retry_count") for told in (first, second, third))
    assert "headgate.request_hash" not in first
    assert second["headgate.request_hash"] == third["headgate.request_hash"]


def test_span_and_decision_are_below_the_agents_span(site: Any) -> None:
    """And name each other."""
    attributes = one_call(site, headers={"traceparent": TRACEPARENT})
    (span,), (decision,) = site.told(), site.decisions()
    record = decision.log_record
    assert (int("a" * 32, 16), int("b" * 16, 16)) == (span.context.trace_id, span.parent.span_id)
    assert (span.context.trace_id, span.context.span_id) == (record.trace_id, record.span_id)
    assert ("headgate.decision", attributes["headgate.decision_id"], "allow", site.instances[0], "payments") == (
        record.event_name,
        *(record.attributes[f"headgate.{name}"] for name in ("decision_id", "effect", "instance.id", "team")),
    )


def test_without_a_trace_a_call_is_a_root(site: Any) -> None:
    """Of a trace of its own."""
    one_call(site)
    (span,) = site.told()
    assert span.parent is None


def test_a_denied_call_is_told_with_its_reason(site: Any) -> None:
    """It has no usage, and never had an attempt."""
    told = one_call(site, model="gpt-4o")
    (decision,) = site.decisions()
    assert ("policy", 0, None) == (
        told["error.type"],
        told["headgate.attempts"],
        told.get("gen_ai.usage.output_tokens"),
    )
    assert (False, "manifest") == (
        decision.log_record.attributes["headgate.decision"],
        decision.log_record.attributes["headgate.code"],
    )


def test_what_no_model_answers_is_no_model_call(site: Any) -> None:
    """A list of models is decided, and that is all that is told of it."""

    async def steps(agent: Any) -> None:
        async with agent.get("/openai/v1/models") as response:
            await response.read()

    site.run(steps)
    assert (0, ["model.list"]) == (
        len(site.told()),
        [one.log_record.attributes["headgate.action"] for one in site.decisions()],
    )


def test_a_call_that_is_cut_is_told_as_far_as_it_came(site: Any) -> None:
    """What passed is counted."""
    scenario = {"task": "x", "turns": [{"say": "word " * 400}], "between_events_s": 0.02}
    site.server.play(Scenario.model_validate(scenario))

    async def steps(agent: Any) -> None:
        async with agent.chat(stream=True) as response:
            await response.content.readany()
            await site.stop("instance", site.instances[0])
            await response.read()

    site.run(steps)
    (span,) = site.told()
    assert ("stopped", "counted") == (span.attributes["error.type"], span.attributes["headgate.usage_source"])


def test_an_agent_that_leaves_has_cancelled_its_call(site: Any) -> None:
    """And the call is told all the same."""
    scenario = {"task": "x", "turns": [{"say": "word " * 400}], "between_events_s": 0.02}
    site.server.play(Scenario.model_validate(scenario))

    async def steps(agent: Any) -> None:
        async with agent.chat(stream=True) as response:
            await response.content.readany()
            response.close()
        await until(lambda: len(site.calls) == 0)

    site.run(steps)
    (span,) = site.told()
    assert "cancelled" == span.attributes["error.type"]


@pytest.mark.parametrize(
    ("path", "last"),
    [
        ("/openai/v1/chat/completions", b"[DONE]"),
        ("/openai/v1/responses", b'"response.completed"'),
        ("/anthropic/v1/messages", b'"message_delta"'),
    ],
)
def test_an_agent_that_leaves_with_the_last_event_has_had_its_answer(site: Any, path: str, last: bytes) -> None:
    """Codex does so, and does not wait until the stream is closed."""
    scenario = {"task": "x", "turns": [{"say": "word"}], "between_events_s": 0.2}
    site.server.play(Scenario.model_validate(scenario))
    model = "claude-sonnet-4-5" if "anthropic" in path else "gpt-5-mini"

    async def steps(agent: Any) -> None:
        body = {"model": model, "max_tokens": 99, "messages": [], "input": "x", "stream": True}
        async with agent.post(path, body) as response:
            seen = b""
            while last not in seen:
                seen += await response.content.readany()
            response.close()
        await until(lambda: len(site.calls) == 0)

    site.run(steps)
    (span,) = site.told()
    assert "error.type" not in span.attributes


def test_a_provider_that_refuses_is_told_with_its_status(site: Any) -> None:
    """As the conventions have it."""
    scenario = {"task": "x", "turns": [{"say": "x"}], "faults": [{"from_request": 1, "status": 400}]}
    site.server.play(Scenario.model_validate(scenario))
    told = one_call(site)
    assert ("400", 400, 1) == (
        told["error.type"],
        told["http.response.status_code"],
        told["headgate.failed_attempts"],
    )


def test_nothing_that_was_said_is_told(site: Any) -> None:
    """Neither keys nor contents leave by this way."""
    one_call(site, headers={"x-mine": "mine"})
    text = "".join(one.to_json() for one in (*site.told(), *site.decisions()))
    assert [] == [word for word in (site.keys[0], "sk-the-gateways-own", "Say something", "mine") if word in text]


def told_call() -> ToldCall:
    """Some call."""
    return ToldCall(
        trace=trace_of(None),
        decision_id="dec-1",
        operation="chat",
        provider="openai",
        request_model="gpt-5",
        began_unix_nano=1,
        ended_unix_nano=2,
    )


def test_what_a_full_queue_does_not_take_is_counted() -> None:
    """And the caller does not wait for room."""
    spans = InMemorySpanExporter()
    telling = Telling(spans, InMemoryLogRecordExporter(), queue_max=2)
    telling.spans.told += 2
    telling.call(told_call())
    telling.close()
    assert (0, 1) == (len(spans.get_finished_spans()), telling.spans.lost)


class _Refusing(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.FAILURE


def test_what_could_not_be_sent_is_counted() -> None:
    """Once for each record."""
    telling = Telling(_Refusing(), InMemoryLogRecordExporter())
    for _ in range(3):
        telling.call(told_call())
    telling.close()
    assert (3, 3) == (telling.spans.done, telling.spans.lost)
