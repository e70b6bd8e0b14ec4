"""Rows of the normaliser: identity, ids, times, unknown agents, and any request at all."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_processors.dialects import Arrival, Normaliser
from headgate_processors.dialects.content import context_source
from headgate_processors.otlp import decode
from headgate_processors.otlp.port import Encoding, Signal
from headgate_processors.receiver.port import CLIENT, Sender
from headgate_processors.schema import DATASETS, MEANING, WHO
from headgate_processors.testing.otlp import (
    START_UNIX_NANO,
    Request,
    joined,
    logs_request,
    metrics_request,
    to_json,
    to_protobuf,
    traces_request,
)
from headgate_processors.testing.otlp_samples import sample_request

DAY_NS = 86_400 * 10**9
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}
FIXER = {"service.name": "fixer", "service.version": "2", "service.instance.id": "p1", "headgate.team": "payments"}

Batches = Mapping[str, pa.RecordBatch]


def _normalised(
    normaliser: Normaliser,
    request: Request,
    signal: Signal = Signal.TRACES,
    *,
    encoding: Encoding = "protobuf",
    received: int = START_UNIX_NANO,
    sender: Sender = CLIENT,
) -> Batches:
    body = to_json(request) if encoding == "json" else to_protobuf(request)
    wire = decode(body, signal=signal, encoding=encoding).batch
    return normaliser(signal, wire, Arrival(received_unix_nano=received, sender=sender))


@pytest.mark.parametrize("signal", Signal)
def test_every_batch_follows_its_dataset(normaliser: Normaliser, signal: Signal) -> None:
    """Columns, types and order are those of the schema, and what must not be NULL is not."""
    for name, batch in _normalised(normaliser, sample_request(signal), signal).items():
        batch.validate(full=True)
        assert DATASETS[name].schema == batch.schema
        required = [column.name for column in DATASETS[name].columns if not column.nullable]
        assert [] == [column for column in required if batch.column(column).null_count]


@pytest.mark.parametrize("signal", Signal)
def test_every_row_says_who_and_where_from(normaliser: Normaliser, signal: Signal) -> None:
    """Tenant, instance and service stand on spans, their events and links, logs and points alike."""
    builders = {
        Signal.TRACES: lambda: traces_request([{"events": [{}], "links": [{}]}], resource=FIXER),
        Signal.LOGS: lambda: logs_request([{"body": "x"}], resource=FIXER),
        Signal.METRICS: lambda: metrics_request([{"points": [{"value": 1}]}], resource=FIXER),
    }
    batches = _normalised(normaliser, builders[signal](), signal, sender=Sender(role="gateway"))
    assert ({"spans", "span_events", "span_links"} if signal is Signal.TRACES else 1) == (
        set(batches) if signal is Signal.TRACES else len(batches)
    )
    for batch in batches.values():
        [row] = batch.to_pylist()
        assert {column.name for column in WHO} <= row.keys()
        assert ("default", "unknown", "payments") == (row["tenant"], row["identity_source"], row["team"])
        assert ("fixer", "2", "p1") == (row["service_name"], row["service_version"], row["service_instance_id"])
        assert ("gateway", START_UNIX_NANO) == (row["witness"], row["received_unix_nano"])
        assert row["instance_id"].startswith("unk-")


def test_resources_of_one_request_stay_apart(normaliser: Normaliser) -> None:
    """Two services in one request keep their own rows."""
    request = joined(
        traces_request([{"span_id": f"{1:016x}"}], resource={"service.name": "a"}),
        traces_request([{"span_id": f"{2:016x}"}], resource={"service.name": "b"}),
        traces_request([{"span_id": f"{3:016x}"}]),
    )
    assert ["a", "b", None] == _normalised(normaliser, request)["spans"].column("service_name").to_pylist()


def test_an_unknown_agent_is_stored_whole(normaliser: Normaliser) -> None:
    """No dialect, no meaning, every attribute: it can be read again when a table knows it."""
    attributes = {"orchid.tokens": 3, "orchid.nested": {"list": [1, "two"]}}
    request = traces_request([{"name": "orchid.ask", "attributes": attributes}], scope="orchid", scope_version="1")
    [row] = _normalised(normaliser, request)["spans"].to_pylist()
    assert attributes == json.loads(row["attributes"])
    assert ("orchid.ask", "orchid", "1") == (row["name"], row["scope_name"], row["scope_version"])
    assert {None} == {row[column.name] for column in MEANING} | {row["dialect"], row["dialect_version"]}


@pytest.mark.parametrize(
    ("at_unix_nano", "suspect"),
    [
        (0, True),
        (1_000_000_000, True),
        (4_102_444_800 * 10**9, True),
        (START_UNIX_NANO - 367 * DAY_NS, True),
        (START_UNIX_NANO + 2 * DAY_NS, True),
        (START_UNIX_NANO - 365 * DAY_NS, False),
        (START_UNIX_NANO + DAY_NS // 2, False),
        (START_UNIX_NANO, False),
    ],
)
def test_a_time_that_cannot_be_right_is_marked(normaliser: Normaliser, at_unix_nano: int, suspect: bool) -> None:
    """A record from 1970 or 2100 is kept and told apart, whatever its signal."""
    span = traces_request([{"start_time_unix_nano": at_unix_nano, "end_time_unix_nano": at_unix_nano + 1}])
    log = logs_request([{"time_unix_nano": at_unix_nano}])
    point = metrics_request([{"points": [{"value": 1, "time_unix_nano": at_unix_nano}]}])
    found = [
        _normalised(normaliser, span)["spans"],
        _normalised(normaliser, log, Signal.LOGS)["log_events"],
        _normalised(normaliser, point, Signal.METRICS)["metric_points"],
    ]
    assert [[suspect]] * 3 == [batch.column("time_suspect").to_pylist() for batch in found]


def _ids(batches: Batches) -> list[str]:
    return [record_id for batch in batches.values() for record_id in batch.column("record_id").to_pylist()]


@pytest.mark.parametrize("signal", Signal)
def test_a_record_has_the_same_id_wherever_and_however_it_arrives(normaliser: Normaliser, signal: Signal) -> None:
    """JSON or protobuf, one receiver or another, sooner or later: a resent record is the same record."""
    request = sample_request(signal)
    first = _ids(_normalised(normaliser, request, signal))
    assert first == _ids(_normalised(normaliser, request, signal, encoding="json"))
    assert first == _ids(
        _normalised(normaliser, request, signal, received=START_UNIX_NANO + 9, sender=Sender(role="gateway"))
    )


def test_a_span_is_named_by_its_ids(normaliser: Normaliser) -> None:
    """What hangs on it is named after it and its position."""
    request = traces_request([{"trace_id": "a" * 32, "span_id": "b" * 16, "events": [{}, {}], "links": [{}]}])
    batches = _normalised(normaliser, request)
    owner = "a" * 32 + "b" * 16
    assert [owner] == batches["spans"].column("record_id").to_pylist()
    assert [f"{owner}-0", f"{owner}-1"] == batches["span_events"].column("record_id").to_pylist()
    assert [f"{owner}-0"] == batches["span_links"].column("record_id").to_pylist()


@pytest.mark.parametrize(
    "change",
    [
        {"body": "b"},
        {"attributes": {"x": 2}},
        {"time_unix_nano": START_UNIX_NANO + 1},
        {"event_name": "other"},
        {"trace_id": "a" * 32, "span_id": "b" * 16},
    ],
    ids=lambda change: next(iter(change)),
)
def test_logs_that_differ_have_different_ids(normaliser: Normaliser, change: dict[str, Any]) -> None:
    """Everything that makes a log what it is goes into its id; equal ones of a request are counted."""
    log = {"body": "a", "attributes": {"x": 1}, "time_unix_nano": START_UNIX_NANO}
    ids = _ids(
        {"log_events": _normalised(normaliser, logs_request([log, log, log | change]), Signal.LOGS)["log_events"]}
    )
    assert 3 == len(set(ids))
    assert ids[0].removesuffix("-0") == ids[1].removesuffix("-1")
    assert ids[0][:32] != ids[2][:32]


def test_the_event_name_is_the_attribute_where_both_are_sent(normaliser: Normaliser) -> None:
    """Some emitters put a source line where the name belongs."""
    log = {"event_name": "src/otel.rs:17", "attributes": {"event.name": "codex.user_prompt", "prompt": "Fix it"}}
    [row] = _normalised(normaliser, logs_request([log]), Signal.LOGS)["log_events"].to_pylist()
    assert ("codex.user_prompt", "codex", "task") == (row["event_name"], row["dialect"], row["operation_kind"])


def test_hashes_name_their_key_and_agree(normaliser: Normaliser) -> None:
    """The same arguments hash the same however they are written; without content there is no key."""
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.provider.name": "x", "gen_ai.tool.name": "t"}
    spans = [
        {"attributes": tool | {"gen_ai.tool.call.arguments": '{"b":1,"a":2.0}'}},
        {"attributes": tool | {"gen_ai.tool.call.arguments": '{ "a": 2, "b": 1 }'}},
        {"attributes": tool},
    ]
    rows = _normalised(normaliser, traces_request(spans))["spans"].to_pylist()
    assert rows[0]["arguments_hash"] == rows[1]["arguments_hash"]
    assert [normaliser.reader.key.key_id] * 2 + [None] == [row["hash_key_id"] for row in rows]
    assert [15, 18, None] == [row["arguments_bytes"] for row in rows]


def test_calls_and_results_of_a_message_are_described(normaliser: Normaliser) -> None:
    """What a model asks for and is told is kept as hashes, sizes and actions, without the words."""
    call = {"type": "tool_call", "id": "c1", "name": "mcp__files__read_file", "arguments": {"path": "calc.py"}}
    plan = {"type": "tool_call", "id": "c2", "name": "final_answer", "arguments": {}}
    result = {"type": "tool_call_response", "id": "c0", "response": "exit code 3"}
    attributes = CHAT | {
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [call, plan]}]),
        "gen_ai.input.messages": json.dumps([{"role": "tool", "parts": [result]}]),
    }
    batches = _normalised(normaliser, traces_request([{"attributes": attributes}]))
    [row] = batches["spans"].to_pylist()
    [requested], [returned] = json.loads(row["requested_tools"]), json.loads(row["returned_tools"])
    assert ("c1", "read_file", "files", "mcp") == tuple(requested[key] for key in ("id", "name", "mcp_server", "type"))
    assert ("c0", "error", 3) == tuple(returned[key] for key in ("id", "outcome", "exit_code"))
    assert "calc.py" not in row["attributes"]
    assert 32 == len(requested["arguments_hash"]) == len(returned["result_hash"])


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"role": "system", "content": "x" * 9}, {"role": "user", "content": "short"}], "system"),
        (
            [{"role": "user", "content": "x" * 90}, {"role": "assistant"}, {"role": "tool", "content": "y"}],
            "tool_result",
        ),
        ([{"role": "assistant", "content": "x"}], None),
        ([], None),
        ({"role": "user"}, None),
        ("text", None),
    ],
    ids=str,
)
def test_the_source_of_the_context_is_who_brought_most_of_what_is_fresh(messages: object, expected: str | None) -> None:
    """Only what stands behind the model's last answer is fresh."""
    assert expected == context_source(messages)


