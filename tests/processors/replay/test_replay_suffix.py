"""The same recording as another session: ids derived anew, everything else as it was."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from headgate_processors.errors import ConfigError, PermanentError
from headgate_processors.otlp.port import Signal
from headgate_processors.replay.convert import json_tree, to_protobuf
from headgate_processors.replay.files import read_requests
from headgate_processors.replay.ids import names_id
from headgate_processors.replay.requests import ReplayRefusal, ReplayRequest
from headgate_processors.replay.suffix import Suffix, read_suffixed
from headgate_processors.testing.otlp import TRACE_ID, logs_request, metrics_request, to_json, traces_request
from headgate_processors.testing.otlp import to_protobuf as protobuf_of

RECORDINGS = Path(__file__).parents[2] / "recordings"
UUID = "399d9dc6-ae63-41a3-845f-884077f94581"
ULID = "01J9ZC3W5N8QK2V7R4T6XBMPDH"
UUID_SHAPE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def request_of(message: Any, signal: Signal = Signal.TRACES, encoding: Any = "json") -> ReplayRequest:
    """A request as the reader gives it."""
    body = to_json(message) if encoding == "json" else protobuf_of(message)
    return ReplayRequest(path=Path("made"), line=1, signal=signal, encoding=encoding, body=body)


def resuffixed(message: Any, signal: Signal = Signal.TRACES, text: str = "b", encoding: Any = "json") -> dict[str, Any]:
    """The tree of a request after it was made another session."""
    request = request_of(message, signal, encoding)
    suffix = Suffix(text)
    suffix.learn(request)
    after = suffix.apply(request)
    return json_tree(after.body, signal=signal, encoding=after.encoding)


def attributes_of(spans: list[dict[str, Any]], text: str = "b", **resource: Any) -> dict[str, Any]:
    """The attributes of the first span, with texts as they are."""
    tree = resuffixed(traces_request(spans, resource=resource), text=text)
    span = tree["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    return {one["key"]: one["value"].get("stringValue") for one in span["attributes"]}


@pytest.mark.parametrize(
    "key",
    [
        "session.id",
        "gen_ai.conversation.id",
        "conversation.id",
        "thread_id",
        "thread.id",
        "langsmith.metadata.thread_id",
        "traceloop.association.properties.session_id",
        "ai.telemetry.metadata.sessionId",
        "ai.settings.context.threadId",
        "gcp.vertex.agent.session_id",
        "anthropic.session.thread.id",
        "mlflow.trace.session",
        "gen_ai.response.id",
        "ai.response.id",
        "request_id",
        "anthropic.request.id",
        "gen_ai.tool.call.id",
        "gen_ai.tool.call_id",
        "ai.toolCall.id",
        "tool_use_id",
        "call_id",
        "tool_call.id",
        "llm.input_messages.3.message.tool_calls.0.tool_call.id",
        "prompt.id",
        "prompt_id",
        "agent_id",
        "turn.id",
        "gcp.vertex.agent.invocation_id",
        "crewai.execution_uuid",
        "event_loop.parent_cycle_id",
    ],
)
def test_what_ties_a_session_together_is_derived_anew(key) -> None:
    """Each key by which some dialect tells a session, a response, a tool call or a turn."""
    assert {key: "some-7-b"} == attributes_of([{"attributes": {key: "some-7"}}])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("user.id", UUID),
        ("enduser.id", "u-7"),
        ("headgate.instance.id", "agt-0001"),
        ("agent.instance.id", "agt-0001"),
        ("gen_ai.request.model", "gpt-5-2026-01-01"),
        ("gen_ai.tool.name", "call_id"),
        ("thread.id", "2"),
        ("rpc.request_id", "0"),
        ("gen_ai.tool.call.id", "unknown"),
        ("langsmith.trace.session_id", "project-1"),
        ("graph.node.id", "node-12345"),
        ("id", "plain-name-1"),
        ("session.id", ""),
    ],
)
def test_what_names_something_else_stays(key, value) -> None:
    """People, instances, models, tools, and numbers that are no ids."""
    assert {key: value} == attributes_of([{"attributes": {key: value}}])


def test_a_session_key_of_digits_is_an_id() -> None:
    """A program may number its sessions."""
    assert {"session.id": "42-b"} == attributes_of([{"attributes": {"session.id": "42"}}])


def test_a_uuid_stays_a_uuid_of_its_version() -> None:
    """So that the rules which look at a session key's shape still see a UUID."""
    new = attributes_of([{"attributes": {"session.id": UUID}}])["session.id"]
    assert UUID_SHAPE.fullmatch(new)
    assert (UUID[14], UUID[19]) == (new[14], new[19])
    assert new != UUID


def test_a_ulid_stays_a_ulid() -> None:
    """26 of Crockford's digits."""
    new = attributes_of([{"attributes": {"session.id": ULID}}])["session.id"]
    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", new)
    assert new != ULID


def test_what_stands_around_a_uuid_stays() -> None:
    """`session_UUID` keeps its prefix, and the UUID alone becomes the same."""
    found = attributes_of([{"attributes": {"session.id": f"session_{UUID}", "thread_id": UUID}}])
    assert f"session_{found['thread_id']}" == found["session.id"]


