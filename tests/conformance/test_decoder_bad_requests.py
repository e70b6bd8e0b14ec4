"""What every decoder must do with requests that hold something broken: keep the rest, and say why."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from headgate_processors.errors import PermanentError
from headgate_processors.otlp.port import Decoded, Decoder, Encoding, Signal
from headgate_processors.otlp.wire import frame
from headgate_processors.testing.otlp import (
    Request,
    joined,
    logs_request,
    metrics_request,
    span_message,
    to_json,
    to_protobuf,
    traces_request,
)
from headgate_processors.testing.otlp_rows import rows_of

ENCODINGS: tuple[Encoding, ...] = ("protobuf", "json")
MARK = "SPOILED"
NOT_UTF8 = b"\xff\xfe\xfdOILS"
GOOD: Mapping[str, Any] = {"name": "good"}


def spoiled(request: Request, encoding: Encoding = "protobuf") -> bytes:
    """The request with each mark replaced by as many bytes that are not UTF-8."""
    body = to_json(request) if encoding == "json" else to_protobuf(request)
    return body.replace(MARK.encode(), NOT_UTF8)


def reasons(outcome: Decoded) -> list[str]:
    """Why records were refused."""
    return [one.reason for one in outcome.rejected]


def names(outcome: Decoded) -> list[str]:
    """The names of the rows that were kept."""
    return [row["name"] for row in rows_of(outcome)]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "fields",
    [
        {"name": MARK},
        {"trace_state": MARK},
        {"status_message": MARK},
        {"attributes": {"key": MARK}},
        {"attributes": {MARK: "value"}},
        {"attributes": {"list": [[MARK]]}},
        {"attributes": {"object": {MARK: 1}}},
        {"attributes": {"long": MARK + "x" * 5000}},
        {"events": [{"name": MARK}]},
        {"events": [{"attributes": {"key": MARK}}]},
        {"links": [{"trace_state": MARK}]},
    ],
    ids=str,
)
def test_a_span_that_is_not_utf8_is_refused_alone(decoder: Decoder, encoding: Encoding, fields: dict[str, Any]) -> None:
    """One string that no store could hold does not poison the batch of a Collector."""
    body = spoiled(traces_request([{"name": "before"}, fields, {"name": "after"}]), encoding)
    outcome = decoder(body, signal=Signal.TRACES, encoding=encoding)
    assert ["before", "after"] == names(outcome)
    assert ["invalid_utf8"] == reasons(outcome)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "fields",
    [
        {"body": MARK},
        {"body": {"k": [MARK]}},
        {"severity_text": MARK},
        {"event_name": MARK},
        {"attributes": {"k": MARK}},
    ],
    ids=str,
)
def test_a_log_that_is_not_utf8_is_refused_alone(decoder: Decoder, encoding: Encoding, fields: dict[str, Any]) -> None:
    """The rule for spans holds for log records."""
    body = spoiled(logs_request([{"body": "before"}, fields, {"body": "after"}]), encoding)
    outcome = decoder(body, signal=Signal.LOGS, encoding=encoding)
    assert ["before", "after"] == [row["body"] for row in rows_of(outcome)]
    assert ["invalid_utf8"] == reasons(outcome)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("point", [{"attributes": {"k": MARK}}, {"exemplars": [{"attributes": {"k": MARK}}]}], ids=str)
def test_a_point_that_is_not_utf8_is_refused_alone(decoder: Decoder, encoding: Encoding, point: dict[str, Any]) -> None:
    """The record of the metrics signal is the data point."""
    request = metrics_request([{"points": [{"value": 1}, {"value": 2, **point}, {"value": 3}]}])
    outcome = decoder(spoiled(request, encoding), signal=Signal.METRICS, encoding=encoding)
    assert [1.0, 3.0] == [row["value"] for row in rows_of(outcome)]
    assert ["invalid_utf8"] == reasons(outcome)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("field", ["name", "description", "unit"])
def test_a_metric_that_is_not_utf8_loses_its_points_only(decoder: Decoder, encoding: Encoding, field: str) -> None:
    """Each of its points counts as refused, for points are what a client is told of."""
    bad = {field: MARK, "points": [{"value": 1}, {"value": 2}]}
    request = metrics_request([bad, {"name": "good", "points": [{"value": 3}]}])
    outcome = decoder(spoiled(request, encoding), signal=Signal.METRICS, encoding=encoding)
    assert ["good"] == names(outcome)
    assert ["invalid_utf8", "invalid_utf8"] == reasons(outcome)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_resource_attribute_that_is_not_utf8_is_left_out(decoder: Decoder, encoding: Encoding) -> None:
    """The spans are worth more than one label of their process."""
    request = traces_request([GOOD], resource={"service.name": "fixer", "bad": MARK}, scope_attributes={"bad": MARK})
    outcome = decoder(spoiled(request, encoding), signal=Signal.TRACES, encoding=encoding)
    row = rows_of(outcome)[0]
    assert ("good", {"service.name": "fixer"}, None) == (
        row["name"],
        row["resource_attributes"],
        row["scope_attributes"],
    )
    assert [] == reasons(outcome)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_scope_name_that_is_not_utf8_is_left_out(decoder: Decoder, encoding: Encoding) -> None:
    """So with the texts of a scope and the schema URL."""
    request = traces_request([GOOD], scope=MARK, scope_version=MARK, schema_url=MARK)
    outcome = decoder(spoiled(request, encoding), signal=Signal.TRACES, encoding=encoding)
    row = rows_of(outcome)[0]
    assert ("good", None, None, None) == (row["name"], row["scope_name"], row["scope_version"], row["schema_url"])
    assert [] == reasons(outcome)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"trace_id": "00" * 16}, "zero_id"),
        ({"span_id": "00" * 8}, "zero_id"),
        ({"trace_id": ""}, "bad_id"),
        ({"span_id": ""}, "bad_id"),
        ({"trace_id": "ab" * 8}, "bad_id"),
        ({"span_id": "ab" * 16}, "bad_id"),
        ({"parent_span_id": "ab" * 7}, "bad_id"),
    ],
    ids=str,
)
def test_a_span_without_usable_ids_is_refused_alone(
    decoder: Decoder, encoding: Encoding, fields: dict[str, str], reason: str
) -> None:
    """A span that nothing can point at would be counted and never found."""
    request = traces_request([GOOD, {"name": "bad", **fields}])
    body = to_json(request) if encoding == "json" else to_protobuf(request)
    outcome = decoder(body, signal=Signal.TRACES, encoding=encoding)
    assert ["good"] == names(outcome)
    assert [reason] == reasons(outcome)


def test_a_request_whose_every_span_is_refused_is_still_a_request(decoder: Decoder) -> None:
    """It could be read, so each refusal is counted by its own reason instead of failing the request."""
    request = traces_request([{"span_id": "00" * 8}, {"trace_id": "00" * 16}])
    outcome = decoder(to_protobuf(request), signal=Signal.TRACES)
    assert ([], ["zero_id", "zero_id"]) == (names(outcome), reasons(outcome))


def test_a_refused_record_comes_with_its_own_bytes(decoder: Decoder) -> None:
    """What goes to the dead letters is exactly what was sent."""
    bad = span_message({"name": MARK, "span_id": "ab" * 8})
    request = traces_request(
        [GOOD, {"name": MARK, "span_id": "ab" * 8, "start_time_unix_nano": bad.start_time_unix_nano}]
    )
    outcome = decoder(spoiled(request), signal=Signal.TRACES)
    assert [bad.SerializeToString().replace(MARK.encode(), NOT_UTF8)] == [one.raw for one in outcome.rejected]


def test_a_refusal_says_what_was_wrong(decoder: Decoder) -> None:
    """The sentence names the attribute, for whoever must find it in an agent."""
    outcome = decoder(spoiled(traces_request([{"attributes": {"task.text": MARK}}])), signal=Signal.TRACES)
    assert "task.text" in outcome.rejected[0].detail


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\x0a\x05abc", "truncated"),
        (b"\x18\xff", "truncated"),
        (b"\x21\x00", "truncated"),
        (b"\x18" + b"\xff" * 10 + b"\x01", "malformed"),
        (b"\x07", "malformed"),
        (b"\x00\x00", "malformed"),
        (b"\x2a\x02\x0a\x05", "truncated"),
        (b"\x32\x04\x0a\x02\x12\x07", "truncated"),
        (b"\x0b" * 200, "too_deep"),
    ],
    ids=repr,
)
def test_a_value_that_is_not_protobuf_is_refused_with_its_span(decoder: Decoder, value: bytes, reason: str) -> None:
    """Bytes that frame well and hold nonsense are told apart from bytes that were cut off."""
    span = span_message({"name": "bad"}).SerializeToString() + frame(9, frame(1, b"k") + frame(2, value))
    outcome = decoder(request_of(span, span_message(GOOD).SerializeToString()), signal=Signal.TRACES)
    assert (["good"], [reason]) == (names(outcome), reasons(outcome))


def request_of(*spans: bytes, resource: bytes = b"", after: bytes = b"") -> bytes:
    """A traces request of spans that are already encoded; `after` follows the scope in the resource."""
    scope = b"".join(frame(2, span) for span in spans)
    return frame(1, resource + frame(2, scope) + after)


def test_the_resource_may_follow_its_spans(decoder: Decoder) -> None:
    """The order of fields on the wire is free."""
    first = traces_request([], resource={"service.name": "late"}).resource_spans[0].resource.SerializeToString()
    body = request_of(span_message(GOOD).SerializeToString(), after=frame(1, first))
    outcome = decoder(body, signal=Signal.TRACES)
    assert {"service.name": "late"} == rows_of(outcome)[0]["resource_attributes"]


@pytest.mark.parametrize("spoil", [False, True])
def test_fields_of_a_later_protocol_are_passed_over(decoder: Decoder, spoil: bool) -> None:
    """Unknown fields of every wire type, groups included, are skipped on the quick way and on the careful one."""
    unknown = (
        b"\xf8\x07\x01"
        b"\xf9\x07" + b"\x00" * 8 + frame(127, b"x") + b"\xfd\x07" + b"\x00" * 4 + b"\xfb\x07\x08\x01\xfc\x07"
    )
    span = span_message(GOOD).SerializeToString() + unknown + frame(9, frame(1, b"k") + frame(2, b"\x18\x07" + unknown))
    bad = span_message({"name": MARK}).SerializeToString().replace(MARK.encode(), NOT_UTF8)
    outcome = decoder(unknown + request_of(span, *[bad] * spoil, after=unknown), signal=Signal.TRACES)
    assert (["good"], {"k": 7}) == (names(outcome), rows_of(outcome)[0]["attributes"])


def test_a_span_that_is_cut_off_leaves_those_before_it(decoder: Decoder) -> None:
    """The end of a request is missing: what came whole is kept."""
    body = to_protobuf(traces_request([{"name": "a"}, {"name": "b"}, {"name": "c", "attributes": {"k": "v" * 50}}]))
    outcome = decoder(body[:-20], signal=Signal.TRACES)
    assert (["a", "b"], ["truncated"]) == (names(outcome), reasons(outcome))


def test_a_request_that_is_cut_off_between_two_spans_says_so(decoder: Decoder) -> None:
    """Nothing is broken, but something is missing, and the sender must hear of it."""
    tail = len(frame(2, span_message({"name": "b"}, ordinal=1).SerializeToString()))
    outcome = decoder(to_protobuf(traces_request([{"name": "a"}, {"name": "b"}]))[:-tail], signal=Signal.TRACES)
    assert (["a"], ["truncated"]) == (names(outcome), reasons(outcome))


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize(
    "body",
    [b"\x00", b"\xff" * 20, b'{"resourceSpans":[]}', b"\x0a\xff\xff\xff\xff\x0f", b"\x1f\x8b\x08\x00\x00\x00"],
    ids=repr,
)
def test_a_body_that_is_no_request_is_refused_whole(decoder: Decoder, signal: Signal, body: bytes) -> None:
    """JSON under the wrong content type, gzip that nobody unpacked, noise: sending it again would not help."""
    with pytest.raises(PermanentError, match="OTLP"):
        decoder(body, signal=signal)


def test_a_request_of_which_nothing_is_left_is_refused_whole(decoder: Decoder) -> None:
    """One span, cut off, is no request."""
    with pytest.raises(PermanentError, match="truncated"):
        decoder(to_protobuf(traces_request([{"name": "only"}]))[:-3], signal=Signal.TRACES)


def test_a_resource_that_is_not_protobuf_costs_its_own_spans(decoder: Decoder) -> None:
    """Its spans cannot be told whose they are; the other resources of the request are kept."""
    bad = request_of(span_message({"name": "bad"}).SerializeToString(), resource=frame(1, b"\x0a\x7f"))
    outcome = decoder(bad + to_protobuf(traces_request([GOOD])), signal=Signal.TRACES)
    assert ["good"] == names(outcome)
    assert 1 == len(outcome.rejected)


def test_good_and_bad_records_of_many_resources_are_told_apart(decoder: Decoder) -> None:
    """Every row that is kept has its own resource, whatever was refused around it."""
    groups = [
        traces_request(
            [{"name": f"{service}-1"}, {"name": MARK}, {"name": f"{service}-2"}], resource={"service.name": service}
        )
        for service in ("one", "two", "three")
    ]
    outcome = decoder(spoiled(joined(*groups)), signal=Signal.TRACES)
    kept = [(row["name"], row["resource_attributes"]["service.name"]) for row in rows_of(outcome)]
    assert [(f"{service}-{n}", service) for service in ("one", "two", "three") for n in (1, 2)] == kept
    assert ["invalid_utf8"] * 3 == reasons(outcome)


def in_lists(depth: int) -> bytes:
    """An encoded value with that many lists around it."""
    value = b"\x18\x01"
    for _ in range(depth):
        value = frame(5, frame(1, value))
    return value


def in_objects(depth: int) -> bytes:
    """An encoded value with that many objects around it."""
    value = b"\x18\x01"
    for _ in range(depth):
        value = frame(6, frame(1, frame(1, b"k") + frame(2, value)))
    return value


def json_lists(depth: int) -> str:
    """A value in OTLP/JSON with that many lists around it."""
    return '{"arrayValue":{"values":[' * depth + '{"intValue":"1"}' + "]}}" * depth


def json_objects(depth: int) -> str:
    """A value in OTLP/JSON with that many objects around it."""
    return '{"kvlistValue":{"values":[{"key":"k","value":' * depth + '{"intValue":"1"}' + "}]}}" * depth


def protobuf_with(value: bytes) -> bytes:
    """A request of one span with that value and one good span."""
    span = span_message({"name": "deep"}).SerializeToString() + frame(9, frame(1, b"deep") + frame(2, value))
    return request_of(span, span_message(GOOD).SerializeToString())


def json_with(value: str) -> bytes:
    """The same in OTLP/JSON."""
    body = to_json(traces_request([{"name": "deep", "attributes": {"deep": MARK}}, GOOD])).decode()
    return body.replace(f'{{"stringValue":"{MARK}"}}', value).encode()


DEEP: Mapping[str, tuple[Encoding, Callable[[int], bytes]]] = {
    "lists": ("protobuf", lambda depth: protobuf_with(in_lists(depth))),
    "objects": ("protobuf", lambda depth: protobuf_with(in_objects(depth))),
    "json-lists": ("json", lambda depth: json_with(json_lists(depth))),
    "json-objects": ("json", lambda depth: json_with(json_objects(depth))),
}


@pytest.mark.parametrize("form", DEEP)
def test_a_value_may_nest_64_deep(decoder: Decoder, form: str) -> None:
    """Tool definitions nest far; 64 lists or objects in each other are kept whole."""
    encoding, body = DEEP[form]
    outcome = decoder(body(64), signal=Signal.TRACES, encoding=encoding)
    assert (["deep", "good"], []) == (names(outcome), reasons(outcome))
    text = outcome.batch.column("attributes")[0].as_py()
    assert (64, "1") == (text.count("[") + text.count("{") - 1, "".join(filter(str.isdigit, text)))


@pytest.mark.parametrize("form", DEEP)
@pytest.mark.parametrize("depth", [65, 200])
def test_a_value_that_nests_deeper_costs_its_own_span_only(decoder: Decoder, form: str, depth: int) -> None:
    """Depth is bounded, for each reader after us would have to bound it too."""
    encoding, body = DEEP[form]
    outcome = decoder(body(depth), signal=Signal.TRACES, encoding=encoding)
    assert (["good"], ["too_deep"]) == (names(outcome), reasons(outcome))