KEYS = st.sampled_from(
    [
        *("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.system", "gen_ai.tool.name", "gen_ai.agent.name"),
        *("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result"),
        *("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cache_read.input_tokens"),
        *("gen_ai.usage.cost", "gen_ai.response.finish_reasons", "gen_ai.conversation.id", "error.type"),
        *(
            "openinference.span.kind",
            "traceloop.span.kind",
            "gen_ai.prompt.0.role",
            "llm.input_messages.²",
            "ai.operationId",
        ),
        *("langfuse.observation.type", "mlflow.spanType", "span.type", "event.name", "tool_name", "duration_ms"),
        *("http.response.status_code", "decision", "headgate.x", "service.name", "session.id", "success"),
    ]
)
WORDS = st.sampled_from(
    [
        *("chat", "execute_tool", "invoke_agent", "embeddings", "LLM", "TOOL", "generation", "llm_request", "tool"),
        *("NaN", "1e999", "-5", "9223372036854775807", "true", "claude_code.api_request", "codex.sse_event"),
        *(
            '[{"type":["a"],"role":{},"parts":[{"type":[]}]}]',
            '{"output":{"output":"exit code 99999999999"}}',
            "{",
            "[[",
        ),
        '{"a":' * 400 + "1" + "}" * 400,
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=8) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=8)
SCOPES = st.sampled_from(
    ["", "pydantic-ai", "gen_ai", "com.anthropic.claude_code.tracing", "gcp.vertex.agent", "crewai"]
)
TIMES = st.integers(0, 2**63 - 1)
SPANS = st.fixed_dictionaries(
    {
        "attributes": ATTRIBUTES,
        "name": st.sampled_from(["", "call_llm", "ai.toolCall", "MCP send tools/call x", "handle_responses"]),
        "status_code": st.sampled_from(["UNSET", "OK", "ERROR"]),
        "start_time_unix_nano": TIMES,
        "end_time_unix_nano": TIMES,
        "events": st.lists(st.fixed_dictionaries({"attributes": ATTRIBUTES}), max_size=2),
        "links": st.lists(st.fixed_dictionaries({"attributes": ATTRIBUTES}), max_size=1),
    }
)
LOGS = st.fixed_dictionaries({"attributes": ATTRIBUTES, "body": VALUES, "time_unix_nano": TIMES})


