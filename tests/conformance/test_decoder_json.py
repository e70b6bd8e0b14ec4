"""What every decoder must read as OTLP/JSON, and what it must refuse record by record."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from headgate_processors.errors import PermanentError
from headgate_processors.otlp.port import Decoded, Decoder, Signal
from headgate_processors.testing.otlp import TRACE_ID, metrics_request, to_json
from headgate_processors.testing.otlp_rows import rows_of
from headgate_processors.testing.otlp_samples import sample_request

SPAN: Mapping[str, Any] = {"traceId": TRACE_ID, "spanId": "00f067aa0ba902b7", "name": "good"}


def of_spans(*spans: Any) -> bytes:
    """A request of spans that are JSON already."""
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()


def read(decoder: Decoder, *spans: Any) -> Decoded:
    """What a decoder makes of spans that are JSON already."""
    return decoder(of_spans(*spans), signal=Signal.TRACES, encoding="json")


def only_row(decoder: Decoder, **members: Any) -> dict[str, Any]:
    """The row of a good span with these members."""
    outcome = read(decoder, {**SPAN, **members})
    assert () == outcome.rejected
    return rows_of(outcome)[0]


def with_value(value: Any) -> dict[str, Any]:
    """A span with that value as its only attribute."""
    return {**SPAN, "attributes": [{"key": "k", "value": value}]}


def snake_case(name: str) -> str:
    """A lowerCamelCase name as the .proto file has it."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def in_snake_case(node: Any) -> Any:
    """JSON with every member named as in the .proto file."""
    if isinstance(node, list):
        return [in_snake_case(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {snake_case(name): in_snake_case(value) for name, value in node.items()}


@pytest.mark.parametrize("signal", Signal)
def test_members_may_be_named_as_in_the_proto_file(decoder: Decoder, signal: Signal) -> None:
    """Both names of the protobuf mapping are read alike."""
    body = to_json(sample_request(signal))
    snake = json.dumps(in_snake_case(json.loads(body))).encode()
    expected = decoder(body, signal=signal, encoding="json")
    assert rows_of(expected) == rows_of(decoder(snake, signal=signal, encoding="json"))


@pytest.mark.parametrize("value", [7, "7", 7.0, "07"])
def test_integers_may_be_numbers_or_text(decoder: Decoder, value: Any) -> None:
    """JavaScript writes 64-bit integers as text, others as numbers."""
    assert {"k": 7} == only_row(decoder, **with_value({"intValue": value}))["attributes"]
    assert 7 == only_row(decoder, startTimeUnixNano=value)["start_time_unix_nano"]


@pytest.mark.parametrize("value", ["9223372036854775807", 9223372036854775807])
def test_integers_keep_all_their_digits(decoder: Decoder, value: Any) -> None:
    """No integer passes through a double."""
    assert {"k": 9223372036854775807} == only_row(decoder, **with_value({"intValue": value}))["attributes"]


@pytest.mark.parametrize(("kind", "word"), [(3, "CLIENT"), ("SPAN_KIND_CLIENT", "CLIENT"), (None, "UNSPECIFIED")])
def test_enums_may_be_numbers_or_names(decoder: Decoder, kind: Any, word: str) -> None:
    """The specification asks for numbers, and protobuf's own JSON writes names."""
    assert word == only_row(decoder, kind=kind)["kind"]


@pytest.mark.parametrize(("code", "word"), [(2, "ERROR"), ("STATUS_CODE_ERROR", "ERROR"), (0, "UNSET")])
def test_status_codes_may_be_numbers_or_names(decoder: Decoder, code: Any, word: str) -> None:
    """The rule holds in nested messages."""
    assert word == only_row(decoder, status={"code": code})["status_code"]


def test_ids_are_hexadecimal_in_either_case(decoder: Decoder) -> None:
    """Rows have lower case, whatever was sent."""
    row = only_row(decoder, traceId=TRACE_ID.upper(), spanId="00F067AA0BA902B7", parentSpanId="")
    assert (TRACE_ID, "00f067aa0ba902b7", None) == (row["trace_id"], row["span_id"], row["parent_span_id"])


@pytest.mark.parametrize("text", ["+/8=", "-_8=", "-_8"])
def test_bytes_are_base64_of_either_alphabet(decoder: Decoder, text: str) -> None:
    """Padding may be left out."""
    assert {"k": "+/8="} == only_row(decoder, **with_value({"bytesValue": text}))["attributes"]


@pytest.mark.parametrize(
    ("value", "read_as"),
    [("NaN", "NaN"), ("-Infinity", "-Infinity"), ("1.5", 1.5), (2, 2.0), ("1e3", 1000.0)],
)
def test_doubles_may_be_numbers_or_text(decoder: Decoder, value: Any, read_as: Any) -> None:
    """What JSON cannot write comes as a word."""
    assert {"k": read_as} == only_row(decoder, **with_value({"doubleValue": value}))["attributes"]


@pytest.mark.parametrize("value", [{}, None, {"intValue": None}, {"arrayValue": None}, {"later": 1}])
def test_a_value_that_is_not_set_is_null(decoder: Decoder, value: Any) -> None:
    """The key was sent, so it is kept."""
    assert {"k": None} == only_row(decoder, **with_value(value))["attributes"]


@pytest.mark.parametrize(
    ("value", "read_as"),
    [({"arrayValue": {}}, []), ({"kvlistValue": {"values": None}}, {}), ({"arrayValue": {"values": [None]}}, [None])],
)
def test_a_list_may_leave_out_its_values(decoder: Decoder, value: Any, read_as: Any) -> None:
    """An encoder that omits what is empty omits `values` too."""
    assert {"k": read_as} == only_row(decoder, **with_value(value))["attributes"]


def test_unknown_members_and_nulls_are_passed_over(decoder: Decoder) -> None:
    """At every level of the request."""
    span = {**SPAN, "later": {"x": [1]}, "attributes": None, "events": None, "status": None}
    body = {
        "later": 1,
        "resourceSpans": [{"later": [], "resource": None, "scopeSpans": [{"scope": None, "spans": [span]}]}],
    }
    outcome = decoder(json.dumps(body).encode(), signal=Signal.TRACES, encoding="json")
    assert (["good"], ()) == ([row["name"] for row in rows_of(outcome)], outcome.rejected)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({**SPAN, "name": 7}, "malformed"),
        ({**SPAN, "startTimeUnixNano": "soon"}, "malformed"),
        ({**SPAN, "startTimeUnixNano": -1}, "malformed"),
        ({**SPAN, "startTimeUnixNano": 2**64}, "malformed"),
        ({**SPAN, "startTimeUnixNano": 1.5}, "malformed"),
        ({**SPAN, "flags": True}, "malformed"),
        ({**SPAN, "kind": "SPAN_KIND_OF_SORTS"}, "malformed"),
        ({**SPAN, "attributes": {"k": "v"}}, "malformed"),
        ({**SPAN, "attributes": ["k"]}, "malformed"),
        ({**SPAN, "status": "OK"}, "malformed"),
        (with_value("text"), "malformed"),
        (with_value({"intValue": "9223372036854775808"}), "malformed"),
        (with_value({"intValue": "9" * 5000}), "malformed"),
        (with_value({"boolValue": "true"}), "malformed"),
        (with_value({"doubleValue": "much"}), "malformed"),
        (with_value({"bytesValue": "%"}), "malformed"),
        (with_value({"arrayValue": [1]}), "malformed"),
        (with_value({"stringValue": "\ud800"}), "invalid_utf8"),
        ({**SPAN, "traceId": "0afg" * 8}, "bad_id"),
        ({**SPAN, "traceId": "CvdlGRbNQ92ESOshHIAxnA=="}, "bad_id"),
        ({**SPAN, "spanId": 7}, "bad_id"),
        ({**SPAN, "spanId": ""}, "bad_id"),
        ({**SPAN, "spanId": "0" * 16}, "zero_id"),
        ({"name": "nothing else"}, "bad_id"),
    ],
    ids=str,
)
def test_a_bad_span_in_a_good_request_is_refused_alone(decoder: Decoder, bad: Any, reason: str) -> None:
    """What a member must be is checked for each record."""
    outcome = read(decoder, SPAN, bad, SPAN)
    assert ["good", "good"] == [row["name"] for row in rows_of(outcome)]
    assert [reason] == [one.reason for one in outcome.rejected]
    assert bad == json.loads(outcome.rejected[0].raw)


