"""Real agents as if behind a gateway: for each recorded call a span of the gateway, in a trace of its own."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.port import CLIENT, Sender
from headgate_processors.testing.otlp import to_json, traces_request

GATEWAY = Sender(role="gateway", subject="spiffe://headgate.internal/gateway/model")
UUID_KEYED = ("claude-code/handoff", "codex/multi_step")
RECORDINGS = (
    "openai-genai/multi_step",
    "openai-v2/multi_step",
    "langgraph-openinference/handoff",
    "langgraph-genai/handoff",
    "openai-agents-genai/multi_step+multiturn",
    "pydantic-ai/multi_step+killed",
    *UUID_KEYED,
)
_CALLS = """
SELECT c.start_time_unix_nano AS begin, coalesce(c.end_time_unix_nano, c.start_time_unix_nano) AS until, response_id,
  request_model, model, c.input_tokens, c.output_tokens, source_key, session_source, c.status, operation
FROM model_calls AS c JOIN sessions USING (session_id) ORDER BY ALL
"""
_COUNTS = """
SELECT s.source_key, s.session_source, model_call_count, tool_call_count, s.input_tokens, s.output_tokens, s.state
FROM sessions AS s ORDER BY ALL
"""


def _seen(rows: list[dict[str, Any]], *, is_keyed: bool) -> list[tuple[Signal, dict[str, Any]]]:
    """What a gateway would have told of these calls, each alone."""
    found = []
    for number, row in enumerate(rows):
        length = row["until"] - row["begin"]
        told = {
            "gen_ai.operation.name": row["operation"],
            "gen_ai.request.model": row["request_model"],
            "gen_ai.response.model": row["model"],
            "gen_ai.response.id": None if is_keyed else row["response_id"],
            "gen_ai.usage.input_tokens": row["input_tokens"],
            "gen_ai.usage.output_tokens": row["output_tokens"],
            "session.id": row["source_key"] if is_keyed else None,
            "headgate.instance.id": "ai-1",
            "headgate.decision_id": f"d-{number}",
            "headgate.attempts": 1,
        }
        span = {
            "trace_id": f"{0xFFFF0000 + number:032x}",
            "span_id": f"{number + 1:016x}",
            "name": "chat",
            "start_time_unix_nano": row["begin"] + length // 10,
            "end_time_unix_nano": row["until"] - length // 10,
            "attributes": {name: value for name, value in told.items() if value is not None},
        }
        request = traces_request([span], resource={"service.name": "gateway"}, scope="headgate.gateway.model")
        found.append((Signal.TRACES, json.loads(to_json(request))))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDINGS)
def test_a_gateway_beside_real_agents_changes_no_figure_and_adds_a_witness(
    make_workbench: Callable[[], Any], recording: Callable[[str], Any], name: str
) -> None:
    """The same sessions and sums; each call that went well is verified and has its decision, whoever tells first."""
    alone = make_workbench()
    alone.ingest(recording(name))
    alone.derive()
    calls = [row for row in alone.query(_CALLS) if row["status"] == "ok"]
    gateway = [(GATEWAY, one) for one in _seen(calls, is_keyed=name in UUID_KEYED)]
    agent = [(CLIENT, one) for one in recording(name)]
    shuffled = [*gateway, *agent]
    random.Random(name).shuffle(shuffled)
    tables = []
    for parts in ([agent, gateway], [gateway, agent], [shuffled[::2], shuffled[1::2]]):
        both = make_workbench()
        for part in parts:
            for sender, request in part:
                both.ingest([request], sender=sender)
            both.derive()
        assert alone.query(_COUNTS) == both.query(_COUNTS)
        told = both.query("SELECT DISTINCT witnesses, identity_source FROM model_calls WHERE status = 'ok'")
        assert [{"witnesses": ["client", "gateway"], "identity_source": "verified"}] == told
        assert len(calls) == len(
            both.query("SELECT DISTINCT decision_id FROM model_calls WHERE decision_id IS NOT NULL")
        )
        tables.append(both.tables())
    assert tables[0] == tables[1] == tables[2]
