"""What the normaliser keeps apart, redacts or drops before anything touches disk."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest

from headgate_processors.dialects import Arrival, Normaliser
from headgate_processors.otlp import decode
from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.port import CLIENT
from headgate_processors.testing.otlp import (
    START_UNIX_NANO,
    logs_request,
    metrics_request,
    to_protobuf,
    traces_request,
)

ARRIVAL = Arrival(received_unix_nano=START_UNIX_NANO, sender=CLIENT)
SECRET = "sk-ant-api03-Zk3v9Qw8Lr2Tn5Yb7Uc1"
MAIL = "ada.lovelace@example.org"
SAID = f"the key is {SECRET} and the mail {MAIL}"
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.provider.name": "openai", "gen_ai.tool.name": "shell"}

Batches = Mapping[str, pa.RecordBatch]


def _normalised(normaliser: Normaliser, request: Any, signal: Signal) -> Batches:
    return normaliser(signal, decode(to_protobuf(request), signal=signal).batch, ARRIVAL)


def _written(batches: Batches) -> str:
    """Everything that would be on disk, as one text."""
    return json.dumps({name: batch.to_pylist() for name, batch in batches.items()}, default=str)


def _spans(normaliser: Normaliser, span: dict[str, Any], **origin: Any) -> Batches:
    return _normalised(normaliser, traces_request([span], **origin), Signal.TRACES)


def _logs(normaliser: Normaliser, record: dict[str, Any], **origin: Any) -> Batches:
    return _normalised(normaliser, logs_request([record], **origin), Signal.LOGS)


@pytest.mark.parametrize("attributes", [CHAT, TOOL, {"unknown": 1}], ids=["call", "tool", "unknown agent"])
@pytest.mark.parametrize(
    "span",
    [
        {"attributes": {"note": SAID}},
        {"attributes": {"nested": {"list": [{"deep": SAID}]}}},
        {"attributes": {"gen_ai.input.messages": json.dumps([{"role": "user", "content": SAID}])}},
        {"attributes": {"gen_ai.output.messages": json.dumps([{"role": "assistant", "content": SAID}])}},
        {"attributes": {"gen_ai.tool.call.arguments": json.dumps({"command": SAID})}},
        {"attributes": {"gen_ai.tool.call.result": SAID}},
        {"attributes": {"gen_ai.system_instructions": SAID}},
        {"attributes": {"error.type": f"AuthenticationError: {SECRET}"}, "status_code": "ERROR"},
        {"status_code": "ERROR", "status_message": SAID},
        {"events": [{"name": "exception", "attributes": {"exception.message": SAID}}]},
        {"events": [{"name": "exception", "attributes": {"exception.type": SECRET}}], "status_code": "ERROR"},
        {"events": [{"name": "gen_ai.choice", "attributes": {"content": SAID}}]},
        {"links": [{"attributes": {"why": SAID}}]},
        {"name": f"GET https://api.example.org/?api_key={SECRET}"},
    ],
    ids=" ".join,
)
def test_a_secret_in_a_span_is_never_written(
    normaliser: Normaliser, attributes: dict[str, Any], span: dict[str, Any]
) -> None:
    """Wherever a span carries it, known agent or unknown, no row has it."""
    batches = _spans(normaliser, span | {"attributes": attributes | span.get("attributes", {})})
    assert SECRET not in _written(batches)


@pytest.mark.parametrize("event", ["codex.tool_result", "gen_ai.choice", "unknown"])
@pytest.mark.parametrize(
    "record",
    [
        {"body": SAID},
        {"body": {"message": {"content": SAID}}},
        {"body": [SAID, {"text": SAID}]},
        {"attributes": {"note": SAID}},
        {"attributes": {"arguments": json.dumps({"command": SAID}), "output": SAID, "prompt": SAID}},
        {"attributes": {"error.message": f"HTTP 401: {SECRET}"}},
    ],
    ids=lambda record: " ".join([*record, *record.get("attributes", ())]),
)
def test_a_secret_in_a_log_is_never_written(normaliser: Normaliser, event: str, record: dict[str, Any]) -> None:
    """Bodies and attributes of logs are redacted, and error messages that become error types."""
    record = record | {"event_name": event}
    assert SECRET not in _written(_logs(normaliser, record))


@pytest.mark.parametrize("origin", ["resource", "scope_attributes"])
def test_a_secret_of_the_sender_is_never_written(normaliser: Normaliser, origin: str) -> None:
    """A command line in the resource often holds a key."""
    carried = {origin: {"process.command_args": ["agent", "--api-key", SECRET], "service.name": "fixer"}}
    spans = _spans(normaliser, {"attributes": CHAT, "events": [{}], "links": [{}]}, **carried)
    logs = _logs(normaliser, {"body": "x"}, **carried)
    points = _normalised(normaliser, metrics_request([{"points": [{"value": 1}]}], **carried), Signal.METRICS)
    assert "" == "".join(
        name for name, written in {"s": spans, "l": logs, "m": points}.items() if SECRET in _written(written)
    )


def test_a_secret_in_a_metric_point_is_never_written(normaliser: Normaliser) -> None:
    """Attributes of points and of their exemplars."""
    point = {"value": 1, "attributes": {"note": SAID}, "exemplars": [{"attributes": {"note": SAID}}]}
    written = _written(_normalised(normaliser, metrics_request([{"points": [point]}]), Signal.METRICS))
    assert SECRET not in written


def test_content_leaves_the_attributes_and_is_redacted(normaliser: Normaliser) -> None:
    """The span keeps what is no content; the content has a row with its size, hash and what was taken out."""
    said = json.dumps([{"role": "user", "content": SAID}])
    batches = _spans(normaliser, {"attributes": CHAT | {"gen_ai.input.messages": said, "kept": 1}})
    attributes = json.loads(batches["spans"].to_pylist()[0]["attributes"])
    assert CHAT | {"kept": 1} == attributes
    [row] = [row for row in batches["content"].to_pylist() if row["attribute"] == "gen_ai.input.messages"]
    assert [{"role": "user", "content": "the key is [REDACTED:anthropic_api_key] and the mail [REDACTED:email]"}] == (
        json.loads(row["text"])
    )
    assert ("input_messages", len(said.encode()), "anthropic_api_key,email") == (
        row["field"],
        row["bytes"],
        row["redacted"],
    )
    assert normaliser.reader.key.hash(said) == row["hash"]


def test_content_of_an_event_leaves_it(normaliser: Normaliser) -> None:
    """A choice in a span event is content, named after its event."""
    event = {"name": "gen_ai.choice", "attributes": {"content": SAID, "index": 0}}
    batches = _spans(normaliser, {"attributes": CHAT, "events": [event]})
    assert {"index": 0} == json.loads(batches["span_events"].to_pylist()[0]["attributes"])
    assert ["gen_ai.choice:content"] == [row["attribute"] for row in batches["content"].to_pylist()]


def test_a_structured_body_is_content(normaliser: Normaliser) -> None:
    """A message in a body leaves the row; a line of text stays in it, redacted."""
    message = _logs(normaliser, {"body": {"message": "hi"}, "event_name": "gen_ai.choice"})
    line = _logs(normaliser, {"body": SAID})
    assert [None] == message["log_events"].column("body").to_pylist()
    assert ["body"] == [row["attribute"] for row in message["content"].to_pylist()]
    [kept] = line["log_events"].column("body").to_pylist()
    assert "the key is [REDACTED:anthropic_api_key] and the mail [REDACTED:email]" == json.loads(kept)


def test_personal_data_of_an_unknown_agent_is_redacted_too(normaliser: Normaliser) -> None:
    """Nobody knows which of its attributes are content, so all are treated as such."""
    known = _spans(normaliser, {"attributes": CHAT | {"enduser.id": MAIL}})
    unknown = _spans(normaliser, {"attributes": {"enduser.id": MAIL}})
    assert MAIL in known["spans"].to_pylist()[0]["attributes"]
    assert MAIL not in _written(unknown)


def test_a_task_is_cut_and_never_through_a_secret(normaliser: Normaliser) -> None:
    """The first 500 characters are kept; a key that the cut would halve is taken out whole."""
    said = "x" * 485 + " " + SECRET
    messages = json.dumps([{"role": "user", "content": said}])
    rows = _spans(normaliser, {"attributes": CHAT | {"gen_ai.input.messages": messages}})["content"].to_pylist()
    [task] = [row["text"] for row in rows if row["field"] == "task"]
    assert "x" * 485 + " [REDACTED:anth" == task


def test_headgates_own_words_are_dropped_where_the_collector_cannot(normaliser: Normaliser) -> None:
    """Links and exemplars reach the receiver with whatever a client wrote there."""
    forged = {"headgate.instance.id": "admin", "kept": 1}
    links = _spans(normaliser, {"attributes": CHAT, "links": [{"attributes": forged}]})["span_links"].to_pylist()
    point = {"value": 1, "exemplars": [{"attributes": forged}]}
    points = _normalised(normaliser, metrics_request([{"points": [point]}]), Signal.METRICS)[
        "metric_points"
    ].to_pylist()
    assert {"kept": 1} == json.loads(links[0]["attributes"])
    assert "headgate" not in points[0]["exemplars"]
    assert "kept" in points[0]["exemplars"]


def test_an_action_names_what_it_touched_without_the_secret(normaliser: Normaliser) -> None:
    """The resource of a command or a URL is redacted like the arguments that it was taken from."""
    arguments = json.dumps({"url": f"https://bot:{SECRET}@api.example.org/v1"})
    batches = _spans(
        normaliser, {"attributes": TOOL | {"gen_ai.tool.name": "fetch", "gen_ai.tool.call.arguments": arguments}}
    )
    row = batches["spans"].to_pylist()[0]
    assert SECRET not in str(row["action_resource"])
    assert row["arguments_hash"] is not None


@pytest.mark.parametrize("depth", [300, 600, 1000])
def test_deep_json_is_redacted_however_deep(normaliser: Normaliser, depth: int) -> None:
    """A card number as a bare JSON number, nested deeper than anything walks."""
    card = "4111111111111111"
    result = "[" * depth + card + "]" * depth
    assert card not in _written(_spans(normaliser, {"attributes": TOOL | {"gen_ai.tool.call.result": result}}))