@pytest.mark.parametrize("member", ["name", "startTimeUnixNano", "attributes", "traceId", "kind"])
def test_a_refusal_does_not_repeat_what_it_refuses(decoder: Decoder, member: str) -> None:
    """Its sentence reaches logs and the client, and what was sent may hold secrets."""
    for secret in ("sk-12345", ["sk-12345"], {"sk-12345": 1}, 12345):
        details = [one.detail for one in read(decoder, {**SPAN, member: secret}).rejected]
        assert not any("12345" in detail for detail in details)


@pytest.mark.parametrize("member", ["resourceSpans", "scopeSpans", "spans"])
def test_a_list_that_is_none_is_refused_alone(decoder: Decoder, member: str) -> None:
    """Every level may be broken beside a good one."""
    body = json.loads(of_spans(SPAN))
    level = {"resourceSpans": body, "scopeSpans": body["resourceSpans"][0]}
    holder = level.get(member, body["resourceSpans"][0]["scopeSpans"][0])
    holder[member].append("text")
    outcome = decoder(json.dumps(body).encode(), signal=Signal.TRACES, encoding="json")
    assert ["good"] == [row["name"] for row in rows_of(outcome)]
    assert ["malformed"] == [one.reason for one in outcome.rejected]


def test_an_unreadable_resource_attribute_is_left_out(decoder: Decoder) -> None:
    """As in protobuf, the spans are kept."""
    good = {"key": "service.name", "value": {"stringValue": "fixer"}}
    bad = {"key": "process.pid", "value": {"intValue": "many"}}
    body = json.loads(of_spans(SPAN))
    body["resourceSpans"][0]["resource"] = {"attributes": [bad, good], "droppedAttributesCount": "many"}
    outcome = decoder(json.dumps(body).encode(), signal=Signal.TRACES, encoding="json")
    assert {"service.name": "fixer"} == rows_of(outcome)[0]["resource_attributes"]
    assert () == outcome.rejected