def test_a_suffix_that_is_a_uuid_makes_no_uuid_of_a_plain_key() -> None:
    """A key without a UUID keeps its scope, whatever the text is; odd texts become a short hash."""
    for text in (UUID, ULID, 'with "quotes"', "a" * 100, "ä"):
        assert re.fullmatch(
            r"sess-42-[0-9a-f]{8}", attributes_of([{"attributes": {"session.id": "sess-42"}}], text)["session.id"]
        )


def test_the_same_text_gives_the_same_ids_and_another_gives_others() -> None:
    """Replaying a file twice as one session adds nothing; two texts are two sessions."""
    spans = [{"attributes": {"session.id": UUID, "gen_ai.response.id": "resp_12"}}]
    assert attributes_of(spans, "b") == attributes_of(spans, "b")
    first, second = attributes_of(spans, "b"), attributes_of(spans, "c")
    assert set(first.values()).isdisjoint(second.values())


def test_traces_are_others_and_spans_keep_their_place() -> None:
    """Trace ids change alike on spans, links and logs; span ids, parents and links hold together."""
    spans = [
        {"span_id": "00000000000000a1"},
        {
            "span_id": "00000000000000a2",
            "parent_span_id": "00000000000000a1",
            "links": [{"trace_id": TRACE_ID, "span_id": "00000000000000a1"}],
        },
    ]
    tree = resuffixed(traces_request(spans))
    first, second = tree["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert {first["traceId"]} == {second["traceId"], second["links"][0]["traceId"]}
    assert re.fullmatch("[0-9a-f]{32}", first["traceId"])
    assert first["traceId"] not in {TRACE_ID, "0" * 32}
    assert (first["spanId"], first["spanId"]) == (second["parentSpanId"], second["links"][0]["spanId"])
    logs = resuffixed(logs_request([{"trace_id": TRACE_ID}]), Signal.LOGS)
    assert first["traceId"] == logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["traceId"]


def test_the_process_is_another_one() -> None:
    """Traces without a key are grouped by `service.instance.id`: it changes, the service's name does not."""
    tree = resuffixed(traces_request([{}], resource={"service.name": "fixer-1", "service.instance.id": UUID}))
    name, instance = (one["value"]["stringValue"] for one in tree["resourceSpans"][0]["resource"]["attributes"])
    assert "fixer-1" == name
    assert UUID_SHAPE.fullmatch(instance)
    assert UUID != instance


def test_an_id_is_the_same_wherever_it_stands() -> None:
    """In message JSON, in Python text, in a traceparent, in an event: the id that the attribute has."""
    call = "call_69e184d8045c444a94735828"
    messages = json.dumps([{"role": "tool", "tool_call_id": call, "content": f"see {call}."}])
    span = {
        "attributes": {
            "gen_ai.tool.call.id": call,
            "input.value": messages,
            "nested": json.dumps({"text": messages}),
            "repr": f"{{'id': '{call}'}}",
            "header": f"00-{TRACE_ID}-00000000000000a1-01",
            "other": f"{call}9 x{call}",
        },
        "events": [{"attributes": {"id": call}}],
    }
    tree = resuffixed(traces_request([span]))
    found = tree["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    text = {one["key"]: one["value"]["stringValue"] for one in found["attributes"]}
    assert messages.replace(call, f"{call}-b") == text["input.value"]
    assert f"{call}-b" == json.loads(json.loads(text["nested"])["text"])[0]["tool_call_id"]
    assert f"{{'id': '{call}-b'}}" == text["repr"]
    assert f"00-{found['traceId']}-00000000000000a1-01" == text["header"]
    assert f"{call}9 x{call}" == text["other"]
    assert f"{call}-b" == found["events"][0]["attributes"][0]["value"]["stringValue"]


def test_an_id_that_only_a_message_shows_is_derived_anew() -> None:
    """Instrumentations of an SDK alone tell of tool calls in messages only."""
    messages = json.dumps([{"parts": [{"type": "tool_call", "id": "toolu_1", "name": "run", "arguments": {"n": "1"}}]}])
    text = attributes_of([{"attributes": {"gen_ai.output.messages": messages}}])["gen_ai.output.messages"]
    assert messages.replace("toolu_1", "toolu_1-b") == text


def test_a_short_id_is_replaced_only_in_quotes() -> None:
    """`s-1` in a sentence may be anything; in quotes it is the id."""
    found = attributes_of([{"attributes": {"session.id": "s-1", "text": 'version s-1, session "s-1"'}}])
    assert 'version s-1, session "s-1-b"' == found["text"]


def test_a_word_is_no_id_elsewhere() -> None:
    """A session that is called `production` does not rename production."""
    found = attributes_of([{"attributes": {"session.id": "production", "text": 'deploy to "production"'}}])
    assert {"session.id": "production-b", "text": 'deploy to "production"'} == found


def test_an_id_with_odd_characters_is_found_too() -> None:
    """Keys that users make may hold anything."""
    key = "user/alice:chat 2026"
    found = attributes_of([{"attributes": {"session.id": key, "text": f"in {key}, not in {key}7"}}])
    assert f"in {key}-b, not in {key}7" == found["text"]


def test_an_id_is_found_in_what_came_before_it_was_told(tmp_path) -> None:
    """A log may name a call whose span comes in a later request or file."""
    call = "call_mock_123456"
    log = to_json(logs_request([{"body": f"calling {call}"}]))
    span = to_json(traces_request([{"attributes": {"call_id": call}}]))
    (tmp_path / "a.jsonl").write_bytes(log)
    (tmp_path / "b.jsonl").write_bytes(span)
    first, _ = (item for item in read_suffixed([tmp_path], "b") if isinstance(item, ReplayRequest))
    assert b"calling call_mock_123456-b" in first.body


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_values_that_are_no_text_stay(encoding) -> None:
    """Numbers, times, arrays and maps come out as they went in, in either encoding."""
    message = traces_request(
        [
            {
                "attributes": {
                    "n": 7,
                    "x": 0.5,
                    "yes": True,
                    "raw": b"\x00\xff",
                    "list": ["a", 1],
                    "map": {"k": "v"},
                    "no": None,
                }
            }
        ]
    )
    before = json_tree(to_json(message), signal=Signal.TRACES, encoding="json")
    after = resuffixed(message, encoding=encoding)
    span = after["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    span["traceId"] = TRACE_ID
    assert to_protobuf(json.dumps(before).encode(), signal=Signal.TRACES, encoding="json") == to_protobuf(
        json.dumps(after).encode(), signal=Signal.TRACES, encoding="json"
    )


def test_metric_points_are_of_the_other_session() -> None:
    """Points carry session ids too, and so do exemplars their trace."""
    point = {
        "value": 1,
        "attributes": {"session.id": UUID},
        "exemplars": [{"trace_id": TRACE_ID, "span_id": "00000000000000a1"}],
    }
    tree = resuffixed(metrics_request([{"points": [point]}]), Signal.METRICS)
    found = tree["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["gauge"]["dataPoints"][0]
    assert UUID != found["attributes"][0]["value"]["stringValue"]
    assert TRACE_ID != found["exemplars"][0]["traceId"]


def test_no_text_is_a_configuration_error() -> None:
    """An empty suffix would be the same session."""
    with pytest.raises(ConfigError, match="suffix is empty"):
        Suffix("")


def test_what_cannot_be_read_is_refused_in_its_place(tmp_path) -> None:
    """A request that is no OTLP, or is nested beyond reason, stops nothing."""
    deep = b'{"resourceSpans":' + b"[" * 900 + b"]" * 900 + b"}"
    good = to_json(traces_request([{}]))
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([b"nonsense", good, deep, good]))
    items = list(read_suffixed([tmp_path], "b"))
    assert [1, 3] == [item.line for item in items if isinstance(item, ReplayRefusal)]
    assert 2 == sum(isinstance(item, ReplayRequest) for item in items)
    bad = ReplayRequest(path=tmp_path, line=1, signal=Signal.LOGS, encoding="protobuf", body=b"\xff")
    with pytest.raises(PermanentError, match="not a request of logs"):
        Suffix("b").learn(bad)


@pytest.mark.recordings
def test_of_real_recordings_no_id_is_left() -> None:
    """Every id of every recorded agent is another one, one to one, and none is left in any text."""
    paths = sorted(RECORDINGS.glob("*/multi_step.jsonl.gz"))
    before, after = list(read_requests(paths)), list(read_suffixed(paths, "b"))
    assert len(before) == len(after) > 40
    new_of: dict[str, set[str]] = {}
    texts: list[str] = []
    for old, new in zip(before, after, strict=True):
        assert isinstance(old, ReplayRequest)
        assert isinstance(new, ReplayRequest)
        pairs = zip(_texts(old), _texts(new), strict=True)
        for (key, was), (_, is_now) in pairs:
            if key == "traceId" or names_id(key, was):
                new_of.setdefault(was, set()).add(is_now)
            else:
                texts.append(is_now)
    assert all(1 == len(news) and was not in news for was, news in new_of.items() if was)
    assert len(new_of) == len({next(iter(news)) for news in new_of.values()})
    long = {was for was in new_of if len(was) >= 12 and re.fullmatch(r"[\w-]*\d[\w-]*", was)}
    words = {word for text in texts for word in re.findall(r"[\w-]+", text)}
    assert set() == long & words


def _texts(request: ReplayRequest) -> list[tuple[str, str]]:
    """Every text of a request with the key before it, in order."""
    found: list[tuple[str, str]] = []

    def walk(node: Any, key: str) -> None:
        if isinstance(node, list):
            for item in node:
                walk(item, key)
        elif isinstance(node, dict):
            name = node.get("key", "")
            for field, value in node.items():
                if isinstance(value, str):
                    if field in {"stringValue", "traceId"}:
                        found.append((field if field == "traceId" else name or key, value))
                else:
                    walk(value, name or key)

    walk(json_tree(request.body, signal=request.signal, encoding=request.encoding), "")
    return found