@settings(max_examples=50)
@given(spans=st.lists(SPANS, max_size=4), resource=ATTRIBUTES, scope=SCOPES)
def test_any_span_is_normalised(normaliser: Normaliser, spans: list[Any], resource: Any, scope: str) -> None:
    """No attribute stops a request: every span, event and link has its row, in a valid batch."""
    batches = _normalised(normaliser, traces_request(spans, resource=resource, scope=scope))
    counts = {name: batch.num_rows for name, batch in batches.items() if name != "content"}
    expected = {
        "spans": len(spans),
        "span_events": sum(len(span["events"]) for span in spans),
        "span_links": sum(len(span["links"]) for span in spans),
    }
    assert {name: count for name, count in expected.items() if count} == counts
    for batch in batches.values():
        batch.validate(full=True)


@settings(max_examples=40)
@given(records=st.lists(LOGS, max_size=4), resource=ATTRIBUTES, scope=SCOPES)
def test_any_log_is_normalised(normaliser: Normaliser, records: list[Any], resource: Any, scope: str) -> None:
    """No body stops a request either."""
    batches = _normalised(normaliser, logs_request(records, resource=resource, scope=scope), Signal.LOGS)
    assert len(records) == (batches["log_events"].num_rows if records else 0)
    for batch in batches.values():
        batch.validate(full=True)


POINTS = st.fixed_dictionaries(
    {
        "value": st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(),
        "time_unix_nano": TIMES,
        "attributes": ATTRIBUTES,
        "exemplars": st.lists(st.fixed_dictionaries({"attributes": ATTRIBUTES}), max_size=2),
    }
)


@settings(max_examples=40)
@given(points=st.lists(POINTS, max_size=4), resource=ATTRIBUTES, scope=SCOPES)
def test_any_metric_is_normalised(normaliser: Normaliser, points: list[Any], resource: Any, scope: str) -> None:
    """Nor does a data point."""
    request = metrics_request([{"points": points}], resource=resource, scope=scope)
    batches = _normalised(normaliser, request, Signal.METRICS)
    assert len(points) == (batches["metric_points"].num_rows if points else 0)
    for batch in batches.values():
        batch.validate(full=True)
