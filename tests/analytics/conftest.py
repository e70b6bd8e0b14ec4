"""Small real sessions in OTLP, for tests that go through the whole pipeline."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from headgate_processors.otlp.port import Signal
from headgate_processors.testing.otlp import to_json, traces_request

Sent = tuple[Signal, dict[str, Any]]
SECOND_NS = 1_000_000_000


@pytest.fixture
def turn() -> Callable[..., Sent]:
    """Makes one turn of an agent: a trace with an agent span, a model call and a tool call in it."""
    return _turn


def _turn(
    number: int,
    *,
    key: str | None = None,
    at_unix_nano: int,
    tokens: int = 100,
    rooted: bool = True,
    service: str = "fixer",
) -> Sent:
    trace, shared = (
        f"{number + 1:032x}",
        {"gen_ai.provider.name": "openai"} | ({"gen_ai.conversation.id": key} if key else {}),
    )
    place = {"trace_id": trace, "start_time_unix_nano": at_unix_nano}
    root = {
        **place,
        "span_id": f"{1:016x}",
        "name": "invoke_agent fixer",
        "end_time_unix_nano": at_unix_nano + 9 * SECOND_NS,
        "attributes": shared | {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "fixer"},
    }
    call = {
        **place,
        "span_id": f"{2:016x}",
        "parent_span_id": f"{1:016x}",
        "name": "chat",
        "end_time_unix_nano": at_unix_nano + SECOND_NS,
        "attributes": shared
        | {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5-mini", "gen_ai.response.id": f"r{number}"}
        | {"gen_ai.usage.input_tokens": tokens, "gen_ai.usage.output_tokens": 10},
    }
    tool = {
        **place,
        "span_id": f"{3:016x}",
        "parent_span_id": f"{1:016x}",
        "name": "execute_tool read_file",
        "end_time_unix_nano": at_unix_nano + 2 * SECOND_NS,
        "attributes": shared | {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "read_file"},
    }
    spans = [root, call, tool] if rooted else [call, tool]
    request = traces_request(
        spans, resource={"service.name": service}, scope="opentelemetry.instrumentation.genai.test"
    )
    return Signal.TRACES, json.loads(to_json(request))