def test_a_bad_point_leaves_the_other_points_of_its_metric(decoder: Decoder) -> None:
    """The record of the metrics signal is the data point."""
    request = json.loads(to_json(metrics_request([{"points": [{"value": 1}, {"value": 2}, {"value": 3}]}])))
    request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["gauge"]["dataPoints"][1]["asInt"] = "two"
    outcome = decoder(json.dumps(request).encode(), signal=Signal.METRICS, encoding="json")
    assert [1.0, 3.0] == [row["value"] for row in rows_of(outcome)]
    assert ["malformed"] == [one.reason for one in outcome.rejected]


def test_bare_words_for_what_is_no_number_are_read(decoder: Decoder) -> None:
    """Python's own encoder writes NaN without quotes."""
    body = of_spans(with_value({"doubleValue": float("nan")}), SPAN)
    outcome = decoder(body, signal=Signal.TRACES, encoding="json")
    assert [{"k": "NaN"}, {}] == [row["attributes"] for row in rows_of(outcome)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'{"resourceSpans":[',
        b'{"resourceSpans":7}',
        b'{"resourceSpans":["text"]}',
        b"\x0a\x00\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_body_that_is_no_request_is_refused_whole(decoder: Decoder, body: bytes) -> None:
    """No JSON, another JSON, or JSON of which nothing is left."""
    with pytest.raises(PermanentError, match="OTLP"):
        decoder(body, signal=Signal.TRACES, encoding="json")
